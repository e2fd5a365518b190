"""A fingerprint stays near when a video is encoded anew, and is far from those of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from av.video.frame import VideoFrame
from media import bundled_clip, run_ffmpeg
from numpy.typing import NDArray

from securevqa_core import zoo
from securevqa_core.decoding.extract import DecodeRequest, DrawSeeds
from securevqa_core.decoding.glances import GLANCES_SHAPE, MOMENTS, Glances, glances_of
from securevqa_core.decoding.sandbox import DecodeSandbox
from securevqa_core.fingerprints import (
    BITS_PER_PART,
    FLIP,
    MAX_DISTANCE,
    MIRROR,
    NUM_BITS,
    PARTS,
    TURNS,
    are_near,
    fingerprint,
    words,
)
from securevqa_core.types import DecodeLimits

EDITS = {
    "the same again": "-crf 18",
    "poor": "-crf 40",
    "smaller": "-vf scale=160:-2 -crf 23",
    "fewer frames": "-vf fps=12 -crf 23",
    "more frames": "-vf fps=50 -crf 23",
    "cropped": "-vf crop=trunc(iw*0.475)*2:trunc(ih*0.475)*2 -crf 23",
    "mirrored": "-vf hflip -crf 23",
    "upside down": "-vf vflip -crf 23",
    "bars above and below": "-vf pad=iw:trunc(ih*0.7)*2:0:(oh-ih)/2 -crf 30",
    "grey bars at the sides": "-vf pad=trunc(iw*0.7)*2:ih:(ow-iw)/2:0:gray -crf 30",
    "a border": "-vf pad=trunc(iw*0.55)*2:trunc(ih*0.55)*2:(ow-iw)/2:(oh-ih)/2 -crf 23",
    "with a mark": "-vf drawbox=x=iw*0.88:y=ih*0.04:w=iw*0.08:h=ih*0.08:color=white:t=fill -crf 23",
    "two levels of noise": "-vf noise=alls=2:allf=t -crf 12",
    "brighter": "-vf eq=brightness=0.06 -crf 23",
}


@pytest.fixture(scope="module")
def sandbox() -> DecodeSandbox:
    return DecodeSandbox(DecodeLimits())


def encoded(target: Path, clip: str, options: str) -> Path:
    codec = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-an"]
    run_ffmpeg("-i", str(bundled_clip(clip)), "-t", "4", *options.split(), *codec, str(target))
    return target


def fingerprint_in(sandbox: DecodeSandbox, path: Path, *, seed: int, model: str = zoo.DEFAULT_MODEL) -> str:
    draw = DrawSeeds(skip_sampling=bytes([seed] * 32), grid_sampling=bytes([seed] * 32))
    request = DecodeRequest(sampling=zoo.spec(model).sampling, draws=(draw,), takes_glances=True)
    glances = sandbox.decode(str(path), request).glances
    assert glances is not None
    found = fingerprint(glances)
    assert found is not None
    return found


def distance(one: str, other: str) -> int:
    """Bits that differ, counted on text, of the nearest of a fingerprint and how it may be turned."""
    differ = int(one, 16) ^ int(other, 16)
    turns = [int.from_bytes(np.full(PARTS, turn, "<u8").tobytes()) for turn in TURNS]
    return min((differ ^ turn).bit_count() for turn in turns)


@pytest.mark.slow
@pytest.mark.parametrize("clip", ["bikes", "bigbuckbunny"])
def test_real_encodings_of_one_video_are_near_and_another_video_is_far(
    clip: str, tmp_path: Path, sandbox: DecodeSandbox
) -> None:
    original = fingerprint_in(sandbox, encoded(tmp_path / "o.mp4", clip, "-crf 12"), seed=1)
    found = {
        name: distance(
            original, fingerprint_in(sandbox, encoded(tmp_path / f"{number}.mp4", clip, options), seed=number)
        )
        for number, (name, options) in enumerate(EDITS.items(), start=2)
    }
    assert {name: bits for name, bits in found.items() if bits > MAX_DISTANCE} == {}
    other = fingerprint_in(sandbox, bundled_clip("carphone_pristine"), seed=9)
    assert distance(original, other) > 1.5 * MAX_DISTANCE


@pytest.mark.slow
@pytest.mark.parametrize("model", ["fast-vqa", "dover", "secure-vqa"])
def test_what_a_model_looks_at_makes_little_difference(
    model: str, videos: dict[str, Path], sandbox: DecodeSandbox
) -> None:
    path = videos["bunny_h264.mp4"]
    default = fingerprint_in(sandbox, path, seed=1)
    assert distance(default, fingerprint_in(sandbox, path, seed=2, model=model)) <= MAX_DISTANCE


def test_nothing_is_taken_that_was_not_asked_for(videos: dict[str, Path], sandbox: DecodeSandbox) -> None:
    draw = DrawSeeds(skip_sampling=bytes(32), grid_sampling=bytes(32))
    request = DecodeRequest(sampling=zoo.spec("nss-svr").sampling, draws=(draw,))
    assert sandbox.decode(str(videos["bikes_h264.mp4"]), request).glances is None


def glances(seed: int) -> NDArray[np.uint8]:
    """Smooth pictures of enough contrast."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (GLANCES_SHAPE[0], 8, 8))
    return coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8)


