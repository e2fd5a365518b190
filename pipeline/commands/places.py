"""Owns options that name a local place to write to: that it cannot be written is said before any work."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from operators.uris import authority_of, local_path, redact, scheme_of
from securevqa_core.errors import CallError, ConfigurationError, SecureVqaError

__all__ = [
    "CheckpointOutput",
    "file_option",
    "folder_option",
    "is_new_folder",
    "removed_if_refused",
    "require_checkpoint",
    "require_output",
    "require_scratch",
    "require_there",
]

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


def require_checkpoint(name: str) -> None:
    """Refuse a checkpoint that is neither a model's name nor a local file; a store is asked once it is read.

    Raises:
        AbsentCheckpointError: it is none of them.
    """
    from securevqa_core.model_names import MODELS  # noqa: PLC0415 - no command's help needs it

    if name not in MODELS and scheme_of(name) == "file" and not Path(local_path(name)).exists():
        from pipeline.checkpoints import checkpoint_bytes  # noqa: PLC0415 - seconds, to say what was meant

        checkpoint_bytes(name)


def require_output(name: str, location: str) -> None:
    """Refuse a local folder that cannot be written or made, and what is neither local nor on S3.

    A store is asked once a run opens it.

    Raises:
        ConfigurationError: it cannot; names the option.
    """
    scheme = scheme_of(location)
    if not location or scheme not in {"file", "s3"} or (scheme == "s3" and not authority_of(location)):
        raise ConfigurationError(
            f"{name} must be a local folder or s3://BUCKET/..., got {redact(location)!r}"
        )
    if scheme == "file":
        _folder(name, location)


def is_new_folder(location: str) -> bool:
    """Tell whether a local folder is not there yet."""
    return scheme_of(location) == "file" and not Path(local_path(location)).exists()


@contextlib.contextmanager
def removed_if_refused(location: str, *, is_new: bool) -> Iterator[None]:
    """Remove a local folder that `is_new` where the block fails with nothing in it but its lock."""
    try:
        yield
    except SecureVqaError:
        from pipeline.runs.lock import LOCK_NAME  # noqa: PLC0415 - Arrow, which help need not wait for

        folder = Path(local_path(location)) if is_new else None
        if folder and {one.name for one in folder.iterdir()} <= {LOCK_NAME}:
            shutil.rmtree(folder)
        raise


def require_there(name: str, location: str) -> None:
    """Refuse a local folder that is not there; a store is asked once a run opens it.

    Raises:
        ConfigurationError: it is not; names the option.
    """
    if scheme_of(location) == "file" and not Path(local_path(location)).is_dir():
        raise ConfigurationError(f"{name} must be a folder that is there, got {location!r}")


def _parser(place: Callable[[str, str], Path], names: tuple[str, ...]) -> Callable[[str], Path]:
    def parse(text: str) -> Path:
        try:
            return place(names[0], text)
        except ConfigurationError as error:  # a ValueError would be worded by Typer
            raise CallError(str(error)) from error.__cause__

    return parse


def _file(name: str, text: str) -> Path:
    path = _local(name, text, "file")
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else "is in no folder that exists"
        raise ConfigurationError(f"{name} must be a file that can be written, got {text!r}, which {what}")
    _require_writable(name, path.parent)
    return path


def _folder(name: str, text: str) -> Path:
    path = _local(name, text, "folder")
    there = path.absolute()
    while not os.path.exists(there):  # noqa: PTH110 - Path raises where a folder may not be entered
        there = there.parent
    if not there.is_dir():
        which = "which" if there == path.absolute() else f"and {str(there)!r}"
        raise ConfigurationError(f"{name} must be a folder, got {text!r}, {which} is a file")
    _require_writable(name, there)
    return path


def _local(name: str, text: str, kind: str) -> Path:
    if not text or scheme_of(text) != "file":
        raise ConfigurationError(f"{name} must be a local {kind}, got {redact(text)!r}")
    return Path(local_path(text))


def _require_writable(name: str, folder: Path) -> None:
    try:
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError
        with tempfile.TemporaryFile(dir=folder):  # root may write anywhere, and yet not in /proc
            pass
    except OSError as error:
        raise ConfigurationError(f"{name} cannot be written, as {str(folder)!r} allows no writing") from error


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
