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
