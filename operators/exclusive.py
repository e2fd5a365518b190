"""Owns small objects that one writer at a time may change: created once, replaced only as last seen."""

from __future__ import annotations

import contextlib
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from fsspec.asyn import sync

from operators.storage import open_filesystem, scheme_of, translated
from securevqa_core.files import whole_file

__all__ = ["ExclusiveFile", "ExclusiveObject", "Seen", "exclusive"]

_REFUSED = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})  # S3's codes


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as it was read or written."""

    content: bytes
    version: str  # ETag; none of a file


class ExclusiveObject:
    """One object on S3; every change is a conditional request, so two writers never both succeed."""

    def __init__(self, uri: str) -> None:
        self._fs, self._path = open_filesystem(uri)

    def read(self) -> Seen | None:
        """Return the object, None where there is none.

        Raises:
            StorageError: the store failed.
        """
        with translated():
            try:
                answer = self._fs.call_s3("get_object", **self._place)
                content = bytes(sync(self._fs.loop, answer["Body"].read))
            except FileNotFoundError:
                return None
            return Seen(content, answer["ETag"])

    def create(self, content: bytes) -> Seen | None:
        """Write the object if there is none; None where there is one.

        Raises:
            StorageError: the store failed.
        """
        with translated():
            return self._put(content, IfNoneMatch="*")

    def replace(self, content: bytes, last: Seen) -> Seen | None:
        """Write the object if it is as it was last seen; None where it has changed or gone.

        Raises:
            StorageError: the store failed.
        """
        with translated():
            return self._put(content, IfMatch=last.version)

    def remove(self, last: Seen) -> None:
        """Remove the object if it is as it was last seen.

        Raises:
            StorageError: the store failed.
        """
        with translated():
            if self.read() == last:
                self._fs.rm_file(self._path)

    @property
    def _place(self) -> dict[str, str]:
        bucket, _, key = self._path.partition("/")
        return {"Bucket": bucket, "Key": key}

    def _put(self, content: bytes, **condition: str) -> Seen | None:
        try:
            answer = self._fs.call_s3("put_object", **self._place, Body=content, **condition)
        except FileNotFoundError:  # nothing there that could match
            return None
        except OSError as error:
            if _code(error) in _REFUSED:
                return None
            raise
        return Seen(content, answer["ETag"])


def _code(error: OSError) -> str | None:
    """Return the store's own code of what the library has turned into an errno."""
    answer = getattr(error.__cause__, "response", None) or {}
    code = answer.get("Error", {}).get("Code")
    return None if code is None else str(code)


class ExclusiveFile:
    """The same of a local file: created by one writer, however many try.

    Between the look and the renaming of `replace` lies a moment; the kernel's lock, which no writer outlives,
    keeps others out of it.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def read(self) -> Seen | None:
        """Return the file, None where there is none."""
        with contextlib.suppress(FileNotFoundError):
            return Seen(self._path.read_bytes(), "")
        return None

    def create(self, content: bytes) -> Seen | None:
        """Write the file if there is none; None where there is one."""
        whole = self._path.with_name(f".part-{uuid.uuid4().hex}-{self._path.name}")
        try:
            with whole_file(whole) as part:
                part.write_bytes(content)
            os.link(whole, self._path)
        except FileExistsError:
            return None
        finally:
            whole.unlink(missing_ok=True)
        return Seen(content, "")

    def replace(self, content: bytes, last: Seen) -> Seen | None:
        """Write the file if it is as it was last seen; None where it has changed or gone."""
        if self.read() != last:
            return None
        with whole_file(self._path) as part:
            part.write_bytes(content)
        return Seen(content, "")


def exclusive(uri: str) -> ExclusiveObject | ExclusiveFile:
    """Return the object at `uri`, a local path or s3://."""
    return ExclusiveFile(open_filesystem(uri)[1]) if scheme_of(uri) == "file" else ExclusiveObject(uri)
