"""Owns local files and folders that are there as a whole or not at all: written aside, then renamed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

__all__ = ["whole_file", "whole_folder"]


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a place beside `path` to write a file at; it gets that name once it is on the disk.

    Where the block fails, what was at `path` stays, and nothing else is left.

    Raises:
        OSError: the file cannot be written.
    """
    part = _beside(path)
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`, which must not exist; the folder gets that name at the end.

    What a killed process left there is removed first.

    Raises:
        OSError: the folder cannot be made or renamed.
    """
    part = _beside(path)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    yield part
    part.rename(path)


def _beside(path: Path) -> Path:
    return path.with_name(f".part-{path.name}")  # with its ending, by which some programs choose a format
