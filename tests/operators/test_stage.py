"""One row in, one row out, whatever happens to it."""

from __future__ import annotations

import logging

import numpy as np
import pyarrow as pa
import pytest

from operators.schema import FRAGMENTED, ROW_KEY, SAMPLED, Row, row_table, rows_of
from operators.stage import FAILED, run_stage
from securevqa_core.errors import DecodeError, ScoreError


def _table(*rows: Row) -> pa.Table:
    return pa.concat_tables([row_table(row, SAMPLED) for row in rows])


def _run(table: pa.Table, work: object, schema: pa.Schema = FRAGMENTED) -> list[Row]:
    tables = list(run_stage(rows_of(table), work, stage="fragment", schema=schema))  # type: ignore[arg-type]
    assert all(one.schema == schema for one in tables)
    return [row for one in tables for row in rows_of(one)]


def test_what_the_work_returns_joins_the_row() -> None:
    rows = _run(_table({ROW_KEY: "a", "width": 4}, {ROW_KEY: "b"}), lambda row: {"codec": row[ROW_KEY] * 2})
    assert [(row[ROW_KEY], row["width"], row["codec"]) for row in rows] == [("a", 4, "aa"), ("b", None, "bb")]
    assert all(row["status"] is None for row in rows)


def test_a_failed_row_passes_untouched_and_unworked() -> None:
    failed = {
        ROW_KEY: "a",
        "uri": "s3://b/k",
        "status": FAILED,
        "stage": "fetch",
        "error_code": "fetch_denied",
        "error_message": "no",
        "attempts": 3,
    }

    def work(row: Row) -> Row:
        raise AssertionError(row)

    (row,) = _run(_table(failed), work)
    assert {name: value for name, value in row.items() if value is not None} == failed


def test_a_video_error_becomes_the_rows_failure_with_what_was_known() -> None:
    def work(_: Row) -> Row:
        error = DecodeError("decode_corrupt", "7 missing")
        error.known = {"content_sha256": "ab", "decode_seconds": 1.5}
        raise error

    (row,) = _run(_table({ROW_KEY: "a", "uri": "u"}), work)
    assert (row["status"], row["stage"], row["error_code"]) == (FAILED, "decode", "decode_corrupt")
    assert (row["error_message"], row["uri"]) == ("7 missing", "u")
    assert (row["content_sha256"], row["decode_seconds"]) == ("ab", 1.5)


