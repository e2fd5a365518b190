"""Drawings take their colours from the page, and a map's colours stand for what its legend says."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from matplotlib.image import imread

from pipeline.pages.plots import SIZES, histogram_svg, map_png, map_ramp, map_range, map_ticks


def test_drawings_take_the_page_s_colour_and_hold_their_text_as_text() -> None:
    for size in SIZES:
        drawing = histogram_svg({"pass": np.array([70.0, 80.0])}, marks=[40, 60], size=size)
        assert drawing.startswith("<svg")
        assert "currentColor" in drawing
        assert "lower bound" in drawing
        again = histogram_svg({"pass": np.array([70.0, 80.0])}, marks=[40, 60], size=size)
        assert drawing == again


def test_a_map_has_a_pixel_a_place_from_red_to_blue_and_a_legend() -> None:
    pixels = imread(io.BytesIO(map_png(np.array([[40.0, 80.0]]), low=40, high=80)))
    assert pixels.shape == (1, 2, 4)
    assert pixels[0, 0, 0] > pixels[0, 0, 2]
    assert pixels[0, 1, 2] > pixels[0, 1, 0]
    assert 0 < pixels[0, 0, 3] < 1
    ends = re.findall(r"rgb\((\d+) (\d+) (\d+) / ([\d.]+)\)", map_ramp())
    for place, end in ((0, ends[0]), (1, ends[-1])):
        np.testing.assert_allclose(pixels[0, place, :3] * 255, [int(one) for one in end[:3]], atol=1)
        assert float(end[3]) == pytest.approx(pixels[0, place, 3], abs=0.01)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ((31, 69), (30, 70)),
        ((0, 100), (0, 100)),
        ((52, 53), (50, 70)),
        ((99, 100), (80, 100)),
        ((3, 5), (0, 20)),
    ],
)
def test_colours_of_a_map_span_the_scores_and_make_no_finding_of_noise(
    scores: tuple[float, float], expected: tuple[float, float]
) -> None:
    assert map_range(np.array(scores, dtype=float)) == expected


@pytest.mark.parametrize(
    ("ends", "scores"),
    [
        ((50, 70), [50, 55, 60, 65, 70]),
        ((60, 90), [60, 70, 80, 90]),
        ((10, 80), [20, 40, 60, 80]),
        ((0, 100), [0, 20, 40, 60, 80, 100]),
    ],
)
def test_a_legend_has_few_round_numbers_each_in_its_place(
    ends: tuple[float, float], scores: list[int]
) -> None:
    ticks = map_ticks(*ends)
    assert [score for score, _ in ticks] == scores
    np.testing.assert_allclose([share for _, share in ticks], np.interp(scores, ends, (0, 1)))
