"""Owns what every stage does alike: one row in, one row out, whatever happens to it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from operators.schema import Row, row_table
from securevqa_core.errors import VideoError

__all__ = ["FAILED", "SCORED", "run_stage"]

SCORED = "scored"
FAILED = "failed"

logger = logging.getLogger(__name__)


def run_stage(
    rows: Iterable[Row], work: Callable[[Row], Row], *, stage: str, schema: pa.Schema
) -> Iterator[pa.Table]:
    """Apply `work` to every row that has not failed yet and yield tables of `schema`, in their order.

    A VideoError becomes the row's failure; any other exception is a defect of ours and becomes one too, so
    that it costs one video and not the run. A row that fails drops its pixels. Failed rows in a row share a
    table, as a table costs Ray as much as a row that is scored; the others have pixels, and one each.
    """
    failed: list[Row] = []
    for row in rows:
        done = row if row.get("status") == FAILED else _attempt(row, work, stage, schema)
        if isinstance(done, pa.Table):
            if failed:
                yield pa.Table.from_pylist(failed, schema=schema)
                failed = []
            yield done
        else:
            failed.append(done)
    if failed:
        yield pa.Table.from_pylist(failed, schema=schema)


def _attempt(row: Row, work: Callable[[Row], Row], stage: str, schema: pa.Schema) -> pa.Table | Row:
    try:
        return row_table(row | work(row), schema)
    except VideoError as error:
        failure = _failure(error.stage, error.code, str(error)) | error.known
    except Exception as error:
        logger.exception("unexpected error in stage %s for video %s", stage, row.get("video_id"))
        message = f"unexpected {type(error).__name__}; see the worker's log"
        failure = _failure(stage, "internal_error", message)
    return {name: value for name, value in row.items() if not isinstance(value, pa.Buffer)} | failure


def _failure(stage: str, code: str, message: str) -> Row:
    return {"status": FAILED, "stage": stage, "error_code": code, "error_message": message}
