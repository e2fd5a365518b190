"""Packet headers of a transport stream list its pictures as reading every packet does, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import media
import numpy as np
import pytest
from numpy.typing import NDArray

from securevqa_core.decoding import film_index
from securevqa_core.decoding.backend import OpenVideo
from securevqa_core.decoding.clock import Clock, constant_clock
from securevqa_core.decoding.film_index import index_film
from securevqa_core.decoding.frame_index import FrameIndex, index_frames
from securevqa_core.decoding.probe import check_stream, open_container, open_file
from securevqa_core.decoding.pyav_backend import read_frames
from securevqa_core.types import DecodeLimits

NumberedMaker = Callable[[str, str], Path]
Packets = NDArray[np.uint8]  # (n, 188)
H264 = "-c:v libx264 -pix_fmt yuv420p -bf 3 -sc_threshold 0 -g 12"
WANTED = np.array([0, 30, 31, 70, 99])


@pytest.fixture(autouse=True)
def _short_films(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film_index, "MIN_FILM_FRAMES", 20)
    monkeypatch.setattr(film_index, "_SLACK", 6)


@pytest.fixture
def packets(numbered: NumberedMaker) -> Packets:
    content = numbered("transport.ts", H264).read_bytes()
    return np.frombuffer(content, dtype=np.uint8).reshape(-1, 188).copy()


@pytest.fixture
def doctored(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "doctored.ts"
        path.write_bytes(content)
        return path

    return write


def _wanted(clock: Clock) -> NDArray[np.int64]:
    return WANTED[:-1] if clock.num_moments < 100 else WANTED


def _starts(packets: Packets) -> NDArray[np.int64]:
    """Return the packets that pictures begin in."""
    return np.flatnonzero((packets[:, 1] == 0x41) & (packets[:, 2] == 0))


def _both(path: Path) -> tuple[FrameIndex | None, FrameIndex]:
    """Return the index by headers, and the one by packets that is read after it."""
    with open_file(str(path)) as descriptor, open_container(descriptor) as container:
        stream = check_stream(container, DecodeLimits())
        film = index_film(container, stream, descriptor, _wanted)
        if film is not None:
            container.seek(0, unsupported_byte_offset=True)
        return film, index_frames(container, stream)


def _assert_same(found: FrameIndex | None, expected: FrameIndex, *, num_frames: int) -> None:
    assert found is not None
    assert found.numbers is not None
    assert expected.pts is not None
    assert found.num_frames == expected.num_frames == num_frames
    np.testing.assert_array_equal(found.pts, expected.pts[found.numbers])
    np.testing.assert_array_equal(found.is_keyframe, expected.is_keyframe[found.numbers])
    assert set(_wanted(constant_clock(num_frames)).tolist()) <= set(found.numbers.tolist())


@pytest.mark.parametrize(
    "options",
    [
        H264,
        f"-f lavfi -i sine=duration=4 -map 0 -map 1 -c:a aac {H264}",
        f"{H264} -output_ts_offset 95442",  # the clock turns after 95443.7 s
        f"{H264} -mpegts_start_pid 0x1ab",
        "-c:v mpeg2video -q:v 3 -bf 2 -g 12 -pix_fmt yuv420p",
    ],
    ids=["plain", "sound", "clock_turns", "other_pid", "mpeg2"],
)
def test_headers_tell_what_packets_do(
    numbered: NumberedMaker, options: str, request: pytest.FixtureRequest
) -> None:
    path = numbered(f"transport_{request.node.callspec.id}.ts", options)
    _assert_same(*_both(path), num_frames=100)


def test_a_stream_that_ends_early_is_as_long_as_it_is(
    packets: Packets, doctored: Callable[[bytes], Path]
) -> None:
    cut = packets[: _starts(packets)[80]]
    _assert_same(*_both(doctored(cut.tobytes())), num_frames=80)


@pytest.mark.parametrize("num_lost", [1, 10])
def test_pictures_that_were_lost_are_not_counted(
    packets: Packets, doctored: Callable[[bytes], Path], num_lost: int
) -> None:
    starts = _starts(packets)
    left = np.delete(packets, np.s_[starts[45] : starts[45 + num_lost]], axis=0)
    _assert_same(*_both(doctored(left.tobytes())), num_frames=100 - num_lost)


def _two_under_one_stamp(packets: Packets) -> bytes:
    second = packets[_starts(packets)[50]]
    second[1] &= 0xBF  # it begins no PES packet any more
    header_bytes = 9 + second[5 + second[4] + 8]
    second[4] += header_bytes  # the adaptation field takes the place of the PES header
    return packets.tobytes()


def _twice(packets: Packets) -> bytes:
    return packets.tobytes() * 2


def _cut_inside_a_packet(packets: Packets) -> bytes:
    return packets.tobytes()[:-50]


def _without_entries(packets: Packets) -> bytes:
    has_field = packets[:, 3] & 0x20 != 0
    packets[has_field, 5] &= 0xBF
    return packets.tobytes()


def _scrambled(packets: Packets) -> bytes:
    packets[_starts(packets)[50], 3] |= 0x80
    return packets.tobytes()


def _marked_damaged(packets: Packets) -> bytes:
    packets[_starts(packets)[50], 1] |= 0x80
    return packets.tobytes()


def _out_of_step(packets: Packets) -> bytes:
    packets[100, 0] = 0
    return packets.tobytes()


@pytest.mark.parametrize(
    "doctor",
    [
        _two_under_one_stamp,
        _twice,
        _cut_inside_a_packet,
        _without_entries,
        _scrambled,
        _marked_damaged,
        _out_of_step,
    ],
)
def test_what_headers_do_not_tell_for_sure_has_every_packet_read(
    packets: Packets, doctored: Callable[[bytes], Path], doctor: Callable[[Packets], bytes]
) -> None:
    path = doctored(doctor(packets))
    found, read = _both(path)
    with open_file(str(path)) as descriptor, open_container(descriptor) as container:
        fresh = index_frames(container, check_stream(container, DecodeLimits()))
    assert found is None
    assert read.num_frames == fresh.num_frames
    np.testing.assert_array_equal(read.pts, fresh.pts)


def test_a_lie_about_where_decoding_may_begin_changes_no_frame(
    packets: Packets, doctored: Callable[[bytes], Path]
) -> None:
    has_field = (packets[:, 3] & 0x20 != 0) & (packets[:, 4] > 0)
    packets[has_field, 5] |= 0x40
    path = doctored(packets.tobytes())
    with open_file(str(path)) as descriptor, open_container(descriptor) as container:
        stream = check_stream(container, DecodeLimits())
        index = index_film(container, stream, descriptor, lambda _: WANTED)
        assert index is not None
        video = OpenVideo(descriptor=descriptor, container=container, stream=stream, index=index)
        shown = {
            found.number: media.read_number(found.picture.to_ndarray(format="rgb24"))
            for found in read_frames(video, WANTED)
        }
    assert shown == {number: number for number in WANTED.tolist()}


def test_places_are_where_pictures_begin(numbered: NumberedMaker) -> None:
    path = numbered("transport.ts", H264)
    found, _ = _both(path)
    with av.open(str(path)) as container:
        places = {packet.pts: packet.pos for packet in container.demux(video=0) if packet.size}
    assert found is not None
    assert found.pts is not None
    assert found.positions is not None
    assert [places[pts] for pts in found.pts.tolist()] == found.positions.tolist()
