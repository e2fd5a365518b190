"""Owns the calls of FFmpeg: which one, in which version, on one thread, within a time limit."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Sequence
from pathlib import Path

from securevqa_core.errors import DatasetError

__all__ = ["executable", "run", "version"]

TIMEOUT_SECONDS = 300.0
_SHOWN_CHARACTERS = 500  # of what FFmpeg says


def executable() -> str:
    """Return the FFmpeg that imageio-ffmpeg carries: it has every encoder and libvmaf.

    Raises:
        DatasetError: imageio-ffmpeg is not installed, or has no FFmpeg for this machine.
    """
    try:
        import imageio_ffmpeg  # noqa: PLC0415 - an extra, needed only to make data

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise DatasetError(
            f"FFmpeg from imageio-ffmpeg is needed: install securevqa[train] ({error})"
        ) from error


@functools.cache
def version() -> str:
    """Return FFmpeg's version, as it names itself.

    Raises:
        DatasetError: there is no FFmpeg.
    """
    command = [executable(), "-version"]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    first = outcome.stdout.splitlines()[:1]  # "ffmpeg version 7.0.2-static Copyright ..."
    if outcome.returncode or not first or len(first[0].split()) < 3:
        raise DatasetError(
            f"{command[0]} must tell its version, got {outcome.returncode}: {outcome.stdout!r}"
        )
    return first[0].split()[2]


def run(arguments: Sequence[str], *, stdin: bytes | None = None, folder: Path | None = None) -> None:
    """Run FFmpeg.

    Args:
        arguments: after the general options.
        stdin: what it reads from `-i -`.
        folder: where relative paths in `arguments` are; None: here.

    Raises:
        DatasetError: it failed or took longer than `TIMEOUT_SECONDS`.
    """
    quiet = ("-hide_banner", "-v", "error", "-y", *(() if stdin is not None else ("-nostdin",)))
    command = [executable(), *quiet, *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - FFmpeg by its full path, arguments are ours
            command, input=stdin, capture_output=True, timeout=TIMEOUT_SECONDS, check=False, cwd=folder
        )
    except subprocess.TimeoutExpired as error:
        raise DatasetError(f"ffmpeg took more than {TIMEOUT_SECONDS:g} s: {' '.join(arguments)}") from error
    if done.returncode:
        complaint = done.stderr.decode(errors="replace").strip()[-_SHOWN_CHARACTERS:]
        raise DatasetError(f"ffmpeg failed with {done.returncode}: {' '.join(arguments)}: {complaint}")
