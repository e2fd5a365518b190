"""The same footage is one group, however it was encoded, cut or scaled, and other footage is not in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from footage import make_photo, make_video
from media import run_ffmpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps

from securevqa_core.datasets.duplicates import HASH_BITS, group_sources, hash_pictures, picture_hash
from securevqa_core.datasets.sources import read_source
from securevqa_core.errors import DatasetError

SMALL = "-vf scale=160:120 -c:v libx264 -preset ultrafast -crf {crf}"


def clear_picture(seed: int = 0) -> NDArray[np.uint8]:
    """Nine columns of eight fields whose luma differs clearly, 90 x 80 pixels."""
    fields = np.random.default_rng(seed).permutation(72).reshape(8, 9) * 3 + 20
    return np.kron(fields, np.ones((10, 10))).astype(np.uint8)


def test_a_hash_is_where_luma_rises_to_the_right_and_where_downwards() -> None:
    picture = clear_picture()
    found = picture_hash(Image.fromarray(picture))
    assert found is not None
    rows = picture[5::10, 5::10].astype(int)
    np.testing.assert_array_equal(found[:64], (np.diff(rows, axis=1) > 0).ravel())
    tall = np.asarray(Image.fromarray(picture).resize((8, 9), Image.Resampling.BOX)).astype(int)
    np.testing.assert_array_equal(found[64:], (np.diff(tall, axis=0) > 0).ravel())
    assert found.shape == (HASH_BITS,)


def test_a_hash_outlives_size_light_and_colour_and_no_mirror(tmp_path: Path) -> None:
    photo = Image.open(make_photo(tmp_path / "street.png")).convert("RGB")
    original = picture_hash(photo)
    assert original is not None
    kept = [photo.resize((200, 150)), photo.point(lambda value: value * 0.7), photo.convert("L")]
    for picture in kept:
        found = picture_hash(picture)
        assert found is not None
        assert (found != original).sum() <= 8
    mirrored = picture_hash(ImageOps.mirror(photo))
    assert mirrored is not None
    assert (mirrored != original).sum() > 32


@pytest.mark.parametrize("pixels", [np.full((80, 90), 128), np.full((80, 90), 128) + np.arange(90) % 2])
def test_a_flat_picture_has_no_hash(pixels: NDArray[np.int64]) -> None:
    assert picture_hash(Image.fromarray(pixels.astype(np.uint8))) is None


@pytest.mark.slow
def test_the_same_footage_is_one_group_and_other_footage_is_not_in_it(tmp_path: Path) -> None:
    makers = {
        "again": lambda path: make_video(path, seconds=5, options=SMALL.format(crf=40)),
        "cut": lambda path: make_video(path, start=1.3, seconds=2, options=SMALL.format(crf=25)),
        "whole": lambda path: make_video(path, seconds=5),
        "bikes": lambda path: make_video(path, "bikes", seconds=5, options=SMALL.format(crf=25)),
        "bikes_later": lambda path: make_video(path, "bikes", start=1, seconds=4),
        "person": lambda path: make_video(path, "carphone_pristine", options=SMALL.format(crf=25)),
    }
    hashes = {
        name: hash_pictures(read_source(make(tmp_path / f"{name}.mp4"))) for name, make in makers.items()
    }
    assert all(found.shape[1] == HASH_BITS for found in hashes.values())
    assert len(hashes["whole"]) == pytest.approx(10, abs=2)
    assert group_sources(hashes) == {
        "again": "again",
        "cut": "again",
        "whole": "again",
        "bikes": "bikes",
        "bikes_later": "bikes",
        "person": "person",
    }


def hashes_of(bits: NDArray[np.bool_], *changes: int) -> NDArray[np.bool_]:
    """One hash for each number: of bits that differ from `bits`."""
    rows = np.repeat(bits[None], len(changes), axis=0)
    for row, number in zip(rows, changes, strict=True):
        row[:number] ^= True
    return rows


def test_groups_join_through_a_third_source_and_are_named_after_the_first() -> None:
    bits = np.random.default_rng(0).random(HASH_BITS) > 0.5
    hashes = {
        "c": hashes_of(bits, 0, 0),
        "b": hashes_of(bits, 20, 20),
        "a": hashes_of(bits, 40, 40),
        "far": hashes_of(bits, 65, 65),
        "none": np.empty((0, HASH_BITS), dtype=np.bool_),
    }
    assert group_sources(hashes) == {"a": "a", "b": "a", "c": "a", "far": "far", "none": "none"}
    reordered = dict(reversed(hashes.items()))
    assert group_sources(reordered) == group_sources(hashes)
    assert group_sources({"none": hashes["none"]}) == {"none": "none"}


@pytest.mark.parametrize(("distance", "is_same"), [(8, True), (9, False)])
def test_a_photograph_has_to_agree_more_closely(distance: int, is_same: bool) -> None:
    bits = np.random.default_rng(0).random(HASH_BITS) > 0.5
    hashes = {"photo": hashes_of(bits, 0), "video": hashes_of(bits, distance, 60, 70)}
    assert (group_sources(hashes)["video"] == "photo") == is_same


@pytest.mark.parametrize(("num_shared", "is_same"), [(3, False), (4, True)])
def test_a_third_of_the_shorter_source_makes_both_one(num_shared: int, is_same: bool) -> None:
    rng = np.random.default_rng(1)
    short, other = rng.random((10, HASH_BITS)) > 0.5, rng.random((20, HASH_BITS)) > 0.5
    other[:num_shared] = short[:num_shared]
    assert (group_sources({"other": other, "short": short})["short"] == "other") == is_same


def test_what_a_copy_says_of_its_colours_changes_no_bit(tmp_path: Path) -> None:
    path = make_video(tmp_path / "bunny.mp4", seconds=2, options=SMALL.format(crf=20))
    retagged = ("-c", "copy", "-bsf:v", "h264_metadata=matrix_coefficients=9:colour_primaries=9")
    run_ffmpeg("-i", str(path), *retagged, str(tmp_path / "copy.mp4"))
    found = hash_pictures(read_source(path))
    assert len(found) == 4
    np.testing.assert_array_equal(hash_pictures(read_source(tmp_path / "copy.mp4")), found)


def test_footage_damaged_in_the_middle_is_hashed_up_to_there(tmp_path: Path) -> None:
    path = make_video(tmp_path / "bunny.avi", start=2, options="-vf scale=160:120 -c:v mjpeg -q:v 5")
    whole = hash_pictures(read_source(path))
    assert len(whole) == 5
    content = path.read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(content[: len(content) * 6 // 10])
    found = hash_pictures(read_source(cut))
    assert 1 <= len(found) < 5
    np.testing.assert_array_equal(found, whole[: len(found)])


def test_footage_that_cannot_be_decoded_at_all_is_named(tmp_path: Path) -> None:
    path = make_video(tmp_path / "bunny.mp4", seconds=1)
    source = read_source(path)
    path.write_text("not a video any more")
    with pytest.raises(DatasetError, match=r"bunny\.mp4 cannot be opened as a video"):
        hash_pictures(source)
