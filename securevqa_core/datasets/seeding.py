"""Owns the generators of a data set: one for each name under one seed, whatever the order of calls."""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["generator"]


def generator(seed: int, name: str) -> np.random.Generator:
    """Return the generator of `name`: the same for the same arguments, on every machine."""
    digest = hashlib.sha256(f"{seed}|{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
