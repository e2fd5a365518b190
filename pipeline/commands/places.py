"""Owns options that name a local place to write to: that it cannot be written is said before any work."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from operators.uris import local_path, redact, scheme_of
from securevqa_core.errors import ConfigurationError

__all__ = ["CheckpointOutput", "file_option", "folder_option", "require_scratch"]

CHECKPOINT_SUFFIX = ".safetensors"


def file_option(*names: str, help: str) -> Any:  # noqa: A002 - as Typer calls it
    """Return an option whose value is a local file that can be written, in a folder that is there."""
    return typer.Option(*names, parser=_parser(_file, names), metavar="FILE", help=help)


def folder_option(*names: str, help: str) -> Any:  # noqa: A002 - as above
    """Return an option whose value is a local folder that can be written, or made."""
    return typer.Option(*names, parser=_parser(_folder, names), metavar="FOLDER", help=help)


def require_scratch(folder: str, *, is_on_nodes: bool) -> None:
    """Refuse a folder for files being scored that is not local, or, if this machine scores, not there.

    Args:
        folder: as given.
        is_on_nodes: the machines of a cluster are to have it; this one need not.

    Raises:
        ConfigurationError: each video would fail for it.
    """
    place = _local("scratch", folder, "folder")
    if is_on_nodes:
        return
    if not place.is_dir():
        raise ConfigurationError(f"scratch must be a folder that is there, got {folder!r}")
    _require_writable("scratch", place)


def _parser(place: Callable[[str, str], Path], names: tuple[str, ...]) -> Callable[[str], Path]:
    return lambda text: place(names[0].removeprefix("--"), text)


def _file(name: str, text: str) -> Path:
    path = _local(name, text, "file")
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else "is in no folder that exists"
        raise ConfigurationError(f"{name} must be a file that can be written, got {text!r}, which {what}")
    _require_writable(name, path.parent)
    return path


def _folder(name: str, text: str) -> Path:
    path = _local(name, text, "folder")
    if path.exists() and not path.is_dir():
        raise ConfigurationError(f"{name} must be a folder, got {text!r}, which is a file")
    there = path.absolute()
    while not there.exists():
        there = there.parent
    _require_writable(name, there)
    return path


def _local(name: str, text: str, kind: str) -> Path:
    if not text or scheme_of(text) != "file":
        raise ConfigurationError(f"{name} must be a local {kind}, got {redact(text)!r}")
    return Path(local_path(text))


def _require_writable(name: str, folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigurationError(f"{name} cannot be written, as {str(folder)!r} allows no writing")


def _new_checkpoint(name: str, text: str) -> Path:
    path = _file(name, text)
    if path.suffix != CHECKPOINT_SUFFIX:
        raise ConfigurationError(f"{name} must end in {CHECKPOINT_SUFFIX}, got {text!r}")
    if path.exists():
        raise ConfigurationError(f"{name} must not be there yet, got {text!r}")
    return path


_OUTPUT = ("--output", "-o")
CheckpointOutput = Annotated[
    Path,
    typer.Option(
        *_OUTPUT,
        parser=_parser(_new_checkpoint, _OUTPUT),
        metavar="FILE",
        help=f"Checkpoint to write, {CHECKPOINT_SUFFIX}, local; not there yet.",
    ),
]
