"""Damage is noticed as far as decoders let it be, and laid to the pictures it may show in.

`pytest -s tests/securevqa_core/decoding/test_damage.py` prints how much of it, by codec.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import av
import media
import numpy as np
import pytest

from securevqa_core.decoding.damage import overheard
from securevqa_core.decoding.extract import DecodeRequest, extract_sample
from securevqa_core.errors import DecodeError
from securevqa_core.types import SamplingConfig

RequestMaker = Callable[..., DecodeRequest]
NUM_FRAMES, NUM_CASES, NUM_BITS = 25, 20, 4
EVERY_FRAME = SamplingConfig(
    num_clips=1, clip_frames=1, grid_size=1, num_segments=1, segment_frames=NUM_FRAMES, segment_side=96
)
# codec -> file, FFmpeg's options, and how many of the cases that change a picture must be noticed
CODECS = {
    "H.264": ("h264.mp4", "-c:v libx264 -g 12 -bf 2", 18),
    "HEVC": ("hevc.mp4", "-c:v libx265 -x265-params log-level=error:keyint=12", 8),
    "AV1": ("av1.mp4", "-c:v libsvtav1 -preset 10 -g 12", 18),
    "VP9": ("vp9.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 5 -g 12", 18),
    "VP8": ("vp8.webm", "-c:v libvpx -deadline realtime -g 12 -b:v 300k", 0),
    "MPEG-2": ("mpeg2.ts", "-c:v mpeg2video -g 12 -q:v 4", 18),
    "MPEG-4": ("mpeg4.avi", "-c:v mpeg4 -g 12 -q:v 4", 18),
    "MJPEG": ("mjpeg.avi", "-c:v mjpeg -q:v 4 -pix_fmt yuvj420p", 5),
}
# More bits, other subsampling, no loss: what a checker did not know it would take for damage.
DEEP = ["-pix_fmt yuv420p10le", "-pix_fmt yuv422p", "-pix_fmt yuv444p12le", "-lossless 1"]


def _encode(path: Path, options: str) -> Path:
    source = media.bundled_clip("bikes")
    media.run_ffmpeg(*f"-i {source} -frames:v {NUM_FRAMES} -vf scale=160:-2 {options} -an {path}".split())
    return path


def _with_bits_flipped(content: bytes, packets: list[bytes], rng: np.random.Generator) -> bytes:
    """Flip bits of one packet's payload, wherever the container put the longest run of it."""
    packet = packets[int(rng.integers(len(packets)))]
    start = content.find(packet[: min(len(packet), 100)])
    assert start >= 0
    length = next(
        size for size in range(len(packet), 0, -1) if content[start : start + size] == packet[:size]
    )
    broken = bytearray(content)
    for bit in rng.integers(0, length * 8, NUM_BITS).tolist():
        broken[start + bit // 8] ^= 1 << bit % 8
    return bytes(broken)


@pytest.mark.parametrize("codec", CODECS)
def test_flipped_bits_that_change_a_picture_are_noticed(
    make_request: RequestMaker, tmp_path: Path, codec: str
) -> None:
    name, options, num_wanted = CODECS[codec]
    request = make_request(EVERY_FRAME)
    path = _encode(tmp_path / name, options)
    sound = extract_sample(str(path), request)
    assert sound.warnings == ()
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    content, changed, noticed = path.read_bytes(), 0, 0
    for case in range(NUM_CASES):
        path.write_bytes(_with_bits_flipped(content, packets, np.random.default_rng(case)))
        try:
            sample = extract_sample(str(path), request)
        except DecodeError:
            changed, noticed = changed + 1, noticed + 1
            continue
        if sample.frames.shape != sound.frames.shape or (sample.frames != sound.frames).any():
            changed += 1
            noticed += bool(sample.warnings)
    sys.stdout.write(f"{codec}: noticed {noticed} of {changed} that changed a picture\n")  # for `pytest -s`
    assert changed >= NUM_CASES / 2
    assert noticed >= num_wanted


def test_half_a_keyframe_of_vp8_is_noticed(make_request: RequestMaker, tmp_path: Path) -> None:
    """FFmpeg's decoder makes up the rest of it, and predicts the frames that follow from that."""
    whole, cut = _encode(tmp_path / "whole.webm", CODECS["VP8"][1]), tmp_path / "cut.webm"
    with av.open(str(whole)) as reader, av.open(str(cut), "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0], opaque=True)
        keyframes = 0
        for packet in reader.demux(video=0):
            content = bytes(packet)
            keyframes += packet.is_keyframe
            copied = av.Packet(content[: len(content) // 2] if keyframes == 3 else content)
            copied.pts, copied.dts, copied.time_base = packet.pts, packet.dts, packet.time_base
            copied.is_keyframe, copied.stream = packet.is_keyframe, stream
            if content:
                writer.mux(copied)
    sample = extract_sample(str(cut), make_request(EVERY_FRAME))
    assert sample.warnings == ("damaged_frames: 1 of 25 sampled frames",)


@pytest.mark.parametrize("options", DEEP)
def test_sound_vp9_of_every_profile_passes_the_check(
    make_request: RequestMaker, tmp_path: Path, options: str
) -> None:
    path = _encode(tmp_path / "deep.webm", f"-c:v libvpx-vp9 -deadline realtime -cpu-used 8 {options}")
    assert extract_sample(str(path), make_request(EVERY_FRAME)).warnings == ()


def test_listening_leaves_the_log_as_it_was() -> None:
    before = av.logging.get_level(), av.logging.get_skip_repeated()
    with overheard() as said:
        av.logging.log(av.logging.ERROR, "somebody", "says this")
        av.logging.log(av.logging.ERROR, "somebody", "says this")
        av.logging.log(av.logging.INFO, "somebody", "chats")
    assert [text for _, _, text in said] == ["says this", "says this"]
    assert (av.logging.get_level(), av.logging.get_skip_repeated()) == before


def test_a_picture_that_is_lost_in_silence_is_damage(make_request: RequestMaker, tmp_path: Path) -> None:
    """Its slice is made to be of a type that decoders pass over."""
    path = _encode(tmp_path / "lost.mp4", "-c:v libx265 -x265-params log-level=error:keyint=12")
    with av.open(str(path)) as container:
        last = [packet for packet in container.demux(video=0) if packet.size][-1]
        assert last.pos is not None
        place = last.pos + 4  # behind the length of its one slice
    content = bytearray(path.read_bytes())
    content[place] = 48 << 1  # unspecified (Rec. ITU-T H.265, table 7-1)
    path.write_bytes(content)
    sample = extract_sample(str(path), make_request(EVERY_FRAME))
    assert sample.warnings == ("damaged_frames: 1 of 25 sampled frames",)
    assert sample.info.num_frames == NUM_FRAMES
