"""Owns what every stage does alike: one row in, one row out, whatever happens to it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pyarrow as pa

from operators.schema import Row, row_table, rows_of
from securevqa_core.errors import VideoError

__all__ = ["FAILED", "SCORED", "run_stage"]

SCORED = "scored"
FAILED = "failed"

logger = logging.getLogger(__name__)


def run_stage(
    table: pa.Table, work: Callable[[Row], Row], *, stage: str, schema: pa.Schema
) -> Iterator[pa.Table]:
    """Apply `work` to every row that has not failed yet and yield one-row tables of `schema`.

    A VideoError becomes the row's failure; any other exception is a defect of ours and becomes one too, so
    that it costs one video and not the run. A row that fails drops its pixels.
    """
    for row in rows_of(table):
        yield row_table(row, schema) if row.get("status") == FAILED else _attempt(row, work, stage, schema)


def _attempt(row: Row, work: Callable[[Row], Row], stage: str, schema: pa.Schema) -> pa.Table:
    try:
        return row_table(row | work(row), schema)
    except VideoError as error:
        failure = _failure(error.stage, error.code, str(error)) | error.known
    except Exception as error:
        logger.exception("unexpected error in stage %s for video %s", stage, row.get("video_id"))
        message = f"unexpected {type(error).__name__}; see the worker's log"
        failure = _failure(stage, "internal_error", message)
    light = {name: value for name, value in row.items() if not isinstance(value, pa.Buffer)}
    return row_table(light | failure, schema)


def _failure(stage: str, code: str, message: str) -> Row:
    return {"status": FAILED, "stage": stage, "error_code": code, "error_message": message}
