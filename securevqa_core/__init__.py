"""SecureVQA's models, sampling, randomness, decoding and defences: all of it runs without Ray.

from securevqa_core import Scorer
Scorer(key=b"sixteen bytes or more").score("clip.mp4")   ->   VideoScore(score=61.2, ...)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from securevqa_core.scorer import Scorer

__all__ = ["Scorer"]


def __getattr__(name: str) -> Any:
    """Import `Scorer` when it is asked for: other modules are imported without what it needs."""
    if name == "Scorer":
        from securevqa_core.scorer import Scorer  # noqa: PLC0415

        return Scorer
    raise AttributeError(f"module 'securevqa_core' has no attribute {name!r}")
