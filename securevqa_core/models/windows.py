"""Owns the geometry of shifted 3-D windows: partition, regions, relative positions and fragment gates."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Size3", "WindowGeometry", "clip_window", "join_windows", "split_windows", "window_geometry"]

Size3 = tuple[int, int, int]  # (time, row, column), counted in tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowGeometry:
    """What attention needs to know about the windows of one token grid; no trained values.

    Windows that lie behind one another in time differ in nothing but the temporal mask, so time is kept apart
    from space, which keeps these tensors small.
    """

    padded: Size3  # the token grid, grown to multiples of the window
    index: Tensor  # (v, v) int64: row of the position-bias table for each pair of the v tokens of a window
    gate: Tensor  # (s, a, a) float32: fragments (rows + columns) between each pair of a plane's a tokens
    spatial_mask: Tensor  # (s, a, a) bool: the pair was not adjacent before the shift
    temporal_mask: Tensor  # (p, d, d) bool: the same along time, d tokens a window
    masked_in_space: bool  # True where any pair of `spatial_mask` is set
    masked_in_time: tuple[bool, ...]  # p entries, the same for each window of `temporal_mask`


def clip_window(size: Size3, window: Size3) -> Size3:
    """Return the window, cut on every axis to the token grid `size`."""
    return tuple(min(w, s) for w, s in zip(window, size, strict=True))  # type: ignore[return-value]


def split_windows(x: Tensor, window: Size3) -> Tensor:
    """Return (n, d, h, w, c) as (n, p, s, v, c): p windows along time, s in space, v tokens in each."""
    n, d, h, w, c = x.shape
    a, b, e = window
    x = x.view(n, d // a, a, h // b, b, w // e, e, c).permute(0, 1, 3, 5, 2, 4, 6, 7)
    return x.reshape(n, d // a, (h // b) * (w // e), a * b * e, c)


def join_windows(x: Tensor, window: Size3, size: Size3) -> Tensor:
    """Undo `split_windows` for a token grid `size`: (n, p, s, v, c) -> (n, d, h, w, c)."""
    (d, h, w), (a, b, e), c = size, window, x.shape[-1]
    x = x.view(x.shape[0], d // a, h // b, w // e, a, b, e, c).permute(0, 1, 4, 2, 5, 3, 6, 7)
    return x.reshape(x.shape[0], d, h, w, c)


@functools.lru_cache(maxsize=128)
def window_geometry(
    *, size: Size3, window: Size3, shift: Size3, table_window: Size3, grid_size: int, device: torch.device
) -> WindowGeometry:
    """Return the geometry of a token grid, built once for each set of arguments.

    Kept beside the modules and not in them: nothing of it can reach a state dict or a pickle, or go stale on
    `.to`.

    Args:
        size: token grid before padding.
        window: window in tokens, at most `table_window` on every axis.
        shift: cyclic shift in tokens, 0 on an axis where nothing moves.
        table_window: window for which the position-bias table was made.
        grid_size: fragments along a side of the frame; 0 means no fragments.
        device: where the tensors live.
    """
    d, h, w = padded = tuple(-(-s // a) * a for s, a in zip(size, window, strict=True))
    regions = [_regions(p, a, s) for p, a, s in zip(padded, window, shift, strict=True)]
    space = regions[1][:, None] * 3 + regions[2][None, :]
    rows, columns = (np.roll(_nearest(grid_size, p), -s) for p, s in zip((h, w), shift[1:], strict=True))
    plane = (window[1], window[2])
    gate = _pair_distance(np.broadcast_to(rows[:, None], (h, w)), plane)
    gate = gate + _pair_distance(np.broadcast_to(columns[None, :], (h, w)), plane)
    spatial_mask = _pair_distance(space, plane) != 0
    temporal_mask = _pair_distance(regions[0][:, None], (window[0], 1)) != 0
    # Tensors made under inference_mode could not be used in training later, and this cache outlives the mode.
    with torch.inference_mode(mode=False):
        return WindowGeometry(
            padded=(d, h, w),
            index=torch.from_numpy(_relative_index(table_window, window)).to(device),
            gate=torch.from_numpy(gate.astype(np.float32)).to(device),
            spatial_mask=torch.from_numpy(spatial_mask).to(device),
            temporal_mask=torch.from_numpy(temporal_mask).to(device),
            masked_in_space=bool(spatial_mask.any()),
            masked_in_time=tuple(temporal_mask.any(axis=(1, 2)).tolist()),
        )


def _regions(length: int, window: int, shift: int) -> NDArray[np.int64]:
    """Return the number of the contiguous piece that each token came from, after a shift along one axis."""
    region = np.zeros(length, dtype=np.int64)
    if shift:
        region[max(0, length - window) :] = 1
        region[max(0, length - shift) :] = 2
    return region


def _nearest(grid_size: int, length: int) -> NDArray[np.int64]:
    """Return the fragment that each of `length` tokens lies in, the grid enlarged by nearest neighbour."""
    return np.arange(length, dtype=np.int64) * grid_size // length


def _pair_distance(plane: NDArray[np.int64], window: tuple[int, int]) -> NDArray[np.int64]:
    """Return (s, a, a) absolute differences of `plane` (h, w) between all pairs of tokens of each window."""
    (h, w), (b, e) = plane.shape, window
    windows = plane.reshape(h // b, b, w // e, e).transpose(0, 2, 1, 3).reshape(-1, b * e)
    difference: NDArray[np.int64] = np.abs(windows[:, :, None] - windows[:, None, :])
    return difference


def _relative_index(table_window: Size3, window: Size3) -> NDArray[np.int64]:
    """Return (v, v) rows of a table made for `table_window`, for pairs of a window that may be smaller."""
    offsets = np.stack(np.meshgrid(*map(np.arange, window), indexing="ij")).reshape(3, -1)
    relative = offsets[:, :, None] - offsets[:, None, :]
    relative += np.array(table_window)[:, None, None] - 1
    strides = [(2 * table_window[1] - 1) * (2 * table_window[2] - 1), 2 * table_window[2] - 1, 1]
    index: NDArray[np.int64] = np.tensordot(np.array(strides), relative, axes=1)
    return index
