"""Luma is what is stored, whatever the chroma beside it and whatever the tags say."""

from __future__ import annotations

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from securevqa_core.datasets.duplicates import picture_hash
from securevqa_core.datasets.luma import full_range_luma, luma_plane

LUMA = np.random.default_rng(0).integers(60, 180, (720, 1270), dtype=np.uint8)  # wider than a row's padding


def frame(chroma: tuple[int, int], *, matrix: int = 1, full: bool = False) -> av.VideoFrame:
    planes = [LUMA, *(np.full((360, 635), value, np.uint8) for value in chroma)]
    made = av.VideoFrame(1270, 720, "yuv420p")
    for plane, values in zip(made.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : plane.width] = values
        plane.update(rows.tobytes())
    made.colorspace, made.color_range = matrix, 2 if full else 1
    return made


def grey(chroma: tuple[int, int]) -> NDArray[np.uint8]:
    return frame(chroma).to_ndarray(format="gray")


@pytest.mark.parametrize("matrix", [1, 2, 5, 9])
def test_luma_depends_on_neither_chroma_nor_matrix(matrix: int) -> None:
    for chroma in ((128, 128), (60, 200)):
        assert np.array_equal(luma_plane(frame(chroma, matrix=matrix)), LUMA)
    assert np.abs(grey((60, 200)).astype(int) - grey((128, 128))).max() > 10  # why a conversion is not it


def test_levels_of_the_limited_range_are_spread_over_the_full_one() -> None:
    spread = full_range_luma(frame((128, 128)))
    assert np.abs(spread - (LUMA.astype(float) - 16) / 219 * 255).max() <= 0.5
    assert np.array_equal(full_range_luma(frame((128, 128), full=True)), LUMA)


def test_other_layouts_are_brought_to_eight_bits() -> None:
    ten = frame((60, 200)).reformat(format="yuv422p10le")  # FFmpeg gets 8 of these 914,400 values wrong
    assert (np.abs(luma_plane(ten).astype(int) - LUMA) > 1).sum() <= 8
    for layout in ("nv12", "yuv444p"):
        assert np.array_equal(luma_plane(frame((60, 200)).reformat(format=layout)), LUMA)


def test_the_hash_of_a_tagged_picture_follows_its_luma_alone() -> None:
    hashes = []
    for chroma in ((128, 128), (60, 200)):
        small = frame(chroma).reformat(width=144, height=144, format="yuv420p", interpolation="AREA")
        hashes.append(picture_hash(Image.fromarray(luma_plane(small))))
    assert (hashes[0] is None) == (hashes[1] is None)
    assert np.array_equal(hashes[0], hashes[1])
