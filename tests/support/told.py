"""Tells the same three seconds in many ways, by FFmpeg, by copying packets and by editing bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import media
from mp4boxes import box, find, full_box

__all__ = ["IN_ORDER", "X264", "Made", "ffmpeg", "make", "remuxed", "with_edits"]

CLIP = "-t 3 -vf scale=320:-2 -an -pix_fmt yuv420p"
X264 = "-c:v libx264 -preset veryfast -crf 16"
IN_ORDER = f"{X264} -bf 0"


def ffmpeg(words: str, *more: str) -> None:
    media.run_ffmpeg(*words.split(), *more)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A folder to make files in, and what they are made of."""

    folder: Path
    plain: Path  # three seconds at constant rate
    in_order: Path  # the same without reordered frames

    def encode(self, name: str, options: str, *, source: Path | None = None) -> Path:
        path = self.folder / name
        ffmpeg(f"-i {source or self.plain} {options} {path}")
        return path

    def edited(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path


def make(folder: Path) -> Made:
    plain, in_order = folder / "plain.mp4", folder / "in_order.mp4"
    for path, encoder in ((plain, X264), (in_order, IN_ORDER)):
        ffmpeg(f"-i {media.bundled_clip('bikes')} {CLIP} {encoder} {path}")
    return Made(folder=folder, plain=plain, in_order=in_order)


def remuxed(source: Path, target: Path, change: Callable[[int, av.Packet], None]) -> Path:
    """Copy packets, each changed by its number first."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0], opaque=True)
        for number, packet in enumerate(reader.demux(video=0)):
            if packet.size:
                change(number, packet)
                packet.stream = stream
                writer.mux(packet)
    return target


def with_edits(source: Path, target: Path, *segments: tuple[float, float, float]) -> Path:
    """Write an MP4 of one track to `target` with another edit list.

    Args:
        source: whose index comes last.
        target: to write.
        segments: seconds shown, seconds in the track at which they begin, and rate.
    """
    content = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        ticks = container.streams.video[0].time_base.denominator  # type: ignore[union-attr]
    rows = [
        struct.pack(">Iii", round(shown * 1000), round(start * ticks), round(rate * 65536))
        for shown, start, rate in segments
    ]
    edits = box(b"edts", full_box(b"elst", struct.pack(">I", len(rows)), *rows))
    movie, track, old = find(bytes(content), b"moov", b"trak", b"edts")
    old_bytes = int.from_bytes(content[old : old + 4])
    content[old : old + old_bytes] = edits
    for place in (movie, track):
        grown = int.from_bytes(content[place : place + 4]) + len(edits) - old_bytes
        content[place : place + 4] = grown.to_bytes(4)
    target.write_bytes(content)
    return target
