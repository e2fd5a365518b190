"""Owns the carrying out of a recipe: from a lossless clip to the file an uploader would send."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from securevqa_core import ffmpeg
from securevqa_core.datasets.steps import ClipFormat, Encode, Filter, Hold, Lose, Step, filter_chain

__all__ = ["FINAL_ENCODE", "carry_out"]

# A filtered clip reaches the scorer through an encoder too; this one is all but transparent.
FINAL_ENCODE = Encode(arguments=("-c:v", "libx264", "-preset", "veryfast", "-crf", "10"))

# What packets are lost from: slices and a key picture a second bound the damage, as streaming has it.
_SENT = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-g", "24", "-slices", "4", "-threads", "1")


def carry_out(
    steps: Sequence[Step], reference: Path, output: Path, *, clip: ClipFormat, scratch: Path
) -> None:
    """Make a distorted clip from a lossless reference.

    The same arguments and the same FFmpeg give the same pixels. The file appears whole or not at all.

    Args:
        steps: what is done, in order.
        reference: the pristine clip.
        output: the file to write, replaced where it is there.
        clip: size, frame rate and number of frames of both.
        scratch: an existing folder for temporary files, on the file system of `output`.

    Raises:
        DatasetError: FFmpeg failed.
    """
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        made = _Generations(reference, Path(folder), clip)
        for step in steps:
            made.apply(step)
        made.finish().replace(output)


class _Generations:
    """The file that a recipe has come to, and the filters that wait for the next encoder."""

    def __init__(self, reference: Path, folder: Path, clip: ClipFormat) -> None:
        self._current = reference.absolute()
        self._folder, self._clip = folder.absolute(), clip
        self._filters: list[str] = []
        self._count = 0
        self._is_final = False  # the current file is what an uploader would send

    def apply(self, step: Step) -> None:
        """Do a step, or remember it for the next encoder."""
        match step:
            case Encode():
                self._encode(step)
            case Lose():
                self._lose(step)
            case Filter() | Hold():
                self._filters.append(filter_chain(step, self._clip))

    def finish(self) -> Path:
        """Return the file that an uploader would send."""
        if self._filters or not self._is_final:
            self._encode(FINAL_ENCODE)
        return self._current

    def _encode(self, step: Encode) -> None:
        clip = self._clip
        bits = clip.width * clip.height * clip.fps * (step.bits_per_pixel or 0)
        encoder = [argument.format(bitrate=round(bits)) for argument in step.arguments]
        # A damaged stream may decode to fewer frames: the clock, not the count, says where each belongs.
        filters = [*self._filters, f"fps={clip.fps:.6f}", f"tpad=stop_mode=clone:stop={clip.num_frames}"]
        source = ["-threads", "1", "-i", str(self._current), "-vf", ",".join(filters)]
        target = self._next(".mp4")
        form = ["-pix_fmt", "yuv420p", "-threads", "1", str(target)]
        ffmpeg.run([*source, "-frames:v", str(clip.num_frames), *encoder, *form])
        self._current, self._filters, self._is_final = target, [], True

    def _lose(self, step: Lose) -> None:
        sound, damaged = self._next(".ts"), self._next(".ts")
        ffmpeg.run(["-i", str(self._current), *_SENT, str(sound)])
        noise = f"noise=amount='not(key)*{step.every}'"
        ffmpeg.run(["-i", str(sound), "-c", "copy", "-bsf:v", noise, str(damaged)])
        self._current, self._is_final = damaged, False

    def _next(self, suffix: str) -> Path:
        self._count += 1
        return self._folder / f"{self._count}{suffix}"
