"""Writes checkpoints that know how far clean videos fall, of numbers that were made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from securevqa_core import weights, zoo
from securevqa_core.rendition import Rendition
from securevqa_core.suspicion import card_note, fit_clean_drops

__all__ = ["write_noticing"]


def write_noticing(path: Path, *, model: str = zoo.DEFAULT_MODEL, num_draws: int = 2) -> Path:
    """Write what ships of a model, as if clean videos fell by two points, give or take one, as x264:23."""
    rng = np.random.default_rng(0)
    clean = fit_clean_drops(
        rng.uniform(0, 100, 300),
        rng.normal(2, 1, 300),
        rendition=Rendition.parse("x264:23"),
        num_draws=num_draws,
    )
    weights.rewrite(path, weights.find(model), additions=card_note({}, clean))
    return path
