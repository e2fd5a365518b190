"""A manifest in parts: what Spark, Dask or Ray write as a folder is one table, on a disk and in a store."""

from __future__ import annotations

import os
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators.storage import join, open_filesystem
from pipeline.manifests.manifest import read_manifest
from securevqa_core.errors import ManifestError


def put(folder: str, files: dict[str, pa.Table | bytes]) -> str:
    """Write files below a folder."""
    for name, content in files.items():
        fs, path = open_filesystem(f"{folder}/{name}")
        if "://" not in folder:
            os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        fs.pipe_file(path, content if isinstance(content, bytes) else encoded(content))
    return folder


def encoded(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def part(*names: str) -> pa.Table:
    return pa.table({"uri": list(names), "mos": pa.array([1.0] * len(names), pa.float32())})


SPARK: dict[str, pa.Table | bytes] = {
    "part-00000-c000.snappy.parquet": part("a.mp4", "/b.mp4"),
    "part-00001-c000.snappy.parquet": part("c.mp4"),
    "part-00002-c000.snappy.parquet": part(),
    "_SUCCESS": b"",
    "_metadata": b"PAR1",
    ".part-00000-c000.snappy.parquet.crc": b"crc",
    "_temporary/0/part-00009.parquet": part("half.mp4"),
}


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_folder_that_spark_wrote_is_one_table(slash: str, place: str) -> None:
    folder = put(f"{place}/backlog.parquet", SPARK)
    table = read_manifest(folder + slash)
    assert table["uri"].to_pylist() == [join(place, "a.mp4"), "/b.mp4", join(place, "c.mp4")]
    assert table["mos"].to_pylist() == [1.0] * 3


def test_a_relative_folder_is_found(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put(str(tmp_path / "_lists" / "day=1" / "backlog.parquet"), SPARK)
    monkeypatch.chdir(tmp_path / "_lists")
    assert read_manifest("day=1/backlog.parquet").num_rows == 3


def test_a_folder_of_tables_alone_is_one_table_whatever_its_name(place: str) -> None:
    folder = put(
        f"{place}/lists", {"b/2.csv": b"uri,x\nb.mp4,2\n", "1.csv": b"uri,x\na.mp4,1\n", "3.csv": b""}
    )
    table = read_manifest(folder)
    assert table["uri"].to_pylist() == [join(folder, "a.mp4"), join(folder, "b.mp4")]
    assert table["x"].to_pylist() == [1, 2]
    assert read_manifest(f"{folder}/*.csv")["uri"].to_pylist() == [join(folder, "a.mp4")]


def test_a_folder_with_a_video_is_a_folder_of_videos(place: str) -> None:
    folder = put(f"{place}/uploads", {"a.mp4": b"1", "_b.mp4": b"1"})
    assert read_manifest(folder)["uri"].to_pylist() == [f"{folder}/_b.mp4", f"{folder}/a.mp4"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"_delta_log/0.json": b"{}", "part-0.parquet": part("a.mp4")}, "is a Delta table"),
        ({"_temporary/0/part-0.parquet": part("a.mp4"), "part-1.parquet": part("b.mp4")}, "no _SUCCESS"),
        ({"part-0.parquet": part("a.mp4"), "clip.mp4": b"1"}, "clip.mp4"),
        ({"day=1/part-0.parquet": part("a.mp4")}, "day=1"),
        ({"_SUCCESS": b""}, "no part of a table"),
        (
            {"part-0.parquet": part("a.mp4"), "part-1.parquet": pa.table({"uri": ["b"], "mos": [1]})},
            r"part-1\.parquet.*mos",
        ),
        ({"part-0.parquet": b"PAR1"}, r"part-0\.parquet"),
    ],
    ids=["Delta", "being written", "a video too", "partitions", "empty", "another type", "torn"],
)
def test_what_is_no_whole_table_is_refused_by_name(files: Any, said: str, place: str) -> None:
    folder = put(f"{place}/backlog.parquet", files)
    with pytest.raises(ManifestError, match=said):
        read_manifest(folder)
