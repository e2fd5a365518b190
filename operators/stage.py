"""Owns what every stage does alike: one row in, one row out, whatever happens to it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from operators.schema import ROW_KEY, Row, row_table
from securevqa_core.errors import VideoError

__all__ = ["FAILED", "SCORED", "failure_of", "finished_table", "run_stage"]

SCORED = "scored"
FAILED = "failed"
_FAILURE_COLUMNS = ("status", "stage", "error_code", "error_message")
_IDENTITY_COLUMNS = (ROW_KEY, "video_id", "uri")

logger = logging.getLogger(__name__)


def run_stage(
    rows: Iterable[Row], work: Callable[[Row], Row], *, stage: str, schema: pa.Schema
) -> Iterator[pa.Table]:
    """Apply `work` to every row that has not failed yet and yield tables of `schema`, in their order.

    A VideoError becomes the row's failure; any other exception is a defect of ours and becomes one too, so
    that it costs one video and not the run. A row that fails drops its pixels, and what no column can hold.
    Failed rows in a row share a table, as a table costs Ray as much as a row that is scored; the others have
    pixels, and one each.
    """
    failed: list[pa.Table] = []
    for row in rows:
        done = row if row.get("status") == FAILED else _attempt(row, work, stage, schema)
        if isinstance(done, pa.Table):
            if failed:
                yield pa.concat_tables(failed).combine_chunks()
                failed = []
            yield done
        else:
            failed.append(_failed_table(row, done, stage, schema))
    if failed:
        yield pa.concat_tables(failed).combine_chunks()


def _attempt(row: Row, work: Callable[[Row], Row], stage: str, schema: pa.Schema) -> pa.Table | Row:
    try:
        return row_table(row | work(row), schema)
    except Exception as error:  # noqa: BLE001 - becomes the row's failure, and is logged there
        return _without_pixels(row) | failure_of(error, stage=stage, video_id=row.get("video_id"))


def failure_of(error: Exception, *, stage: str, video_id: str | None) -> Row:
    """Return the columns of a row that failed for an error; what nobody expected goes to the log besides."""
    if isinstance(error, VideoError):
        return _failure(error.stage, error.code, str(error)) | error.known
    logger.error("unexpected error in stage %s for video %s", stage, video_id, exc_info=error)
    message = f"unexpected {type(error).__name__}; see the worker's log"
    return _failure(stage, "internal_error", message)


def finished_table(row: Row, *, stage: str, schema: pa.Schema) -> pa.Table:
    """Make the table of a row that is through all stages, scored or failed, as `run_stage` would."""
    if row.get("status") != FAILED:
        (table,) = run_stage([row], lambda _: {}, stage=stage, schema=schema)
        return table
    return _failed_table(row, row, stage, schema)


def _failed_table(row: Row, failed: Row, stage: str, schema: pa.Schema) -> pa.Table:
    """Make the table of a row that failed, of as much of it as Arrow takes.

    What comes from outside may be of no column's type, or text that cannot be encoded: it costs the columns
    learnt in this stage, then all but the row's identity, and never another video its row.
    """
    failure = {name: failed.get(name) for name in _FAILURE_COLUMNS}
    for candidate in (failed, _without_pixels(row) | failure):
        with contextlib.suppress(Exception):
            return row_table(candidate, schema)
    logger.error("no table can be made of the failed row of video %r in stage %s", row.get("video_id"), stage)
    last_resort = _failure(stage, "internal_error", "the row holds what no column can")
    identity = {name: row.get(name) for name in _IDENTITY_COLUMNS if _is_text(row.get(name))}
    return row_table(identity | last_resort, schema)


def _without_pixels(row: Row) -> Row:
    return {name: value for name, value in row.items() if not isinstance(value, pa.Buffer)}


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value == _encodable(value)


def _encodable(text: str) -> str:
    """Write what has no UTF-8, lone surrogates, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _failure(stage: str, code: str, message: str) -> Row:
    return {"status": FAILED, "stage": stage, "error_code": code, "error_message": _encodable(message)}
