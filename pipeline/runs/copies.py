"""Owns which videos of a report are near copies of earlier ones, from the rows that runs share.

Earlier is what was scored earlier: by the number of the call, within one by the workers' clocks. The same
bytes are one video, as old as its first row, and no copy of itself. So what is said of a video follows from
the rows before it alone, and stays as it is in later reports for as long as those are kept.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
from numpy.typing import NDArray

from operators.schema import CALL, REPORT, texts
from pipeline.runs.near_index import NearIndex
from pipeline.runs.rundir import RunDirectory
from pipeline.runs.spool import PIECE_ROWS, Spool
from securevqa_core.fingerprints import words

__all__ = ["NearCopies", "near_copies"]

_COLUMNS = ("near_copy_of", "near_copies", "near_copy_best_score")
_KEPT = ["video_id", "content_sha256", "picture_fingerprint", "checkpoint_id", "score", CALL, "scored_at"]


@contextlib.contextmanager
def near_copies(state: RunDirectory, *, checkpoint_id: str) -> Iterator[NearCopies]:
    """Give what is known of near copies while a report is written; its files are gone afterwards.

    Args:
        state: where the rows of earlier runs and of this one are.
        checkpoint_id: by whose scores the best earlier one is chosen.

    Raises:
        OutputError: they cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="securevqa-copies-") as folder:
        yield NearCopies(Path(folder), state, checkpoint_id=checkpoint_id)


class NearCopies:
    """The contents that are known, oldest first, and their fingerprints; see `near_copies`."""

    def __init__(self, folder: Path, state: RunDirectory, *, checkpoint_id: str) -> None:
        is_known: Any = pads.field("picture_fingerprint").is_valid()
        parts = (part.select(_KEPT) for part in state.committed_parts(_KEPT, where=is_known))
        self._rows = Spool(folder / "rows", parts)
        self._salt = np.random.default_rng().integers(1 << 63, size=4, dtype=np.uint64) * 2 + 1
        self._contents = np.empty(0, np.uint64)  # digests, ascending
        self._ages = np.empty(0, np.int64)  # of each of these, its number among the contents, oldest first
        self._firsts = np.empty(0, np.int64)  # (contents,) the row that brought each
        self._scores = np.empty(0)  # (contents,) by the checkpoint; NaN: none
        if self._rows.num_rows:
            self._number(checkpoint_id)
        self._index = NearIndex(folder, self._prints(), len(self._firsts))

    def _number(self, checkpoint_id: str) -> None:
        """Number the contents by age."""
        num_rows, start = self._rows.num_rows, 0
        digest, score = np.empty(num_rows, np.uint64), np.empty(num_rows)
        call, at, tie = np.empty((3, num_rows), np.int64)
        for part in self._rows.pieces():
            place = slice(start, start := start + part.num_rows)
            digest[place] = self._digests(part)
            call[place], at[place] = _integers(part, CALL), _integers(part, "scored_at")
            tie[place] = _bytes(part).view(np.int64)[:, 0]
            is_ours = np.array([one == checkpoint_id for one in part["checkpoint_id"].to_pylist()])
            score[place] = np.where(is_ours, part["score"].to_numpy().astype(np.float64), np.nan)
        oldest = np.lexsort((tie, at, call))
        self._contents, first = np.unique(digest[oldest], return_index=True)
        by_age = np.argsort(first)
        self._firsts = oldest[first[by_age]]
        self._ages = np.empty_like(by_age)
        self._ages[by_age] = np.arange(len(by_age))
        self._scores = np.full(len(by_age), np.nan)
        owned = oldest[~np.isnan(score[oldest])]  # the newest counts, so it is written last
        self._scores[self._ages[np.searchsorted(self._contents, digest[owned])]] = score[owned]

    def _prints(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint64]]]:
        """Yield the fingerprint of each content, with its age, as the rows come."""
        ages = np.full(self._rows.num_rows, -1)
        ages[self._firsts] = np.arange(len(self._firsts))
        start = 0
        for part in self._rows.pieces(["picture_fingerprint"]):
            own = ages[start : start + part.num_rows]
            start += part.num_rows
            yield own[own >= 0], words(texts(part, "picture_fingerprint"))[own >= 0]

    def fill(self, report: pa.Table) -> pa.Table:
        """Return rows of a report with what is known of earlier near copies of each."""
        known = np.flatnonzero(report["picture_fingerprint"].is_valid().to_numpy())
        rows = report.select(["content_sha256", "picture_fingerprint"]).take(known)
        ages = self._ages[np.searchsorted(self._contents, self._digests(rows))] if len(known) else known
        places, near = self._index.near(words(texts(rows, "picture_fingerprint")), ages)
        counts = np.bincount(places, minlength=len(known))
        best = np.full(len(known), np.nan)
        np.fmax.at(best, places, self._scores[near])
        earliest = np.zeros(len(known), np.int64)
        earliest[places[::-1]] = near[::-1]  # pairs ascend, so that the first is written last
        ids = self._video_ids(earliest[counts > 0])
        names = [ids[age] if count else None for age, count in zip(earliest.tolist(), counts, strict=True)]
        scores = [None if score != score else score for score in best.tolist()]  # noqa: PLR0124 - NaN
        for name, values in zip(_COLUMNS, (names, counts.tolist(), scores), strict=True):
            whole: list[object] = [None] * report.num_rows
            for place, value in zip(known.tolist(), values, strict=True):
                whole[place] = value
            field = REPORT.field(name)
            at = report.schema.get_field_index(name)
            report = report.set_column(at, field, pa.array(whole, field.type))
        return report

    def _video_ids(self, ages: NDArray[np.int64]) -> dict[int, str]:
        """Return the video_id that each of these contents came with first."""
        wanted = np.unique(ages)
        wanted = wanted[np.argsort(self._firsts[wanted])]  # rows are read in their order
        parts = self._rows.taken(self._firsts[wanted], ["video_id"], size=PIECE_ROWS)
        ids = (one for part in parts for one in texts(part, "video_id"))
        return dict(zip(wanted.tolist(), ids, strict=True))

    def _digests(self, rows: pa.Table) -> NDArray[np.uint64]:
        """Return 64 bits of each content's digest, of which nobody can know beforehand which are alike."""
        return np.asarray(_bytes(rows) @ self._salt)


def _bytes(rows: pa.Table) -> NDArray[np.uint64]:
    """Return the digests of contents, (rows, 4)."""
    return np.frombuffer(bytes.fromhex("".join(texts(rows, "content_sha256"))), np.uint64).reshape(-1, 4)


def _integers(rows: pa.Table, name: str) -> NDArray[np.int64]:
    column: Any = rows[name].cast(pa.int64())
    return np.asarray(column.fill_null(0).to_numpy())
