"""Owns the names of VIDEVAL's versions, and which of them is asked for a prediction where none is named."""

from __future__ import annotations

__all__ = ["DEFAULT_TEACHER", "VERSIONS"]

# How frames are taken, by the model that reads them so; the column of the table of features.
VERSIONS = {
    "videval": "videval",
    "videval-720p": "videval_720p_6fps",
    "videval-480p": "videval_480p_3fps",
}
DEFAULT_TEACHER = "videval-720p"  # half the price of `videval` and nearly as good
