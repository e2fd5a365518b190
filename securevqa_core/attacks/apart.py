"""Owns decoding whole frames in a process of their own, which sees no credential and ends with the file.

It is not the cell that scoring decodes in: it has limits on time and memory, and none on what it calls.
"""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import numpy as np

from securevqa_core.attacks.frames import WholeFrames, read_frames
from securevqa_core.errors import ERROR_CODES, DecodeError
from securevqa_core.types import DecodeLimits

__all__ = ["read_frames_apart"]

START_SECONDS = 60.0  # for the process to import what it needs, on a loaded machine
MAX_BYTES = 8 << 30  # of its memory: the frames, and once more as they are put together
MAX_SAID = 300  # characters of a failure
# The only variables that it sees.
_KEPT_VARIABLES = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ", "VIRTUAL_ENV")


def read_frames_apart(
    descriptor: int, *, max_seconds: float | None, max_height: int | None, limits: DecodeLimits | None = None
) -> WholeFrames:
    """Decode the first frames of an open file as `read_frames` does, in a process of their own.

    Raises:
        DecodeError: as `read_frames`; decode_timeout or decode_crashed where the process had to be ended.
    """
    limits = limits or DecodeLimits()
    asked = {"max_seconds": max_seconds, "max_height": max_height, "max_pixels": limits.max_pixels}
    modules = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    try:
        done = subprocess.run(  # noqa: S603 - no part of the command comes from outside
            [sys.executable, "-P", "-m", __name__, str(descriptor), json.dumps(asked)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            pass_fds=(descriptor,),
            env=kept | {"PYTHONPATH": modules},
            timeout=START_SECONDS + limits.timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        rule = f"decoding took more than {limits.timeout_seconds:g} s"
        raise DecodeError("decode_timeout", rule) from error
    if done.returncode:
        raise _failure(done.returncode, done.stderr)
    return _answer(done.stdout)


def _failure(code: int, said: bytes) -> DecodeError:
    if code == 1:
        name, _, message = said.decode(errors="replace").rstrip("\n").rpartition("\n")[2].partition(" ")
        if name in ERROR_CODES and ERROR_CODES[name].stage == "decode":
            return DecodeError(name, ascii(message[:MAX_SAID])[1:-1])
    return DecodeError("decode_crashed", f"the decoding process ended with {code}")


def _answer(content: bytes) -> WholeFrames:
    """Return what the process answered; a process that was taken over may answer anything."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            pixels, fps = found["pixels"], float(found["fps"])
    except Exception as error:  # whatever zipfile and NumPy make of such bytes
        raise DecodeError("decode_crashed", "the decoding process did not answer with frames") from error
    is_video = pixels.dtype == np.uint8 and pixels.ndim == 4 and pixels.shape[-1] == 3 and pixels.size
    if not is_video or not (np.isnan(fps) or 0 < fps < 1e6):
        raise DecodeError("decode_crashed", f"the decoding process answered with {pixels.shape}, {fps} fps")
    return WholeFrames(pixels=pixels, fps=None if np.isnan(fps) else fps)


def main(descriptor: str, asked: str, answers: IO[bytes]) -> None:
    """Answer with the frames of an open file, or end with 1 and say why on standard error."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    options: dict[str, Any] = json.loads(asked)
    limits = DecodeLimits(max_pixels=options.pop("max_pixels"))
    try:
        video = read_frames(int(descriptor), limits=limits, **options)
    except DecodeError as error:
        sys.exit(f"\n{error.code} {str(error).splitlines()[0]}")
    except MemoryError:
        sys.exit(f"\ndecode_memory the frames need more than {MAX_BYTES} bytes")
    fps = np.nan if video.fps is None else video.fps
    np.savez(answers, pixels=video.pixels, fps=fps)


if __name__ == "__main__":
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as replies:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
        main(sys.argv[1], sys.argv[2], replies)
