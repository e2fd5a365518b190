"""Owns listing a bucket on S3 by pages: of a million objects, memory holds some thousands.

What the library lists it holds as a whole, a kilobyte an object. Stores do not agree on an order, so names
are sorted on the disk: pieces of them in files, which are merged.
"""

from __future__ import annotations

import heapq
import itertools
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from fsspec.utils import glob_translate

from operators import storage

__all__ = ["MAGIC", "BucketFolder", "is_hidden", "root_of"]

MAGIC = re.compile(r"[*?\[]")
KEYS_AT_ONCE = 1_000  # that S3 gives
NAMES_AT_ONCE = 100_000  # held, and sorted


def root_of(path: str) -> str:
    """Return what the names of a folder, or of all that a glob matches, begin with, up to a slash."""
    return MAGIC.split(path)[0].rpartition("/")[0] if MAGIC.search(path) else path.rstrip("/")


def is_hidden(below: str, pattern: str) -> bool:
    """Tell whether a part starts with a dot, unless the pattern itself asks for such parts, as in a shell."""
    return "/." in f"/{below}" and "/." not in pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketFolder:
    """The objects below a folder on S3, or those that a glob matches, hidden ones left out."""

    filesystem: Any
    bucket: str
    path: str  # that was asked for
    prefix: str  # of their keys
    delimiter: str  # "/" where none in a folder below counts
    pattern: re.Pattern[str] | None  # of a glob; whole names match it

    @classmethod
    def of(cls, location: str) -> BucketFolder | None:
        """Return what a location on S3 asks for; None for a glob over folders, which are looked into."""
        filesystem, path = storage.open_filesystem(location)
        bucket, _, key = path.partition("/")
        magic = MAGIC.search(path)
        if magic is None:
            prefix = f"{key.rstrip('/')}/" if key else ""
            return cls(
                filesystem=filesystem, bucket=bucket, path=path, prefix=prefix, delimiter="", pattern=None
            )
        is_deep, is_last = "**" in path, "/" not in path[magic.start() :]
        if MAGIC.search(bucket) or not (is_deep or is_last):
            return None
        return cls(
            filesystem=filesystem,
            bucket=bucket,
            path=path,
            prefix=MAGIC.split(key)[0],
            delimiter="" if is_deep else "/",
            pattern=re.compile(glob_translate(path)),
        )

    def names(self) -> Iterator[str]:
        """Yield `bucket/key` of every object, in the order that the store has.

        Raises:
            StorageError: it cannot be listed.
        """
        root = root_of(self.path)
        asked = {"Bucket": self.bucket, "Prefix": self.prefix, "Delimiter": self.delimiter}
        more: dict[str, Any] = {"MaxKeys": KEYS_AT_ONCE}
        while more:
            with storage.translated():
                page = self.filesystem.call_s3("list_objects_v2", **asked, **more)
            for one in page.get("Contents", []):
                name = f"{self.bucket}/{one['Key']}"
                is_asked_for = self.pattern is None or self.pattern.match(name)
                if is_asked_for and not name.endswith("/") and not is_hidden(name[len(root) :], self.path):
                    yield name
            token = page.get("NextContinuationToken") if page.get("IsTruncated") else None
            more = more | {"ContinuationToken": token} if token else {}

    def sorted_names(self, folder: Path) -> Iterator[str]:
        """Yield the same in order, through files in a folder that the caller removes."""
        names = self.names()
        paths: list[Path] = []
        while piece := sorted(itertools.islice(names, NAMES_AT_ONCE)):
            paths.append(folder / str(len(paths)))
            paths[-1].write_text("".join(f"{json.dumps(one)}\n" for one in piece))
        with ExitStack() as opened:
            yield from heapq.merge(*(_lines(opened.enter_context(path.open())) for path in paths))


def _lines(file: TextIO) -> Iterator[str]:
    for line in file:
        yield json.loads(line)
