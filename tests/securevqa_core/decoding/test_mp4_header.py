"""MP4's headers are read as the standard has it, to an end, whatever bytes are in them."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from mp4boxes import ENTRY_BYTES, box, clap, dolby_vision, full_box

from securevqa_core.decoding.boxes import boxes
from securevqa_core.decoding.header import MISPLACED, Crop, Header
from securevqa_core.decoding.mp4_header import clean_aperture, mp4_header

Read = Callable[[bytes, int], Header]
CENTRED = clap((320, 1), (200, 1), (0, 1), (0, 1))
IDENTITY = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)


@pytest.fixture
def read(tmp_path: Path) -> Iterator[Read]:
    opened: list[int] = []

    def read_header(content: bytes, number: int = 1) -> Header:
        path = tmp_path / "file.mp4"
        path.write_bytes(content)
        opened.append(os.open(path, os.O_RDONLY))
        return mp4_header(opened[-1], number)

    yield read_header
    for descriptor in opened:
        os.close(descriptor)


def entry(*inside: bytes, kind: bytes = b"avc1", size: tuple[int, int] = (640, 360)) -> bytes:
    fields = bytearray(ENTRY_BYTES)
    fields[24:28] = struct.pack(">HH", *size)
    return box(kind, bytes(fields), *inside)


def track(
    *entries: bytes,
    number: int = 1,
    layer: int = 0,
    group: int = 0,
    right: int = 0,
    wide: bool = False,
    edits: bytes = b"",
) -> bytes:
    matrix = IDENTITY[:24] + struct.pack(">i", right << 16) + IDENTITY[28:]
    times = struct.pack(">QQIIQ" if wide else ">IIIII", 0, 0, number, 0, 0)
    fields = times + bytes(8) + struct.pack(">hhhh", layer, group, 0, 0) + matrix + bytes(8)
    head = full_box(b"tkhd", fields, version=int(wide), flags=1)
    handler = full_box(b"hdlr", bytes(4), b"vide", bytes(13))
    table = full_box(b"stsd", struct.pack(">I", len(entries)), *entries)
    return box(b"trak", head, edits, box(b"mdia", handler, box(b"minf", box(b"stbl", table))))


def movie(*tracks: bytes) -> bytes:
    return box(b"ftyp", b"isom", bytes(4)) + box(b"free", bytes(100)) + box(b"moov", *tracks)


def edit_list(*rates: float, wide: bool = False, start: int = 0) -> bytes:
    rows = (struct.pack(">Qqi" if wide else ">Iii", 1000, start, round(rate * 65536)) for rate in rates)
    return box(b"edts", full_box(b"elst", struct.pack(">I", len(rates)), *rows, version=int(wide)))


def still(*, primary: int = 1, kinds: tuple[bytes, ...] = (b"av01",), properties: bytes = b"") -> bytes:
    items = [
        full_box(b"infe", struct.pack(">HH", at + 1, 0), kind, version=2) for at, kind in enumerate(kinds)
    ]
    table = full_box(b"iinf", struct.pack(">H", len(items)), *items)
    shown = full_box(b"pitm", struct.pack(">H", primary))
    return box(b"ftyp", b"avif", bytes(4)) + full_box(
        b"meta", shown, table, box(b"iprp", box(b"ipco", properties))
    )


@pytest.mark.parametrize("wide", [False, True])
def test_a_track_is_found_by_its_number(read: Read, wide: bool) -> None:
    content = movie(track(entry(), number=7, wide=wide), track(entry(CENTRED), number=9, wide=wide))
    assert read(content, 7) == Header()
    assert read(content, 9) == Header(crop=Crop(top=80, bottom=80, left=160, right=160))


APERTURES: dict[str, tuple[bytes, Crop | None]] = {
    "whole": (clap((640, 1), (360, 1), (0, 1), (0, 1)), Crop()),
    "corner": (clap((320, 1), (180, 1), (-160, 1), (-90, 1)), Crop(bottom=180, right=320)),
    "other corner": (clap((320, 1), (180, 1), (160, 1), (90, 1)), Crop(top=180, left=320)),
    "thirds": (clap((640, 3), (360, 1), (0, 1), (0, 1)), Crop(left=213, right=214)),
    "too wide": (clap((642, 1), (360, 1), (0, 1), (0, 1)), None),
    "beside it": (clap((320, 1), (180, 1), (400, 1), (0, 1)), None),
    "no width": (clap((0, 1), (180, 1), (0, 1), (0, 1)), None),
    "negative": (clap((-320, 1), (180, 1), (0, 1), (0, 1)), None),
    "over nothing": (clap((320, 0), (180, 1), (0, 1), (0, 1)), None),
    "far away": (clap((1, 1), (1, 1), (2**31 - 1, 1), (-(2**31), 1)), None),
    "cut short": (box(b"clap", bytes(31)), None),
}


@pytest.mark.parametrize("name", APERTURES)
def test_a_clean_aperture_is_a_part_of_the_picture_or_refused(read: Read, name: str) -> None:
    aperture, crop = APERTURES[name]
    header = read(movie(track(entry(aperture))), 1)
    assert clean_aperture(aperture[8:], 640, 360) == crop
    if crop is None:
        assert header.not_understood == ("a clean aperture that is no part of the picture",)
    else:
        assert header == Header(crop=crop)


def test_what_is_kept_of_an_aperture_is_as_wide_as_it_says() -> None:
    """To the pixel that rounding may cost, for any place that fits."""
    numbers = np.random.default_rng(0).integers(1, 640, (500, 2))
    for width, offset in numbers.tolist():
        crop = clean_aperture(clap((width, 1), (360, 1), (offset - 320, 2), (0, 1))[8:], 640, 360)
        if abs(Fraction(offset - 320, 2)) <= Fraction(640 - width, 2):
            assert crop is not None
            assert abs(640 - crop.left - crop.right - width) <= 1


PROBLEMS: dict[str, tuple[bytes, str]] = {
    "no movie": (box(b"ftyp", b"isom"), MISPLACED),
    "no such track": (movie(track(entry(), number=2)), MISPLACED),
    "twins": (movie(track(entry()), track(entry(CENTRED))), MISPLACED),
    "a track beside the movie": (movie() + track(entry()), MISPLACED),
    "no entry": (movie(track()), MISPLACED),
    "an entry that is not all boxes": (movie(track(entry(bytes(20), CENTRED))), MISPLACED),
    "entries that disagree": (movie(track(entry(), entry(CENTRED))), "disagree"),
    "entries of several codecs": (movie(track(entry(), entry(kind=b"hvc1"))), "of several codecs"),
    "a short record": (movie(track(entry(box(b"dvcC", b"\1\0")))), "cut short"),
    "a record without compatibility": (movie(track(entry(box(b"dvcC", b"\1\0\x10\x08")))), "profile 8"),
    "a second record": (
        movie(
            track(
                entry(
                    dolby_vision(b"dvcC", profile=8, compatibility=1),
                    dolby_vision(b"dvvC", profile=8, compatibility=0),
                )
            )
        ),
        "profile 8",
    ),
    "MV-HEVC": (movie(track(entry(box(b"lhvC", bytes(6))))), "lhvC"),
    "MVC": (movie(track(entry(box(b"mvcC", bytes(6))))), "mvcC"),
    "SVC": (movie(track(entry(box(b"svcC", bytes(6))))), "svcC"),
    "LCEVC": (movie(track(entry(box(b"lvcC", bytes(6))))), "LCEVC"),
    "an overlay by its layer": (movie(track(entry()), track(entry(), number=2, layer=-1)), "laid over"),
    "an overlay by its place": (movie(track(entry()), track(entry(), number=2, right=100)), "laid over"),
    "backwards": (movie(track(entry(), edits=edit_list(1, -1))), "backwards"),
    "half as fast": (movie(track(entry(), edits=edit_list(0.5, wide=True))), "another pace"),
    "a picture that is held": (movie(track(entry(), edits=edit_list(1) + edit_list(0))), "holds a picture"),
    "a grid": (still(kinds=(b"grid", b"hvc1")), "put together from others .grid"),
    "an overlay of stills": (still(kinds=(b"iovl", b"hvc1")), "put together from others .iovl"),
    "another item": (still(primary=2, kinds=(b"av01", b"av01")), "another item"),
    "a tone map": (still(kinds=(b"av01", b"tmap")), "a gain map"),
    "a gain map": (
        still(properties=full_box(b"auxC", b"urn:com:apple:photo:2020:aux:hdrgainmap\0")),
        "a gain map",
    ),
    "alpha beside a still": (
        still(properties=full_box(b"auxC", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")),
        "alpha",
    ),
    "an aperture of a still": (still(properties=CENTRED), "clean aperture of a still"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_a_header_orders_beyond_a_crop_is_named(read: Read, name: str) -> None:
    content, words = PROBLEMS[name]
    assert any(words.replace(" .", " (") in problem for problem in read(content, 1).not_understood)


@pytest.mark.parametrize(
    "content",
    [
        movie(track(entry(), group=3), track(entry(), number=2, layer=-1, group=3)),  # a choice
        movie(track(entry(), entry())),
        movie(track(entry(dolby_vision(b"dvvC", profile=8, compatibility=4)))),
        movie(track(entry(bytes(4)))),  # QuickTime's terminator
        movie(track(entry(), edits=edit_list(1, 1, 1, wide=True))),
        movie(track(entry(), edits=edit_list(0, start=-1))),  # nothing is shown meanwhile
    ],
)
def test_ordinary_headers_order_nothing(read: Read, content: bytes) -> None:
    assert read(content, 1) == Header()


@pytest.mark.parametrize("kinds", [(b"av01",), (b"av01", b"Exif", b"mime")])
def test_ordinary_stills_are_known_for_stills(read: Read, kinds: tuple[bytes, ...]) -> None:
    assert read(still(kinds=kinds), 1) == Header(is_heif=True)


def test_headers_of_any_bytes_are_read_to_an_end(read: Read) -> None:
    """Bytes of boxes, sizes above all, are overwritten; what comes back is a header, within a moment."""
    rng = np.random.default_rng(0)
    whole = movie(track(entry(CENTRED, dolby_vision(b"dvcC", profile=8, compatibility=1)), entry(CENTRED)))
    for content in (whole, still(kinds=(b"av01", b"av01"), properties=CENTRED)):
        for _ in range(300):
            spoilt = bytearray(content)
            for place in rng.integers(0, len(content), 4).tolist():
                spoilt[place] = int(rng.choice([0, 1, 8, 127, 255]))
            assert isinstance(read(bytes(spoilt[: rng.integers(1, len(spoilt) + 1)]), 1), Header)


def test_a_chain_of_boxes_has_an_end(tmp_path: Path) -> None:
    path = tmp_path / "boxes"
    path.write_bytes(box(b"free") * 300_000)
    with path.open("rb") as file:
        assert len(list(boxes(file.fileno(), 0, 8 * 300_000))) == 100_000
