"""Owns the folder of a data set: where everything lies in it, one build at a time, one setting for good."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securevqa_core.errors import ConfigurationError, OutputError
from securevqa_core.files import whole_file

__all__ = ["DatasetFolder", "opened"]

MANIFEST_NAME = "manifest.parquet"
_SETTINGS_NAME = "dataset.json"
_SCRATCH_NAME = ".scratch"
_LOCK_NAME = ".lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFolder:
    """The places in a data set's folder."""

    root: Path  # absolute

    @property
    def manifest(self) -> Path:
        """Return where the rows of all finished clips are."""
        return self.root / MANIFEST_NAME

    @property
    def scratch(self) -> Path:
        """Return the folder for temporary files; what a killed build left there goes with the next."""
        return self.root / _SCRATCH_NAME

    def clip(self, uri: str) -> Path:
        """Return where a clip is, by the `uri` of its record."""
        return self.root / uri

    def reference(self, view_id: str) -> Path:
        """Return where the pristine clip of a view is, without loss."""
        return self.root / "references" / f"{view_id}.mkv"

    def record(self, view_id: str) -> Path:
        """Return where the records of a finished view are."""
        return self.root / "records" / f"{view_id}.json"

    def opinions(self, view_id: str) -> Path:
        """Return where the opinions of a view's clips are."""
        return self.root / "opinions" / f"{view_id}.json"

    def hashes(self, source_id: str) -> Path:
        """Return where the difference hashes of a source are."""
        return self.root / "hashes" / f"{source_id}.json"

    def write(self, path: Path, text: str) -> None:
        """Write a file that is there whole or not at all, whatever ends this process."""
        with whole_file(path) as part:
            part.write_text(text)


@contextlib.contextmanager
def opened(root: Path, settings: Mapping[str, Any]) -> Iterator[DatasetFolder]:
    """Make or reopen the folder of a data set, for one process at a time.

    Args:
        root: the folder.
        settings: JSON values that decide what is built; a folder keeps those it was made with.

    Raises:
        ConfigurationError: the folder holds a data set made with other settings.
        OutputError: it cannot be written, or another process is building in it.
    """
    folder = DatasetFolder(root=root.absolute())
    with contextlib.ExitStack() as stack:
        try:
            for name in ("clips", "records", "references", "opinions", "hashes"):
                (folder.root / name).mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((folder.root / _LOCK_NAME).open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder.scratch, ignore_errors=True)
            folder.scratch.mkdir(exist_ok=True)
        except BlockingIOError as error:
            raise OutputError(f"another process is building in {str(root)!r}") from error
        except OSError as error:
            raise OutputError(f"output {str(root)!r} cannot be written: {error}") from error
        stack.callback(shutil.rmtree, folder.scratch, ignore_errors=True)
        _require_same(folder, settings)
        yield folder


def _require_same(folder: DatasetFolder, settings: Mapping[str, Any]) -> None:
    path = folder.root / _SETTINGS_NAME
    if not path.exists():
        folder.write(path, json.dumps(dict(settings), indent=2))
        return
    try:
        made_with = dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise OutputError(f"{path} cannot be read: {error}") from error
    for name in sorted({*made_with, *settings}):
        if made_with.get(name) != settings.get(name):
            raise ConfigurationError(
                f"{name} must be {made_with.get(name)!r}, as in the data set in {str(folder.root)!r}, "
                f"got {settings.get(name)!r}: build into another folder"
            )
