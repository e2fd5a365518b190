"""Owns TLVQM's regression: 75 features in, one raw score out, in units of the labels it was fitted to."""

from __future__ import annotations

from securevqa_core.models.tlvqm.features import FEATURES
from securevqa_core.models.videval.model import Videval

__all__ = ["Tlvqm"]

_MAX_SUPPORT_VECTORS = 8_192  # videos to learn from


class Tlvqm(Videval):
    """The regression of features that were taken as the video was decoded."""

    def __init__(self) -> None:
        super().__init__(len(FEATURES), max_support_vectors=_MAX_SUPPORT_VECTORS)
