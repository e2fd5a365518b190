"""Matroska's headers are read as the standard has it, to an end, whatever bytes are in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from mp4boxes import dolby_vision

from securevqa_core.decoding.header import MISPLACED, Crop, Header
from securevqa_core.decoding.matroska_header import matroska_header

Read = Callable[..., Header]
EBML, SEGMENT, SEEK_HEAD, TRACKS, CLUSTER = 0x1A45DFA3, 0x18538067, 0x114D9B74, 0x1654AE6B, 0x1F43B675
ENTRY, KIND, CODEC, VIDEO = 0xAE, 0x83, 0x86, 0xE0
CHAPTERS, EDITION, ORDERED = 0x1043A770, 0x45B9, 0x45DD
BOTTOM, TOP, LEFT, RIGHT = 0x54AA, 0x54BB, 0x54CC, 0x54DD
UNKNOWN = b"\x01" + b"\xff" * 7


def element(name: int, *held: bytes) -> bytes:
    content = b"".join(held)
    return name.to_bytes((name.bit_length() + 7) // 8) + (1 << 56 | len(content)).to_bytes(8) + content


def number(name: int, value: int) -> bytes:
    return element(name, value.to_bytes(2))


def entry(*held: bytes, kind: int = 1, codec: bytes = b"V_MPEG4/ISO/AVC") -> bytes:
    return element(ENTRY, number(KIND, kind), element(CODEC, codec), *held)


def file(*tracks: bytes, chapters: tuple[bytes, ...] = ()) -> bytes:
    listed = element(CHAPTERS, element(EDITION, *chapters)) if chapters else b""
    return element(EBML) + element(SEGMENT, element(TRACKS, *tracks), listed, element(CLUSTER, bytes(10)))


@pytest.fixture
def read(tmp_path: Path) -> Iterator[Read]:
    opened: list[int] = []

    def read_header(content: bytes, index: int = 0, num_tracks: int = 1) -> Header:
        path = tmp_path / "file.mkv"
        path.write_bytes(content)
        opened.append(os.open(path, os.O_RDONLY))
        return matroska_header(opened[-1], index, num_tracks)

    yield read_header
    for descriptor in opened:
        os.close(descriptor)


CROPPED = element(VIDEO, number(BOTTOM, 1), number(TOP, 2), number(LEFT, 3), number(RIGHT, 4))
CROP = Crop(bottom=1, top=2, left=3, right=4)
SIZE_OF_SEEK_HEAD = len(element(SEEK_HEAD, element(0x4DBB, element(0x53AB, bytes(4)), number(0x53AC, 0))))


def seek_head(position: int) -> bytes:
    return element(SEEK_HEAD, element(0x4DBB, element(0x53AB, TRACKS.to_bytes(4)), number(0x53AC, position)))


def test_a_track_is_found_by_its_place_among_those_that_ffmpeg_counts(read: Read) -> None:
    others = (entry(kind=2, codec=b"A_OPUS"), entry(kind=0x12), entry(codec=b""))
    content = file(*others, entry(), entry(CROPPED))
    assert read(content, 1, 3) == Header()
    assert read(content, 2, 3) == Header(crop=CROP)


@pytest.mark.parametrize(
    "content",
    [
        file(entry(CROPPED)),
        file(entry(element(VIDEO, number(TOP, 9)), CROPPED)),  # the last one counts
        element(EBML) + SEGMENT.to_bytes(4) + UNKNOWN + element(TRACKS, entry(CROPPED)),  # a live recording
        element(EBML)
        + element(
            SEGMENT,
            seek_head(SIZE_OF_SEEK_HEAD + len(element(CLUSTER, bytes(50)))),
            element(CLUSTER, bytes(50)),
            element(TRACKS, entry(CROPPED)),
        ),
        element(EBML)
        + element(SEGMENT, element(0xEC, bytes(9)), element(TRACKS, element(0xBF, bytes(4)), entry(CROPPED))),
    ],
    ids=["plain", "twice", "of unknown size", "behind the pictures", "among others"],
)
def test_a_crop_is_found_wherever_the_track_list_may_be(read: Read, content: bytes) -> None:
    assert read(content) == Header(crop=CROP)


def mapping(kind: bytes, *record: bytes) -> bytes:
    return element(0x41E4, element(0x41E7, kind), *(element(0x41ED, held) for held in record))


def record(profile: int, compatibility: int) -> bytes:
    return dolby_vision(b"dvcC", profile=profile, compatibility=compatibility)[8:]


PROBLEMS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", MISPLACED),
    "no segment": (element(EBML), MISPLACED),
    "no track list": (element(EBML) + element(SEGMENT, element(CLUSTER)), MISPLACED),
    "more tracks than FFmpeg counts": (file(entry(), entry()), MISPLACED),
    "sound": (file(entry(kind=2)), MISPLACED),
    "bytes before the track list": (
        element(EBML) + element(SEGMENT, bytes(9), element(TRACKS, entry(CROPPED))),
        MISPLACED,
    ),
    "alpha": (file(entry(element(VIDEO, number(0x53C0, 1)))), "AlphaMode"),
    "ordered chapters": (file(entry(), chapters=(number(ORDERED, 1),)), "EditionFlagOrdered"),
    "ordered chapters behind many": (
        file(entry(), chapters=(element(0xB6) * 20_000, number(ORDERED, 1))),
        MISPLACED,
    ),
    "combined tracks": (file(entry(element(0xE2, bytes(3)))), "TrackOperation"),
    "Dolby Vision": (file(entry(mapping(b"dvcC", record(5, 0)))), "profile 5"),
    "Dolby Vision behind a stray record": (
        file(entry(element(0x41ED, record(8, 1)), mapping(b"\4"), mapping(b"dvvC", record(8, 0)))),
        "profile 8",
    ),
    "Dolby Vision without a record": (file(entry(mapping(b"dvcC"))), "cut short"),
    "views": (file(entry(mapping(b"mvcC", bytes(9)))), "several views"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_a_header_orders_beyond_a_crop_is_named(read: Read, name: str) -> None:
    content, words = PROBLEMS[name]
    assert any(words in problem for problem in read(content).not_understood)


@pytest.mark.parametrize(
    "held", [b"", element(VIDEO, number(0x53C0, 0)), mapping(b"\4"), mapping(b"dvvC", record(8, 1))]
)
def test_ordinary_headers_order_nothing(read: Read, held: bytes) -> None:
    assert read(file(entry(held))) == Header()


def test_chapters_to_choose_from_order_nothing(read: Read) -> None:
    assert read(file(entry(), chapters=(number(ORDERED, 0), element(0xB6)))) == Header()


def test_ordered_chapters_are_found_behind_the_pictures(read: Read) -> None:
    chapters = element(CHAPTERS, element(EDITION, number(ORDERED, 1)))
    sought = element(0x4DBB, element(0x53AB, CHAPTERS.to_bytes(4)), number(0x53AC, 0))
    before = element(TRACKS, entry()) + element(CLUSTER, bytes(50))
    place = len(element(SEEK_HEAD, sought)) + len(before)
    head = element(SEEK_HEAD, element(0x4DBB, element(0x53AB, CHAPTERS.to_bytes(4)), number(0x53AC, place)))
    content = element(EBML) + element(SEGMENT, head, before, chapters)
    assert "EditionFlagOrdered" in read(content).not_understood[0]


def test_headers_of_any_bytes_are_read_to_an_end(read: Read) -> None:
    rng = np.random.default_rng(0)
    content = element(EBML) + element(
        SEGMENT, seek_head(60), element(TRACKS, entry(CROPPED, mapping(b"dvvC", record(8, 1)))), bytes(20)
    )
    for _ in range(500):
        spoilt = bytearray(content)
        for place in rng.integers(0, len(content), 4).tolist():
            spoilt[place] = int(rng.choice([0, 1, 0x40, 0xAE, 0xE0, 0xFF]))
        assert isinstance(read(bytes(spoilt[: rng.integers(1, len(spoilt) + 1)])), Header)


def test_elements_in_elements_and_endless_chains_end(read: Read) -> None:
    nested = b""
    for _ in range(2_000):
        nested = element(ENTRY, nested)
    assert read(file(nested)).not_understood == (MISPLACED,)
    chain = element(0xEC) * 100_000
    assert read(element(EBML) + element(SEGMENT, chain, element(TRACKS, entry()))).not_understood == (
        MISPLACED,
    )
