"""Block headers of Matroska tell what reading every packet does, or nothing."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from securevqa_core.decoding import matroska_index
from securevqa_core.decoding.frame_index import FrameIndex, index_frames
from securevqa_core.decoding.matroska_film import index_matroska
from securevqa_core.decoding.probe import check_stream, open_container, open_file
from securevqa_core.types import DecodeLimits

NumberedMaker = Callable[[str, str], Path]
H264 = "-c:v libx264 -pix_fmt yuv420p -bf 3 -sc_threshold 0 -g 12"
TONE = "-f lavfi -i sine=frequency=440:duration=4"
WHOLE = {
    "plain.mkv": H264,
    "one_gop.mkv": f"{H264} -g 250",
    "variable_rate.mkv": f"{H264} -vf setpts=N*N*40+N -fps_mode vfr -enc_time_base 1/1000",
    "hole.mkv": f"{H264} -vf select=not(between(n\\,40\\,59)) -fps_mode passthrough",
    "sound_first.mkv": f"{TONE} -map 1 -map 0 -c:a aac {H264}",
    "many_clusters.mkv": f"{H264} -cluster_time_limit 100",
    "opus.webm": f"{TONE} -c:a libopus -c:v libvpx-vp9 -g 12 -cpu-used 8 -pix_fmt yuv420p",
    "mpeg4.mkv": "-c:v mpeg4 -bf 2 -g 12 -pix_fmt yuv420p",
    "intra.mkv": "-c:v ffv1 -pix_fmt yuv420p",
}


def _both(path: Path) -> tuple[FrameIndex | None, FrameIndex]:
    """Return the index by block headers, and the one by packets that is read after it."""
    with open_file(str(path)) as descriptor, open_container(descriptor) as container:
        stream = check_stream(container, DecodeLimits())
        return index_matroska(stream, descriptor), index_frames(container, stream)


@pytest.fixture
def plain(numbered: NumberedMaker) -> bytearray:
    return bytearray(numbered("matroska_plain.mkv", WHOLE["plain.mkv"]).read_bytes())


@pytest.fixture
def doctored(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "doctored.mkv"
        path.write_bytes(content)
        return path

    return write


def _assert_same(found: FrameIndex | None, expected: FrameIndex) -> None:
    assert found is not None
    assert (found.num_frames, found.num_packets) == (expected.num_frames, expected.num_packets)
    np.testing.assert_array_equal(found.pts, expected.pts)
    np.testing.assert_array_equal(found.is_keyframe, expected.is_keyframe)


@pytest.mark.parametrize("name", WHOLE)
def test_block_headers_tell_what_packets_do(numbered: NumberedMaker, name: str) -> None:
    _assert_same(*_both(numbered(f"matroska_{name}", WHOLE[name])))


def test_many_maps_tell_what_one_does(numbered: NumberedMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matroska_index, "_MAPPED_BYTES", 4096)
    _assert_same(*_both(numbered("matroska_many_clusters.mkv", WHOLE["many_clusters.mkv"])))


def test_a_declared_duration_is_not_believed(plain: bytearray, doctored: Callable[[bytes], Path]) -> None:
    at = plain.index(b"\x44\x89\x88") + 3
    assert struct.unpack(">d", plain[at : at + 8]) == (4000.0,)
    for milliseconds in (40.0, 4e6):
        plain[at : at + 8] = struct.pack(">d", milliseconds)
        _assert_same(*_both(doctored(plain)))


def test_no_cues_are_needed(plain: bytearray, doctored: Callable[[bytes], Path]) -> None:
    at = plain.index(b"\x1c\x53\xbb\x6b", 4096)
    width = 9 - plain[at + 4].bit_length()  # of the size
    size = int.from_bytes(plain[at + 4 : at + 4 + width]) & (1 << 7 * width) - 1
    plain[at : at + 4 + width] = b"\xec" + (size | 1 << 7 * (3 + width)).to_bytes(3 + width)  # Void
    _assert_same(*_both(doctored(plain)))


def test_lying_cues_have_every_packet_read(plain: bytearray, doctored: Callable[[bytes], Path]) -> None:
    cues = plain.index(b"\x1c\x53\xbb\x6b", 4096)
    at = plain.index(b"\xb3\x82", cues) + 2  # a CueTime of two bytes
    plain[at : at + 2] = (1234).to_bytes(2)
    found, read = _both(doctored(plain))
    assert (found, read.num_frames) == (None, 100)


@pytest.mark.parametrize("cut", [1, 500, 2000])
def test_a_file_that_is_cut_short_has_every_packet_read(
    plain: bytearray, doctored: Callable[[bytes], Path], cut: int
) -> None:
    found, _ = _both(doctored(plain[:-cut]))
    assert found is None


def test_what_follows_the_segment_has_every_packet_read(
    plain: bytearray, doctored: Callable[[bytes], Path]
) -> None:
    found, read = _both(doctored(plain + bytes(10)))
    assert (found, read.num_frames) == (None, 100)


def test_a_stray_element_has_every_packet_read(plain: bytearray, doctored: Callable[[bytes], Path]) -> None:
    with av.open(str(doctored(plain))) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    at = plain.rindex(b"\xa3", 0, places[50])
    plain[at] = 0xAF  # EncryptedBlock
    found, _ = _both(doctored(plain))
    assert found is None


def test_damage_gives_an_index_or_none_and_nothing_else(
    plain: bytearray, doctored: Callable[[bytes], Path]
) -> None:
    with av.open(str(doctored(plain))) as container:
        position = next(container.demux(video=0)).pos
    assert position is not None
    rng = np.random.default_rng(7)
    num_found = 0
    for _ in range(60):
        spoilt = plain.copy()
        for at in rng.integers(position, len(plain), size=2):
            spoilt[at] = rng.integers(256)
        with open_file(str(doctored(spoilt))) as descriptor:
            frames = matroska_index.matroska_frames(descriptor, position)
        if frames is not None:
            num_found += 1
            assert 0 < len(frames.pts) <= 100
    assert 0 < num_found < 60
