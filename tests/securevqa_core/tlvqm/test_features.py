"""TLVQM's statistics react to what they are named after, stay in their bounds, and are what loops find."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from securevqa_core.models.tlvqm import high as high_level
from securevqa_core.models.tlvqm.features import FEATURES, pooled, usual_row
from securevqa_core.models.tlvqm.high import HIGH_FEATURES, tlvqm_high_features
from securevqa_core.models.tlvqm.low import LOW_FEATURES, tlvqm_low_features
from securevqa_core.models.videval.planes import halved, stacked
from securevqa_core.models.videval.tlvqm_high import tlvqm_high
from securevqa_core.models.videval.tlvqm_low import tlvqm_low

HEIGHT, WIDTH = 120, 200
Floats = NDArray[np.float64]


def texture(seed: int = 0, *, sd: float = 1.2, contrast: float = 0.15) -> Floats:
    """A picture wider than a frame, 0..1 about 0.5."""
    noise = np.random.default_rng(seed).normal(size=(HEIGHT + 40, WIDTH + 40))
    smooth = ndimage.gaussian_filter(noise, sd)
    return 0.5 + contrast * smooth / smooth.std()


def window(picture: Floats, row: int, column: int) -> Floats:
    return picture[20 + row : 20 + row + HEIGHT, 20 + column : 20 + column + WIDTH]


def low(frames: list[Floats]) -> dict[str, float]:
    """The statistics of the second of three frames, by name."""
    before, itself, after = (stacked(torch.from_numpy(one.clip(0, 1)[None])) for one in frames)
    smaller = [halved(one) for one in (before, itself, after)]
    found = tlvqm_low_features(itself, *smaller, reach=WIDTH // 40)
    return dict(zip(LOW_FEATURES, found[0].tolist(), strict=True))


def high(picture: Floats, *, a: Floats | float = 0.0, b: Floats | float = 0.0) -> dict[str, float]:
    """The statistics of a frame whose lightness is its luma, by name."""
    luma = picture.clip(0, 1)
    lab = np.stack([100 * luma, np.broadcast_to(a, luma.shape), np.broadcast_to(b, luma.shape)])
    found = tlvqm_high_features(torch.from_numpy(luma), torch.from_numpy(lab.copy()))
    return dict(zip(HIGH_FEATURES, found.tolist(), strict=True))


STILL = [window(texture(), 0, 0)] * 3


def moved(rows: int, columns: int) -> list[Floats]:
    """Three frames of a camera that goes so many pixels a frame."""
    return [window(texture(sd=2.0), step * rows, step * columns) for step in (-1, 0, 1)]


def test_what_stands_still_has_no_motion() -> None:
    found = low(STILL)
    for name in (
        *("strength of motion", "strength of shared motion", "jerkiness", "change between frames"),
        *("gain of following motion over staying", "uncertainty of motion", "flicker where nothing moves"),
    ):
        assert found[name] == 0, name
    assert found["vertical motion, 0.5 for none"] == found["horizontal motion, 0.5 for none"] == 0.5


@pytest.mark.parametrize(("rows", "columns"), [(0, 4), (4, 0), (0, -4)])
def test_a_camera_that_moves_is_seen_with_its_direction(rows: int, columns: int) -> None:
    found, slower = low(moved(rows, columns)), low(moved(rows // 2, columns // 2))
    assert found["strength of motion"] > slower["strength of motion"] > 0
    assert found["change between frames"] > slower["change between frames"] > 0
    assert found["gain of following motion over staying"] > 0
    # The picture moves against the camera, at half size by half as much, of a reach of five.
    expected = {
        name: 0.5 - 0.25 * 2 * shift / 2 / 5 for name, shift in (("vertical", rows), ("horizontal", columns))
    }
    for name, value in expected.items():
        assert found[f"{name} motion, 0.5 for none"] == pytest.approx(value, abs=0.03)
    assert found["jerkiness"] < 0.15


def test_motion_that_turns_is_jerky_and_steady_motion_is_not() -> None:
    steady, turning = moved(0, 4), moved(0, 4)
    turning[2] = turning[0]
    assert low(turning)["jerkiness"] > low(steady)["jerkiness"] + 0.4


def test_a_thing_that_moves_pulls_the_middle_of_motion_to_it() -> None:
    corner, middle = [], []
    for step in (-1, 0, 1):
        for frames, (row, column) in ((corner, (8, 12)), (middle, (45, 85))):
            frame = window(texture(sd=6.0, contrast=0.02), 0, 0).copy()
            frame[row + 2 * step : row + 2 * step + 28, column : column + 28] = window(texture(3), 0, 0)[
                :28, :28
            ]
            frames.append(frame)
    name = "distance of motion from the middle of the frame"
    assert low(corner)[name] > low(middle)[name] + 0.3
    assert low(middle)["spread of the places of motion"] < low(moved(0, 4))["spread of the places of motion"]


def test_a_blurred_picture_keeps_more_of_its_edges_when_they_are_filtered_again() -> None:
    sharp, soft = STILL[1], ndimage.gaussian_filter(STILL[1], 2)
    name = "blur: what is left of edges when they are filtered again"
    assert low([soft] * 3)[name] != pytest.approx(low(STILL)[name], rel=0.2)
    assert low([soft] * 3)["spatial detail"] < low([sharp] * 3)["spatial detail"]


def test_fields_of_two_moments_look_interlaced() -> None:
    picture = texture(sd=4.0)
    woven = window(picture, 0, 0).copy()
    woven[1::2] = window(picture, 0, 12)[1::2]
    name = "interlacing: likeness of differences of lines and of columns"
    assert low([woven] * 3)[name] < 0.5 * low([window(picture, 0, 0)] * 3)[name]


def test_light_that_changes_where_nothing_moves_flickers() -> None:
    frames = [STILL[0], STILL[1], STILL[2] + 0.004]
    found = low(frames)
    assert found["change where nothing moves"] == pytest.approx(0.002, rel=0.1)
    assert found["flicker where nothing moves"] == pytest.approx(0.002, rel=0.1)


def test_blocks_leave_a_rhythm_of_their_size() -> None:
    picture = window(texture(sd=3.0), 0, 0)
    rows, columns = HEIGHT // 8, WIDTH // 8
    coarse = picture[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8).mean(axis=(1, 3))
    blocky = high(np.kron(coarse, np.ones((8, 8))))
    whole = high(picture)
    name = "blockiness: strongest rhythm of edges along lines or columns"
    assert blocky[name] > 0.8 > whole[name]
    assert blocky["distance of that rhythm"] == pytest.approx(8 / 21, abs=1e-9)
    assert blocky["number of rhythms"] > 0


def test_noise_is_counted_where_the_picture_is_smooth() -> None:
    rng, smooth = np.random.default_rng(0), np.full((HEIGHT, WIDTH), 0.5)
    little, much = (high(smooth + rng.normal(scale=scale, size=smooth.shape)) for scale in (0.005, 0.02))
    assert high(smooth)["density of noise"] == 0
    assert little["density of noise"] == pytest.approx(2 / 25, rel=0.1), (
        "one of 25 is the largest, one the least"
    )
    assert much["mean strength of noise"] == pytest.approx(4 * little["mean strength of noise"], rel=0.1)
    assert high(texture()[20:140, 20:220])["density of noise"] < 0.5 * little["density of noise"]


def test_white_and_black_patches_are_measured_and_leave_noise_and_contrast_alone() -> None:
    picture = window(texture(contrast=0.05), 0, 0).copy()
    plain = high(picture)
    picture[10:20, 10:30], picture[50:60, 50:60], picture[80:90, 80:90] = 1.0, 1.0, 0.0
    picture[100:104, 100:104] = 1.0  # too small to count
    found = high(picture)
    assert found["share of the frame that is all but white"] == pytest.approx(300 / picture.size)
    assert found["share of a white patch"] == pytest.approx(150 / picture.size)
    assert found["share of the frame that is all but black"] == pytest.approx(100 / picture.size)
    assert found["brightness"] == pytest.approx(plain["brightness"], abs=0.003)
    assert plain["share of the frame that is all but white"] == 0


def test_brightness_and_colour_are_those_of_the_picture() -> None:
    grey = window(texture(contrast=0.02), 0, 0)
    dark, bright = high(grey - 0.25), high(grey + 0.25)
    assert bright["brightness"] - dark["brightness"] == pytest.approx(0.25, abs=0.01)
    assert dark["darkness: how far the distribution of lightness is from an even one"] > 0.6
    assert high(grey)["colourfulness"] == high(grey)["deviation of colour"] == 0
    assert high(grey, a=30, b=40)["colourfulness"] == pytest.approx(1.0)
    tint = 20 * np.sign(np.linspace(-1, 1, WIDTH)) * np.ones((HEIGHT, 1))
    assert high(grey, a=tint)["deviation of colour"] == pytest.approx(0.2, rel=0.01)


def test_a_soft_picture_stays_like_itself_for_longer_and_has_less_of_high_frequencies() -> None:
    sharp, soft = high(window(texture(sd=0.6), 0, 0)), high(window(texture(sd=3.0), 0, 0))
    for name in (
        "how long edges stay like themselves, over five steps",
        "how long edges stay like themselves, over three steps",
        "how like themselves edges are two pixels on",
    ):
        assert soft[name] > 1.5 * sharp[name] > 0, name
    assert (
        soft["deviation of edges in the sharpest blocks"] < sharp["deviation of edges in the sharpest blocks"]
    )
    name = "high frequencies in both directions beside low ones"
    assert soft[name] < 0.5 * sharp[name]


def test_edges_are_where_they_are() -> None:
    picture = np.full((HEIGHT, WIDTH), 0.5)
    picture[10:30, 10:30] = window(texture(), 0, 0)[:20, :20]
    aside, everywhere = high(picture), high(window(texture(), 0, 0))
    name = "distance of edges from the middle of the frame"
    assert aside[name] == pytest.approx(np.hypot(20.5 / HEIGHT - 0.5, 20.5 / WIDTH - 0.5), abs=0.02)
    assert everywhere[name] < 0.05
    assert aside["mean edges in colour"] < everywhere["mean edges in colour"]
    squares = aside["share of blocks that are sharpest"] + aside["share of blocks with edges that are not"]
    assert 0 < squares < 0.15


def _patches_by_loops(luma: Floats) -> tuple[float, float]:
    """White patches as the program finds them, place by place, numbers of patches that meet made one."""
    number, top = np.zeros(luma.shape, dtype=int), luma.max() - 0.05
    for row in range(HEIGHT - 2):
        for column in range(WIDTH - 2):
            if luma[row : row + 3, column : column + 3].min() > top:
                here = number[row : row + 3, column : column + 3]
                met = sorted(set(here[here > 0].tolist()))
                chosen = met[0] if met else number.max() + 1
                number[np.isin(number, met)] = chosen
                number[row : row + 3, column : column + 3] = chosen
    sizes = [size for size in np.bincount(number.ravel())[1:] if size >= 50]
    return sum(sizes) / luma.size, sum(sizes) / luma.size / max(len(sizes), 1)


def _noise_by_loops(luma: Floats) -> tuple[float, list[float]]:
    found, count = [], 0
    for row in range(4, HEIGHT - 4):
        for column in range(4, WIDTH - 4):
            count += 1
            here, around = luma[row, column], luma[row - 2 : row + 3, column - 2 : column + 3].ravel()
            others = np.delete(around, 12)
            wide = luma[row - 4 : row + 5, column - 4 : column + 5]
            if (here > others.max() or here < others.min()) and (wide.std(axis=0, ddof=1) < 0.05).all():
                near = luma[row - 3 : row + 4, column - 3 : column + 4].mean(axis=0)
                found += np.abs(near - here).tolist()
    return len(found) / 7 / count, found


def test_patches_and_noise_are_what_a_loop_over_all_places_finds() -> None:
    rng = np.random.default_rng(5)
    blobs = ndimage.gaussian_filter(rng.normal(size=(HEIGHT, WIDTH)), 3)
    white = np.where(blobs > 1.2 * blobs.std(), 0.99, 0.4)
    found = high(white)
    names = ("share of the frame that is all but white", "share of a white patch")
    assert [found[name] for name in names] == pytest.approx(_patches_by_loops(white))
    assert found[names[0]] > 2 * found[names[1]] > 0

    picture = window(texture(sd=4.0, contrast=0.08), 0, 0) + rng.normal(scale=0.01, size=(HEIGHT, WIDTH))
    density, strengths = _noise_by_loops(picture)
    found = high(picture)
    assert found["density of noise"] == pytest.approx(density)
    assert found["mean strength of noise"] == pytest.approx(np.mean(strengths))
    assert found["deviation of the strength of noise"] == pytest.approx(np.std(strengths, ddof=1))


def test_what_videval_takes_of_them_is_the_same_there() -> None:
    frames = [frame.copy() for frame in moved(2, 4)]
    for frame, column in zip(frames, (60, 66, 76), strict=True):
        frame[40:80, column : column + 50] = window(texture(3), 0, 0)[:40, :50]
    before, itself, after = (halved(stacked(torch.from_numpy(one.clip(0, 1)[None]))) for one in frames)
    theirs = torch.stack(tlvqm_low(before, itself, after, reach=WIDTH // 40))[:, 0].tolist()
    ours = list(low(frames).values())
    assert [ours[place] for place in (0, 4, 11, 15, 17, 18, 21)] == pytest.approx(theirs)
    assert min(theirs) > 0
    lab = torch.from_numpy(np.stack([100 * frames[1].clip(0, 1), 20 * frames[0], 30 * frames[2]]))
    closer = tlvqm_high_features(torch.full((HEIGHT, WIDTH), 0.5, dtype=torch.float64), lab)
    _, _, colour, longer, near, soft = tlvqm_high(lab[None])[0].tolist()
    assert closer[[16, 21, 23, 29]].tolist() == pytest.approx([colour, longer, near, soft])


def test_every_statistic_stays_in_its_bounds() -> None:
    rng = np.random.default_rng(2)
    pictures = [window(texture(seed, sd=sd), 0, 0) for seed, sd in ((1, 0.5), (2, 2.0), (3, 8.0))]
    pictures += [rng.uniform(size=(HEIGHT, WIDTH)), np.zeros((HEIGHT, WIDTH)), np.ones((HEIGHT, WIDTH))]
    pictures += [np.full((HEIGHT, WIDTH), 0.5), np.indices((HEIGHT, WIDTH)).sum(axis=0) % 2.0]
    for first, second in zip(pictures, [*pictures[1:], pictures[0]], strict=True):
        for frames in ([first, second, first], [first] * 3):
            found = low(frames)
            assert all(np.isfinite(list(found.values())))
            assert all(value >= 0 for value in found.values())
            shares = [
                name for name in LOW_FEATURES if name.startswith(("interlacing", "vertical", "horizontal"))
            ]
            assert all(found[name] <= 1 for name in shares)
        values = high(first, a=first * 20)
        assert all(np.isfinite(list(values.values())))
        for name in HIGH_FEATURES:
            if name.startswith(("share", "density", "distance of that", "number", "brightness", "darkness")):
                assert 0 <= values[name] <= 2, name


def test_a_picture_without_anything_has_no_edges_no_noise_and_no_rhythm() -> None:
    found = high(np.full((HEIGHT, WIDTH), 0.5))
    nothing = {name for name, value in found.items() if value == 0}
    assert set(HIGH_FEATURES) - nothing == {
        "darkness: how far the distribution of lightness is from an even one",
        "brightness",
    }


def test_features_are_named_by_level_number_and_pooling() -> None:
    assert len(FEATURES) == 75
    counts = [
        sum(one.pooling == way for one in FEATURES)
        for way in ("mean", "deviation", "correlation", "usual frame")
    ]
    assert counts == [22, 22, 1, 30]
    assert (FEATURES[0].source, FEATURES[45].source, FEATURES[-1].source) == (
        "TLVQM low 1", "TLVQM high 1", "TLVQM high 30",
    )  # fmt: skip


def test_pooling_averages_blocks_and_says_how_motion_and_blur_go_together() -> None:
    rng = np.random.default_rng(0)
    frames, closer = rng.normal(size=(9, 22)), rng.normal(size=(2, 30))
    blocks = (np.arange(5), np.arange(4, 9))
    found = pooled(torch.from_numpy(frames), torch.from_numpy(closer), blocks).numpy()
    parts = [frames[rows] for rows in blocks]
    assert found[:22] == pytest.approx(np.mean([part.mean(axis=0) for part in parts], axis=0))
    assert found[22:44] == pytest.approx(np.mean([part.std(axis=0, ddof=1) for part in parts], axis=0))
    assert found[44] == pytest.approx(np.mean([np.corrcoef(part[:, 0], part[:, 10])[0, 1] for part in parts]))
    assert found[45:] == pytest.approx(closer.mean(axis=0))
    frames[:, 11] = 1.0  # detail that never changes
    assert pooled(torch.from_numpy(frames), torch.from_numpy(closer), blocks)[44] == 0


def test_the_usual_frame_of_a_block_is_the_one_nearest_to_its_mean() -> None:
    block = torch.zeros(5, 22)
    block[:, 3] = torch.tensor([0.0, 9.0, 4.0, 8.0, 1.0])
    assert usual_row(block) == 2
    block[2] = torch.nan
    assert usual_row(block) == 0, "where a mean is undefined, the first"


def test_peaks_and_troughs_are_found_at_their_distance() -> None:
    lags = np.tile(np.array([1.0, 0.8, 0.5, 0.2, 0.1, 0.1, 0.0])[:, None], (1, 3))
    lags[1:, 2] *= 0.9
    assert high_level._extremes(lags) == (1.0, 0.0)
    lags[4, 2] = -0.3
    lags[3, 1] = 0.95
    assert high_level._extremes(lags) == (3.0, pytest.approx(4 * 2**0.5))