def test_bits_are_the_signs_of_the_lowest_cosines() -> None:
    pictures = glances(0)
    steps = np.arange(64)
    expected = []
    for picture in pictures.astype(float):
        for row in range(8):
            for column in range(8):
                down = np.cos(np.pi * row * (2 * steps + 1) / 128)
                along = np.cos(np.pi * column * (2 * steps + 1) / 128)
                expected.append(down @ picture @ along > 0)
    bits = np.delete(np.array(expected).reshape(PARTS, -1), 0, axis=1)
    found = fingerprint(pictures)
    assert found is not None
    unpacked = words([found])[0][:, None] >> np.arange(BITS_PER_PART, dtype=np.uint64) & np.uint64(1)
    assert (unpacked.astype(bool) == bits).all()
    assert bits.size == NUM_BITS


def test_mirroring_turns_the_bits_of_odd_columns_alone() -> None:
    pictures = glances(1)
    one, mirrored = fingerprint(pictures), fingerprint(np.ascontiguousarray(pictures[:, :, ::-1]))
    assert one is not None
    assert mirrored is not None
    assert (words([one]) ^ MIRROR == words([mirrored])).all()


def test_turning_upside_down_turns_the_bits_of_odd_rows_alone() -> None:
    pictures = glances(1)
    one, flipped = fingerprint(pictures), fingerprint(np.ascontiguousarray(pictures[:, ::-1]))
    assert one is not None
    assert flipped is not None
    assert (words([one]) ^ FLIP == words([flipped])).all()


@pytest.mark.parametrize("level", [0, 128])
@pytest.mark.parametrize(("rows", "columns"), [((9, 12), (0, 0)), ((0, 0), (20, 7)), ((8, 8), (8, 8))])
def test_borders_are_no_part_of_what_is_shown(
    rows: tuple[int, int], columns: tuple[int, int], level: int
) -> None:
    pictures = glances(2)
    bordered = np.full_like(pictures, level)
    inside = np.s_[:, rows[0] : 64 - rows[1], columns[0] : 64 - columns[1]]
    bordered[inside] = pictures[inside]
    assert fingerprint(bordered) == fingerprint(pictures[inside])


def test_what_is_flat_but_for_a_little_keeps_its_borders() -> None:
    pictures = np.full(GLANCES_SHAPE, 90, np.uint8)
    pictures[:, 30:40, 20:44] = 250
    assert fingerprint(pictures) is not None


def test_unlike_pictures_are_far_and_flat_ones_have_no_fingerprint() -> None:
    prints = [fingerprint(glances(seed)) for seed in range(40)]
    assert None not in prints
    known = words([one for one in prints if one])
    assert (are_near(known[:, None], known) == np.eye(40, dtype=bool)).all()
    assert fingerprint(np.full(GLANCES_SHAPE, 90, np.uint8)) is None
    for num_flat, is_there in ((1, True), (2, False)):
        pictures = glances(1)
        pictures[:num_flat] = 20
        assert (fingerprint(pictures) is not None) == is_there


def test_a_fingerprint_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        words(["ab" * 32, "ab" * 31])


def test_glances_are_of_the_frames_nearest_to_evenly_spread_moments() -> None:
    levels = np.arange(192, dtype=np.uint8)
    frames = levels[:, None, None, None].repeat(64, 1).repeat(64, 2).repeat(3, 3)
    means = (np.arange(MOMENTS) * 3 + 1).reshape(4, -1).mean(axis=1)
    assert np.abs(glances_of(frames).mean(axis=(1, 2)) - means).max() <= 1


def test_a_frame_that_does_not_come_is_its_neighbours() -> None:
    frames = np.random.default_rng(3).integers(0, 255, (MOMENTS, 64, 64, 3), dtype=np.uint8)
    numbers, last = np.arange(MOMENTS) * 2, MOMENTS - 1
    repeated = frames.copy()
    repeated[2], repeated[last] = frames[1], frames[last - 1]  # the earlier of two that are as near
    expected, holed = Glances(numbers, numbers), Glances(numbers, numbers)
    for place, number in enumerate(numbers.tolist()):
        expected.add(number, VideoFrame.from_ndarray(repeated[place], format="rgb24"))
        if place not in (2, last):
            holed.add(number, VideoFrame.from_ndarray(frames[place], format="rgb24"))
    assert (expected.mean() == holed.mean()).all()