@pytest.mark.parametrize("error", [RuntimeError("s3cr3t"), KeyError("s3cr3t"), MemoryError("s3cr3t")])
def test_any_other_exception_is_an_internal_error_that_does_not_repeat_its_text(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def work(_: Row) -> Row:
        raise error

    with caplog.at_level(logging.ERROR):
        (row,) = _run(_table({ROW_KEY: "a", "video_id": "clip-9"}), work)
    assert (row["status"], row["stage"], row["error_code"]) == (FAILED, "fragment", "internal_error")
    assert row["error_message"] == f"unexpected {type(error).__name__}; see the worker's log"
    assert "clip-9" in caplog.text  # the log is where its text is


def test_a_value_that_does_not_fit_its_column_costs_one_row() -> None:
    rows = _run(
        _table({ROW_KEY: "a"}, {ROW_KEY: "b"}), lambda row: {"width": "wide" if row[ROW_KEY] == "a" else 7}
    )
    assert [(row["status"], row["error_code"], row["width"]) for row in rows] == [
        (FAILED, "internal_error", None),
        (None, None, 7),
    ]


def test_one_bad_row_does_not_touch_its_neighbours() -> None:
    def work(row: Row) -> Row:
        if row[ROW_KEY] == "b":
            raise ScoreError("score_not_finite", "nan")
        return {"codec": "ok"}

    rows = _run(_table(*({ROW_KEY: key} for key in "abc")), work)
    assert [(row["status"], row["codec"]) for row in rows] == [(None, "ok"), (FAILED, None), (None, "ok")]


def test_failed_rows_share_a_table_and_others_have_one_each_in_the_order_of_the_rows() -> None:
    def work(row: Row) -> Row:
        if row[ROW_KEY] in "bc":
            raise ScoreError("score_not_finite", "nan")
        return {}

    failed = {ROW_KEY: "d", "status": FAILED}
    rows = rows_of(_table(*({ROW_KEY: key} for key in "abc"), failed, *({ROW_KEY: key} for key in "ef")))
    tables = run_stage(rows, work, stage="fragment", schema=FRAGMENTED)
    assert [one[ROW_KEY].to_pylist() for one in tables] == [["a"], ["b", "c", "d"], ["e"], ["f"]]


def test_a_row_that_fails_drops_its_pixels() -> None:
    def work(_: Row) -> Row:
        raise DecodeError("decode_failed", "x")

    (row,) = _run(_table({ROW_KEY: "a", "frames": np.zeros(9, np.uint8), "width": 3}), work)
    assert (row["frames"], row["width"]) == (None, 3)


def test_an_interrupt_is_not_a_failure_of_the_video() -> None:
    def work(_: Row) -> Row:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _run(_table({ROW_KEY: "a"}), work)


UNWRITABLE = {
    "text that has no UTF-8": "a\udcff",
    "half a character": "\ud800",
    "another type": object(),
    "bytes": b"\xff",
    "too large an integer": 1 << 80,
    "a list": ["x"],
    "not a number": float("nan"),
}


@pytest.mark.parametrize("what", UNWRITABLE)
@pytest.mark.parametrize("column", ["codec", "width", "fps", "decode_warnings", "attempts", "content_sha256"])
def test_what_arrow_cannot_hold_costs_the_video_that_has_it_alone(what: str, column: str) -> None:
    """In a row that is done, and in what is known of one that failed."""

    def work(row: Row) -> Row:
        if row[ROW_KEY] == "b":
            return {column: UNWRITABLE[what]}
        if row[ROW_KEY] in "cd":
            error = DecodeError("decode_corrupt", "7 missing")
            error.known = {column: UNWRITABLE[what]} if row[ROW_KEY] == "c" else {"width": 9}
            raise error
        return {"width": 4}

    rows = _run(_table(*({ROW_KEY: key, "uri": f"u/{key}"} for key in "abcde")), work)
    assert [row[ROW_KEY] for row in rows] == list("abcde")
    assert [row["uri"] for row in rows] == [f"u/{key}" for key in "abcde"]
    assert [(row["status"], row["width"]) for row in (rows[0], rows[4])] == [(None, 4)] * 2
    assert (rows[2]["error_code"], rows[2]["error_message"]) == ("decode_corrupt", "7 missing")
    assert (rows[3]["error_code"], rows[3]["width"]) == ("decode_corrupt", 9)


@pytest.mark.parametrize("message", ["a\udcffb", "\ud83d", "x" * 1_000_000, "\0\r\n\x1b[2J", ""])
def test_a_failure_keeps_its_code_whatever_its_message_holds(message: str) -> None:
    def work(row: Row) -> Row:
        raise DecodeError("decode_corrupt", message)

    rows = _run(_table({ROW_KEY: "a"}, {ROW_KEY: "b"}), work)
    assert [row["error_code"] for row in rows] == ["decode_corrupt"] * 2
    assert rows[0]["error_message"] == message.encode("utf-8", "backslashreplace").decode()


def test_the_last_resort_keeps_what_says_whose_row_it_is() -> None:
    row = {ROW_KEY: "a", "video_id": "v", "uri": "u\udcff", "status": FAILED, "width": object()}
    (table,) = run_stage([row], lambda row: row, stage="fragment", schema=FRAGMENTED)
    (made,) = rows_of(table)
    assert {name: value for name, value in made.items() if value is not None} == {
        ROW_KEY: "a",
        "video_id": "v",
        "status": FAILED,
        "stage": "fragment",
        "error_code": "internal_error",
        "error_message": "the row holds what no column can",
    }


def test_rows_of_any_content_all_come_out_in_their_order() -> None:
    rng = np.random.default_rng(7)
    values = [*UNWRITABLE.values(), None, "x", 3, 0.5, pa.py_buffer(b"x"), np.zeros(2), {}, [object()]]
    names = [field.name for field in SAMPLED if field.name not in (ROW_KEY, "status")]
    rows: list[Row] = []
    for index in range(300):
        chosen = rng.choice(names, size=3, replace=False)
        row = {name: values[rng.integers(len(values))] for name in chosen}
        rows.append(row | {ROW_KEY: str(index), "status": FAILED if index % 2 else None})

    def work(row: Row) -> Row:
        if rng.random() < 0.5:
            raise DecodeError("decode_failed", str(values[rng.integers(len(values))]))
        return {names[rng.integers(len(names))]: values[rng.integers(len(values))]}

    tables = list(run_stage(rows, work, stage="decode", schema=SAMPLED))
    made = [row for table in tables for row in rows_of(table)]
    assert [row[ROW_KEY] for row in made] == [str(index) for index in range(300)]
    assert {row["status"] for row in made} <= {FAILED, None}
