"""Owns the reference numbers: outputs of published implementations on weights that anyone can rebuild."""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

_FOLDER = Path(__file__).parent / "reference"


class Reference:
    """Seeded weights and inputs, and what published code (float32, CPU, eval mode) made of them."""

    def __init__(self) -> None:
        self.shapes: dict[str, dict[str, list[int]]] = json.loads(
            (_FOLDER / "state_dict_shapes.json").read_text()
        )
        self.official: dict[str, np.ndarray] = {}
        for name in ("official_seed0.npz", "uvq1p5_seed0.npz"):
            with np.load(_FOLDER / name) as archive:
                self.official |= dict(archive)

    def weights(self, *parts: str) -> dict[str, Tensor]:
        """Return the weights of parts of `state_dict_shapes.json`, under published names."""
        return {key: value for part in parts for key, value in self._part(part).items()}

    @functools.cache  # noqa: B019 - one object lives as long as the session
    def _part(self, part: str) -> dict[str, Tensor]:
        return {key: _weight(key, tuple(shape)) for key, shape in self.shapes[part].items()}

    def renamed(self, part: str, old: str, new: str) -> dict[str, Tensor]:
        """Return the weights of a part's shapes under keys that begin with `new` instead of `old`."""
        names = {key.replace(old, new, 1): shape for key, shape in self.shapes[part].items()}
        return {key: _weight(key, tuple(shape)) for key, shape in names.items()}

    def unit_input(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return a standard-normal float32 input that depends on its name alone."""
        return torch.from_numpy(_normal(f"input:{name}", shape).astype(np.float32))

    def error(self, name: str, value: Tensor) -> float:
        """Return the largest difference from a reference array, relative to its largest value."""
        expected = np.asarray(self.official[name], dtype=np.float64)
        actual = value.detach().numpy().reshape(expected.shape)
        return float(np.abs(actual - expected).max() / np.abs(expected).max())


def _normal(name: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(f"0:{name}".encode())).standard_normal(shape)


def _weight(key: str, shape: tuple[int, ...]) -> Tensor:
    z = _normal(key, shape)
    if key.endswith("running_var"):
        z = 1.0 + 0.1 * np.abs(z)
    elif key.endswith("weight") and len(shape) == 1:
        z = 1.0 + 0.1 * z
    elif len(shape) == 1 or key.endswith("bias_table"):
        z = 0.1 * z
    else:
        z = z / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(z.astype(np.float32))


@pytest.fixture(scope="session")
def reference() -> Reference:
    return Reference()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Last bits depend on the number of threads, and networks of a test's size are slower on many."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
