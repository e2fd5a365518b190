"""Owns a predicted opinion: what it is, and who can be asked for one. No tensor is needed to know that."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from securevqa_core.errors import ConfigurationError
from securevqa_core.opinions.tables import SHIPPED
from securevqa_core.opinions.versions import VERSIONS

__all__ = ["Opinion", "teacher_id"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What people would think of a video."""

    mean: float  # 0..100, higher is better
    sd: float  # points of 100, over bootstrap fits


def teacher_id(version: str) -> str:
    """Return what tells a teacher from one of another version of VIDEVAL, or taught by other opinions.

    Raises:
        ConfigurationError: no such version.
    """
    if version not in VERSIONS:
        raise ConfigurationError(f"teacher must be one of {', '.join(VERSIONS)}, got {version!r}")
    return f"{version}-{hashlib.sha256(SHIPPED.read_bytes()).hexdigest()[:8]}"
