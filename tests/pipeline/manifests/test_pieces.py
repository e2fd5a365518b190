"""A list of videos that is read some rows at a time is the one that is read as a whole, in less memory."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from s3server import S3Server

from pipeline.manifests.listing import list_videos
from pipeline.manifests.manifest import read_manifest, read_rows
from pipeline.manifests.pieces import read_pieces
from securevqa_core.errors import ManifestError

Rows = list[dict[str, Any]]
NUM_ROWS = 23
ROWS: Rows = [{"uri": f"{n}.mp4", "n": n, "note": None if n < 12 else f"é {n}"} for n in range(NUM_ROWS)]


def write_csv(path: Path, rows: Rows) -> None:
    lines = [",".join(rows[0]), "", *(",".join(f'"{value}\n"' for value in row.values()) for row in rows)]
    path.write_text("\ufeff" + "\r\n".join(lines), newline="")


def write_json(path: Path, rows: Rows) -> None:
    lines = [{name: value for name, value in row.items() if value is not None} for row in rows]
    path.write_text("\n\n".join(map(json.dumps, lines)))


def write_parquet(path: Path, rows: Rows) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


WRITERS: dict[str, Callable[[Path, Rows], None]] = {
    "csv": write_csv,
    "jsonl": write_json,
    "parquet": write_parquet,
}


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.manifests.pieces.PIECE_ROWS", 5)
    monkeypatch.setattr("pipeline.manifests.listing._NAMES_AT_ONCE", 5)
    monkeypatch.setattr("pipeline.manifests.bucket.NAMES_AT_ONCE", 4)
    monkeypatch.setattr("pipeline.manifests.bucket.KEYS_AT_ONCE", 3)


def pieces_of(location: Path | str, **options: Any) -> tuple[list[pa.Table], list[str]]:
    others: list[str] = []
    return list(read_pieces(str(location), others=others, **options)), others


@pytest.mark.parametrize("suffix", WRITERS)
def test_the_pieces_of_a_file_are_the_table(suffix: str, tmp_path: Path) -> None:
    WRITERS[suffix](tmp_path / f"m.{suffix}", ROWS)
    pieces, _ = pieces_of(tmp_path / f"m.{suffix}")
    assert [piece.num_rows for piece in pieces] == [5, 5, 5, 5, 3]
    assert pa.concat_tables(pieces).equals(read_manifest(str(tmp_path / f"m.{suffix}")))


def test_the_pieces_of_a_table_in_parts_have_all_its_columns(tmp_path: Path) -> None:
    folder = tmp_path / "backlog.parquet"
    folder.mkdir()
    write_parquet(folder / "part-0.parquet", [{"uri": "a.mp4", "n": None}, {"uri": "b.mp4", "n": None}])
    write_parquet(folder / "part-1.parquet", [{"uri": f"{n}.mp4", "n": n, "m": "x"} for n in range(7)])
    (folder / "_SUCCESS").touch()
    pieces, _ = pieces_of(folder)
    assert pa.concat_tables(pieces).equals(read_manifest(str(folder)))


def test_numbers_that_are_whole_in_some_pieces_alone_are_of_one_type(tmp_path: Path) -> None:
    mixed = [row | {"n": row["n"] if row["n"] < 20 else row["n"] + 0.5} for row in ROWS]
    write_json(tmp_path / "m.jsonl", mixed)
    pieces, _ = pieces_of(tmp_path / "m.jsonl")
    assert pa.concat_tables(pieces)["n"].to_pylist() == [float(row["n"]) for row in mixed]


def test_a_folder_is_walked_in_the_order_of_its_sorted_paths(tmp_path: Path) -> None:
    names = [
        "a.mp4",
        "a/b.mp4",
        "a/b/c.mp4",
        "a0.mp4",
        "a-/x.mp4",
        "é.mp4",
        "z/\U0001f600.mp4",
        "z/\uffee.mp4",
    ]
    names += [
        ".hidden/x.mp4",
        "z/.x.mp4",
        "notes.txt",
        os.fsdecode(b"z/\xff.mp4"),
        *(f"n/{n}.mp4" for n in range(30)),
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("not a video, by its text\n")
    (tmp_path / "circle").symlink_to(tmp_path)
    pieces, others = pieces_of(tmp_path)
    whole, listing = read_rows(str(tmp_path)), list_videos(str(tmp_path), has_manifest_suffix=False)
    assert pa.concat_tables(pieces).equals(whole.table)
    assert listing is not None
    walked = [os.path.join(here, name) for here, _, names in os.walk(tmp_path) for name in names]  # noqa: PTH118
    shown = sorted(one for one in walked if "/." not in one[len(str(tmp_path)) :])
    assert sorted([*listing.uris, *listing.others]) == shown
    assert listing.uris == [one for one in shown if not one.endswith(".txt")]
    assert (others, whole.others) == ([f"{tmp_path}/notes.txt"], [f"{tmp_path}/notes.txt"])


IN_A_BUCKET = (
    *(
        "a.mp4",
        "a/b.mp4",
        "a0.mp4",
        "a/_b.mp4",
        "z/é\n.mp4",
        "z/deep/er.mp4",
        "notes.txt",
        "a/c.txt",
        "folder/",
    ),
    *(".hidden.mp4", "a/.hidden/c.mp4", *(f"n{number:02d}.mkv" for number in range(8))),
)
BUCKET = ("", "/", "/*", "/a*", "/n0?.mkv", "/**", "/**/*.mp4", "/[az]/*.mp4", "/.*", "/a/*")


@pytest.fixture
def bucket(s3: S3Server, tmp_path: Path) -> str:
    folder = f"{s3.bucket}/{tmp_path.name}"
    for name in IN_A_BUCKET:
        s3.fs.pipe_file(f"{folder}/{name}", b"" if name.endswith("/") else b"not a video, by its text\n")
    return f"s3://{folder}"


@pytest.mark.parametrize("asked", BUCKET)
def test_the_pieces_of_a_bucket_are_its_listing(
    asked: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_rows(f"{bucket}{asked}")
    if asked != "/[az]/*.mp4":  # a glob over folders is looked for in each of them
        monkeypatch.setattr("pipeline.manifests.listing._list_remote", pytest.fail)
    pieces, others = pieces_of(f"{bucket}{asked}")
    assert pa.concat_tables(pieces).equals(whole.table)
    assert others == whole.others


def test_a_table_in_parts_is_no_folder_of_videos_in_a_bucket(s3: S3Server, tmp_path: Path) -> None:
    folder = f"{s3.bucket}/{tmp_path.name}"
    for name, content in (
        ("part-0.csv", b"uri\n/a.mp4\n"),
        ("part-1.csv", b"uri\n/b.mp4\n"),
        ("_SUCCESS", b""),
    ):
        s3.fs.pipe_file(f"{folder}/{name}", content)
    for asked in ("", "/*"):
        pieces, _ = pieces_of(f"s3://{folder}{asked}")
        assert pa.concat_tables(pieces)["uri"].to_pylist() == ["/a.mp4", "/b.mp4"]


@pytest.mark.slow
def test_a_bucket_that_does_not_answer_is_named(silent_store: str) -> None:
    with pytest.raises(ManifestError, match=f"{silent_store}.*unreachable"):
        pieces_of(silent_store)


class Millions:
    """Stands for a store: as many objects as one likes."""

    def __init__(self, num_objects: int) -> None:
        self.num_objects = num_objects

    def call_s3(self, _method: str, **asked: Any) -> dict[str, Any]:
        start = int(asked.get("ContinuationToken", 0))
        end = min(start + asked["MaxKeys"], self.num_objects)
        keys = [{"Key": f"night/{number:030d}.mp4", "ETag": "e" * 34} for number in range(start, end)]
        return {"Contents": keys, "IsTruncated": end < self.num_objects, "NextContinuationToken": str(end)}


@pytest.mark.slow
def test_of_a_bucket_of_many_objects_memory_holds_few(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (
        ("pieces.PIECE_ROWS", 500),
        ("bucket.NAMES_AT_ONCE", 2_000),
        ("bucket.KEYS_AT_ONCE", 1_000),
    ):
        monkeypatch.setattr(f"pipeline.manifests.{name}", size)
    peaks = []
    for num_objects in (5_000, 50_000):
        store = Millions(num_objects)
        monkeypatch.setattr(
            "operators.storage.open_filesystem", lambda _, store=store: (store, "bucket/night")
        )
        tracemalloc.start()
        assert sum(piece.num_rows for piece in read_pieces("s3://bucket/night", others=[])) == num_objects
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 40 * 45_000, peaks  # the digest of each id, and files that are open


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([*ROWS, ROWS[3]], f"row {NUM_ROWS + 1}: .*3.mp4' is that of row 4"),
        ([*ROWS, {"uri": "zip://x", "n": 1, "note": "n"}], f"row {NUM_ROWS + 1}: scheme 'zip'"),
        ([{"url": "a.mp4"}], "no column 'uri'"),
    ],
)
def test_what_breaks_a_rule_is_said_of_the_row_among_all(
    suffix: str, rows: Rows, said: str, tmp_path: Path
) -> None:
    if suffix == "csv":
        rows = [{name: str(value) for name, value in row.items()} for row in rows]
        (tmp_path / "m.csv").write_text(
            "\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)])
        )
    else:
        WRITERS[suffix](tmp_path / f"m.{suffix}", rows)
    with pytest.raises(ManifestError, match=said):
        pieces_of(tmp_path / f"m.{suffix}")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("m.csv", b"uri\n" + b"/a.mp4\n" * 20_000 + b"\xff", "line 20002: not UTF-8"),
        ("m.csv", b"uri,n\n" + b"/a.mp4,1\n" * 8 + b"/b.mp4\n", "line 10: has 1 cells, the header has 2"),
        ("m.jsonl", b'{"uri": "/a.mp4"}\n' * 8 + b"{", "line 9: not readable JSON"),
        ("m.csv", b"", "is empty"),
        ("m.csv", b"uri\n", "is empty"),
        ("m.jsonl", b"\n", "is empty"),
        ("m.parquet", b"PAR1", "not readable Parquet"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_line(
    name: str, content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError, match=said):
        pieces_of(tmp_path / name)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", WRITERS)
def test_memory_does_not_grow_with_the_rows(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's objects and Arrow's: of a row of a kilobyte stays the digest of its id."""
    monkeypatch.setattr("pipeline.manifests.pieces.PIECE_ROWS", 500)
    peaks = []
    for num_rows in (3_000, 12_000):
        rows: Rows = [{"uri": f"{number:08d}.mp4", "note": f"{number:01000d}"} for number in range(num_rows)]
        WRITERS[suffix](tmp_path / f"{num_rows}.{suffix}", rows)
        del rows
        before, arrow = pa.total_allocated_bytes(), 0
        tracemalloc.start()
        for _ in read_pieces(str(tmp_path / f"{num_rows}.{suffix}"), others=[]):
            arrow = max(arrow, pa.total_allocated_bytes() - before)
        peaks.append(tracemalloc.get_traced_memory()[1] + arrow)
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 250 * 9_000, peaks
