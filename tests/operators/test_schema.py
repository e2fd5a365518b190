"""What crosses a stage: one row, every column, pixels without a copy."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from operators import schema
from operators.schema import (
    CALL,
    FEATURED,
    FRAGMENTED,
    MANIFEST,
    OUTCOME,
    REPORT,
    ROW_KEY,
    SAMPLED,
    pixels_of,
    row_table,
    rows_of,
    texts,
)

STAGES = {"sampled": SAMPLED, "fragmented": FRAGMENTED, "featured": FEATURED, "outcome": OUTCOME}
PAYLOADS = {"patches", "fragments", "frames", "segments", "features"}


@pytest.mark.parametrize("name", STAGES)
def test_a_row_of_any_stage_may_be_all_null_but_its_key(name: str) -> None:
    table = row_table({ROW_KEY: "k"}, STAGES[name])
    assert table.schema == STAGES[name]
    (row,) = rows_of(table)
    assert row[ROW_KEY] == "k"
    assert all(value is None for column, value in row.items() if column != ROW_KEY)


@pytest.mark.parametrize("shape", [(2, 3, 4), (0, 3), (1,)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_pixels_come_out_as_they_went_in(shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    pixels = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    (row,) = rows_of(row_table({"frames": pixels}, SAMPLED))
    back = pixels_of(row, "frames", dtype, *shape)
    assert back.dtype == dtype
    assert (back == pixels).all()


def test_pixels_are_not_copied_on_the_way() -> None:
    pixels = np.arange(1000, dtype=np.uint8)
    table = row_table({"frames": pixels}, SAMPLED)
    (row,) = rows_of(table)
    back = pixels_of(row, "frames", np.uint8, 10, 100)
    assert np.shares_memory(back, pixels)
    assert not back.flags.writeable
    (again,) = rows_of(row_table(row, SAMPLED))
    assert np.shares_memory(pixels_of(again, "frames", np.uint8, -1), pixels)


def test_pixels_that_are_not_contiguous_are_packed() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6).T
    (row,) = rows_of(row_table({"frames": pixels}, SAMPLED))
    assert (pixels_of(row, "frames", np.uint8, 6, 4) == pixels).all()


def test_rows_come_one_after_another_from_a_table_in_pieces() -> None:
    pieces = [
        row_table({ROW_KEY: key, "frames": np.full(3, place, dtype=np.uint8)}, SAMPLED)
        for place, key in enumerate("abc")
    ]
    pieces.insert(1, row_table({ROW_KEY: "null"}, SAMPLED))
    for table in (pa.concat_tables(pieces), pa.concat_tables(pieces).combine_chunks()):
        rows = list(rows_of(table))
        assert [row[ROW_KEY] for row in rows] == ["a", "null", "b", "c"]
        assert rows[1]["frames"] is None
        frames = [bytes(row["frames"]) for row in rows if row["frames"] is not None]
        assert frames == [bytes([place] * 3) for place in range(3)]
    sliced = pa.concat_tables(pieces).combine_chunks().slice(1, 2)
    assert [row["frames"] and bytes(row["frames"]) for row in rows_of(sliced)] == [None, bytes([1] * 3)]


def test_pixels_survive_the_way_through_ipc() -> None:
    segments = np.arange(20, dtype=np.int64).reshape(4, 5)
    table = row_table({ROW_KEY: "k", "segments": segments}, SAMPLED)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    (row,) = rows_of(pa.ipc.open_stream(sink.getvalue()).read_all())
    assert (pixels_of(row, "segments", np.int64, 4, 5) == segments).all()


def test_pixels_of_another_shape_are_refused() -> None:
    (row,) = rows_of(row_table({"frames": np.zeros(10, dtype=np.uint8)}, SAMPLED))
    with pytest.raises(ValueError, match=r"size 10 into shape \(3,4\)"):
        pixels_of(row, "frames", np.uint8, 3, 4)


def test_columns_that_are_not_of_the_stage_do_not_cross() -> None:
    table = row_table({ROW_KEY: "k", "patches": np.zeros(4, np.uint8), "anything": 1}, FEATURED)
    assert table.schema == FEATURED


def test_a_value_of_the_wrong_type_is_refused() -> None:
    with pytest.raises(pa.ArrowInvalid, match="wide"):
        row_table({"width": "wide"}, SAMPLED)


def test_pixels_of_one_stage_only_cross_that_stage() -> None:
    crossing = {name: PAYLOADS & set(stage.names) for name, stage in STAGES.items()}
    assert crossing == {
        "sampled": {"patches", "frames", "segments"},
        "fragmented": {"fragments", "frames", "segments"},
        "featured": {"fragments", "features"},
        "outcome": set(),
    }
    assert not PAYLOADS & set(REPORT.names)


@pytest.mark.parametrize("name", ["manifest", *STAGES])
def test_every_stage_keeps_the_key_and_the_identity(name: str) -> None:
    names = (STAGES | {"manifest": MANIFEST})[name].names
    assert {ROW_KEY, "video_id", "uri"} <= set(names)
    assert len(names) == len(set(names))


def test_what_is_known_of_a_failure_reaches_the_report_from_every_stage() -> None:
    failure = {
        "status",
        "stage",
        "error_code",
        "error_message",
        "attempts",
        "content_sha256",
        "decode_seconds",
    }
    for stage in STAGES.values():
        assert failure <= set(stage.names)


def test_the_report_has_every_promised_column_in_order() -> None:
    assert " ".join(REPORT.names) == (
        "video_id uri content_sha256 size_bytes status stage error_code error_message attempts "
        "score score_sd score_lower raw_score clip_scores verdict "
        "suspicion suspicion_reasons rendition_score upload_score "
        "width height fps num_frames duration_seconds codec decoder decode_warnings "
        "picture_fingerprint near_copy_of near_copies near_copy_best_score "
        "checkpoint_id checkpoint_status as_delivered config_id key_id randomness "
        "fetch_seconds decode_seconds model_seconds scored_at"
    )
    assert OUTCOME.names == [ROW_KEY, *REPORT.names, CALL]


def test_every_column_says_what_it_means_and_measures_say_in_what() -> None:
    for stage in (*STAGES.values(), REPORT):
        assert all(field.metadata[b"description"] for field in stage)
    units = {field.name: (field.metadata or {}).get(b"unit", b"").decode() for field in REPORT}
    assert units["size_bytes"] == "byte"
    assert units["width"] == units["height"] == "pixel"
    assert units["fps"] == "1/s"
    seconds = [name for name in REPORT.names if name.endswith("_seconds")]
    assert {units[name] for name in seconds} == {"s"}
    numbers = [
        field.name for field in REPORT if pa.types.is_floating(field.type) or pa.types.is_integer(field.type)
    ]
    assert all(units[name] for name in numbers)


def test_texts_are_the_values_that_are_there() -> None:
    assert texts(pa.table({"a": ["x", None, "y"]}), "a") == ["x", "y"]


def test_everything_public_exists() -> None:
    assert all(hasattr(schema, name) for name in schema.__all__)
