"""What reading a manifest promises: one row per video, nothing guessed, every rule broken named."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators import storage
from pipeline.manifests.listing import walk_videos
from pipeline.manifests.manifest import read_manifest, read_rows
from pipeline.manifests.rows import DEFAULT_ALLOW_SCHEMES
from securevqa_core.errors import ERROR_CODES, ManifestError


def refusal(location: object, **options: Any) -> str:
    with pytest.raises(ManifestError) as caught:
        read_manifest(str(location), **options)
    return str(caught.value)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    def _write(name: str, text: str) -> str:
        (tmp_path / name).write_bytes(text.encode())
        return str(tmp_path / name)

    return _write


def test_parquet_keeps_types_and_puts_id_and_uri_first(tmp_path: Path) -> None:
    given = pa.table(
        {
            "mos": pa.array([3.5, None], pa.float32()),
            "uri": pa.array(["/a.mp4", "s3://b/c d.mp4"], pa.large_string()),
            "when": pa.array([datetime.date(2026, 1, 1)] * 2),
            "tags": [["x"], []],
            "video_id": pa.array([7, 8], pa.int64()),
        }
    )
    pq.write_table(given, tmp_path / "m.parquet")
    table = read_manifest(str(tmp_path / "m.parquet"))
    assert table.column_names == ["video_id", "uri", "mos", "when", "tags"]
    assert table["video_id"].to_pylist() == ["7", "8"]
    assert table.schema.field("uri").type == pa.string()
    for name in ("mos", "when", "tags"):
        assert table[name].equals(given[name])


def test_dictionary_encoded_uris_are_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"uri": pa.array(["/a"]).dictionary_encode()}), tmp_path / "m.parquet")
    assert read_manifest(str(tmp_path / "m.parquet"))["uri"].to_pylist() == ["/a"]


def test_csv_cells_stay_the_text_they_are(write: Any) -> None:
    path = write("m.csv", '\ufeffuri,code,note\n"/a, b.mp4",007,NA\n/c.mp4,,"two\nlines"\n')
    table = read_manifest(path)
    assert table["uri"].to_pylist() == ["/a, b.mp4", "/c.mp4"]
    assert table["code"].to_pylist() == ["007", ""]
    assert table["note"].to_pylist() == ["NA", "two\nlines"]


@pytest.mark.parametrize("suffix", ["jsonl", "ndjson", "json", "JSONL"])
def test_json_lines_keep_json_types(write: Any, suffix: str) -> None:
    rows = [
        {"uri": "/a.mp4", "n": 1, "when": "2026-01-01T00:00:00Z", "deep": {"x": [1]}},
        {"uri": "/b\u2028.mp4", "n": None, "when": "no"},
    ]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    table = read_manifest(write(f"m.{suffix}", "\ufeff" + lines[0] + "\r\n\n" + lines[1]))
    assert table["n"].to_pylist() == [1, None]
    assert table.schema.field("n").type == pa.int64()
    assert table["when"].to_pylist() == ["2026-01-01T00:00:00Z", "no"]
    assert table["deep"].to_pylist() == [{"x": [1]}, None]
    assert table["uri"].to_pylist() == ["/a.mp4", "/b\u2028.mp4"]


def test_half_a_character_costs_no_manifest(write: Any) -> None:
    """Titles that were cut in the middle of an emoji, as JavaScript cuts them and JSON can say it."""
    titles = ['"cut \\ud83d"', '"whole \\ud83d\\ude00"', '{"\\udc00": ["\\ud800"]}']
    rows = [
        f'{{"uri": "/{n}.mp4", "{name}": {title}}}'
        for n, (name, title) in enumerate(zip("ttd", titles, strict=True))
    ]
    table = read_manifest(write("m.jsonl", "\n".join(rows)))
    assert table["t"].to_pylist() == ["cut \\ud83d", "whole \U0001f600", None]
    assert table["d"].to_pylist() == [None, None, {"\\udc00": ["\\ud800"]}]


def test_uris_take_one_form(write: Any, tmp_path: Path) -> None:
    lines = [
        "clip #1?.mp4",
        "./sub/../b%20.mp4",
        "file:///x//a b.mp4",
        "/y.mp4",
        "S3://bucket/K?v",
        "../up.mp4",
    ]
    table = read_manifest(write("m.csv", "uri\n" + "\n".join(lines)))
    expected = [f"{tmp_path}/clip #1?.mp4", f"{tmp_path}/b%20.mp4", "/x/a b.mp4", "/y.mp4", "s3://bucket/K?v"]
    assert table["uri"].to_pylist() == [*expected, f"{tmp_path.parent}/up.mp4"]


def test_ids_are_digests_of_the_normalised_uri(write: Any) -> None:
    [one] = read_manifest(write("m.csv", "uri\nfile:///a/./b.mp4\n"))["video_id"].to_pylist()
    assert one == hashlib.sha256(b"/a/b.mp4").hexdigest()[:24]


def test_the_uri_column_can_have_another_name(write: Any) -> None:
    table = read_manifest(write("m.csv", "path,mos\n/a,1\n"), uri_column="path")
    assert table.column_names == ["video_id", "uri", "mos"]


def test_a_directory_is_every_visible_file_below_it_sorted(tmp_path: Path) -> None:
    for name in ["b.mp4", "sub/a::1.mp4", ".hidden.mp4", ".dir/x.mp4", "sub/glob*[x].mp4"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path)
    table = read_manifest(str(tmp_path))
    assert table.column_names == ["video_id", "uri"]
    names = [uri.removeprefix(f"{tmp_path}/") for uri in table["uri"].to_pylist()]
    assert names == ["b.mp4", "sub/a::1.mp4", "sub/glob*[x].mp4"]
    assert read_manifest(f"file://{tmp_path}/").equals(table)


def test_a_local_glob_matches_and_a_file_with_magic_in_its_name_wins(tmp_path: Path) -> None:
    for name in ["a.mp4", "b.mkv", "deep/er/c.mp4"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert read_manifest(f"{tmp_path}/*.mp4")["uri"].to_pylist() == [f"{tmp_path}/a.mp4"]
    assert read_manifest(f"{tmp_path}/**/*.mp4").num_rows == 2
    (tmp_path / "m[1].csv").write_text("uri\n/z.mp4\n")
    assert read_manifest(f"{tmp_path}/m[1].csv")["uri"].to_pylist() == ["/z.mp4"]


def test_a_manifest_on_s3_resolves_against_its_own_folder(s3: Any) -> None:
    s3.fs.pipe_file(f"{s3.bucket}/lists/m[1].csv", b"uri,x\nclips/a b.mp4,1\n../c.mp4,2\n/local.mp4,3\n")
    table = read_manifest(f"{s3.bucket_uri}/lists/m[1].csv")
    expected = [f"{s3.bucket_uri}/lists/clips/a b.mp4", f"{s3.bucket_uri}/c.mp4", "/local.mp4"]
    assert table["uri"].to_pylist() == expected


def test_s3_folders_and_globs_list_visible_objects(s3: Any) -> None:
    root = f"{s3.bucket}/night"
    for name in ["a.mp4", "sub/b c.mp4", "sub/.hidden", ".dir/x.mp4"]:
        s3.fs.pipe_file(f"{root}/{name}", b"x")
    both = [f"s3://{root}/a.mp4", f"s3://{root}/sub/b c.mp4"]
    assert read_manifest(f"s3://{root}")["uri"].to_pylist() == both
    assert read_manifest(f"s3://{root}/")["uri"].to_pylist() == both
    assert read_manifest(f"s3://{root}/**/*.mp4")["uri"].to_pylist() == both
    assert read_manifest(f"s3://{root}/*.mp4")["uri"].to_pylist() == both[:1]


@pytest.mark.parametrize("name", ["nowhere.csv", "nowhere", "no*where.csv/x.csv"])
def test_a_missing_local_manifest_is_named(tmp_path: Path, name: str) -> None:
    assert str(tmp_path / name) in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["nowhere.csv", "nowhere", "nowhere/*.mp4", "nowhere*.csv"])
def test_a_missing_s3_manifest_is_named(s3: Any, name: str) -> None:
    assert f"{s3.bucket_uri}/{name}" in refusal(f"{s3.bucket_uri}/{name}")


def test_a_store_that_refuses_or_is_silent_is_told(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        for name in ("m.csv", "night"):
            assert "denied" in refusal(f"{s3.bucket_uri}/{name}")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert "unreachable" in refusal(f"{s3.bucket_uri}/m.csv")


def test_the_web_has_no_directories() -> None:
    assert "https://host/clips" in refusal("https://user:secret@host/clips?sig=secret")


@pytest.mark.parametrize("location", ["zip://m.csv::s3://bucket/z.zip", "nosuch://m.csv"])
def test_a_location_in_an_unusable_scheme_is_refused(location: str) -> None:
    assert repr(location.partition(":")[0]) in refusal(location)


def test_unknown_formats_are_refused(tmp_path: Path, s3: Any) -> None:
    (tmp_path / "m.txt").write_text("uri\n/a\n")
    os.mkfifo(tmp_path / "m.csv")
    s3.fs.pipe_file(f"{s3.bucket}/one.txt", b"x")
    assert "m.txt" in refusal(tmp_path / "m.txt")
    assert "one.txt" in refusal(f"{s3.bucket_uri}/one.txt")
    assert "FIFO" in refusal(tmp_path / "m.csv")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("m.parquet", "no", "Parquet"),
        ("m.csv", "uri,a\n/x,1\n/y\n", "line 3: has 1 cells, the header has 2"),
        ("m.csv", 'uri\n"/x"y\n', "line 2: not readable CSV"),
        ("m.csv", "uri,a,a\n/x,1,2\n", "['a']"),
        ("m.jsonl", '{"uri": "/a"}\n\n{"uri": \n', "line 3: not readable JSON"),
        ("m.jsonl", '[{"uri": "/a"}]', "line 1: must be one JSON object, got list"),
        ("m.jsonl", '{"uri": "/a", "x": 1, "x": 2}', "['x']"),
        ("m.jsonl", '{"uri": "/a", "x": NaN}', "NaN"),
        ("m.jsonl", '{"uri": "/a", "x": 1}\n{"uri": "/b", "x": "one"}', "column 'x'"),
        ("m.jsonl", '{"uri": 5}', "must be text, got int64"),
        ("m.csv", "path,mos\n/a,1\n", "it has path, mos"),
        ("m.csv", "", "is empty"),
        ("m.csv", "uri\n", "is empty"),
        ("m.jsonl", "\n", "is empty"),
        ("m.csv", "uri,a\n/x,1\n,2\n,3\n", "row 2: uri must not be null or empty, row 3: "),
        ("m.jsonl", '{"uri": null}\n{"uri": ""}', "row 1: uri must not be null or empty, row 2: "),
        ("m.csv", "uri,video_id\n/x,1\n/y,\n", "row 2: video_id must not be null or empty"),
        ("m.jsonl", '{"uri": "/a", "video_id": [1]}', "video_id must be text, got list"),
        ("m.csv", "uri,video_id\n/x,one\n/y,one\n/z,two\n", "row 2: video_id 'one' of '/y' is that of row 1"),
        ("m.csv", "uri\n/x\nfile:///./x\n", "row 2: uri '/x' is that of row 1, and there is no video_id"),
        (
            "m.csv",
            "uri\nhttps://u:p@host/a?sig=1\nhttp://u:p@host/a?sig=1\n",
            "'http' of uri 'http://host/a'",
        ),
        ("m.csv", "uri\nzip://a::s3://b/c\n", "scheme 'zip'"),
    ],
)
def test_a_broken_rule_is_named_with_its_value(write: Any, name: str, text: str, told: str) -> None:
    message = refusal(write(name, text))
    assert told in message
    assert "sig" not in message


def test_bytes_that_are_not_utf8_are_named_by_line(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"uri\n/a\n/\xff\n")
    assert "line 3: not UTF-8" in refusal(tmp_path / "m.csv")


def test_a_file_name_that_is_not_utf8_is_its_bytes_and_leads_back_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"a %\xff.mp4")
    path.touch()
    (uri,) = read_manifest(str(tmp_path))["uri"].to_pylist()
    assert uri == f"file+bytes://{tmp_path}/a%20%25%FF.mp4"
    assert storage.scheme_of(uri) == "file"
    assert storage.local_path(uri) == str(path)


@pytest.mark.parametrize("pattern", ["", "/*.mp4"])
def test_an_empty_directory_or_glob_is_refused(tmp_path: Path, pattern: str) -> None:
    assert f"{tmp_path}{pattern}' is empty" in refusal(f"{tmp_path}{pattern}")


def test_a_row_that_breaks_a_rule_is_refused_alone_and_keeps_its_place(write: Any) -> None:
    lines = ["/a.mp4", "", "http://host/b.mp4?sig=1", "./x/../c.mp4", "file:///a.mp4", "/a.mp4", "/d.mp4"]
    found = read_rows(write("m.csv", "uri,n\n" + "".join(f"{uri},{n}\n" for n, uri in enumerate(lines))))
    assert {index: one.code for index, one in found.refused.items()} == {
        1: "row_incomplete",
        2: "scheme_not_allowed",
        4: "row_repeated",
        5: "row_repeated",
    }
    assert found.refused[5].message.startswith("uri '/a.mp4' is that of row 1")
    assert "sig" not in found.refused[2].message
    assert all(one.code in ERROR_CODES for one in found.refused.values())
    assert found.table["n"].to_pylist() == list(range(7))
    ids = found.table["video_id"].to_pylist()
    assert len(set(ids)) == 7
    alone = read_rows(write("one.csv", "uri\n/a.mp4\n")).table["video_id"].to_pylist()
    assert ids[0] == alone[0]
    again = read_rows(write("again.csv", "uri\n" + "\n".join([*lines[:1], *lines[4:]]) + "\n"))
    assert again.table["video_id"].to_pylist()[1:] == [*ids[4:]]


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["4.6", "5", ""], [4.6, 5.0, None]),
        (["-3", "0", "1001"], [-3, 0, 1001]),
        (["1e-3", "2.5"], [0.001, 2.5]),
        (["007", "8"], ["007", "8"]),  # an identifier
        (["+1", "2"], ["+1", "2"]),
        (["1.0", "NA"], ["1.0", "NA"]),
        (["nan", "1"], ["nan", "1"]),
        (["12345678901234567890", "1"], ["12345678901234567890", "1"]),  # beyond what 64 bits hold
        (["0.12345678901234567", "1"], ["0.12345678901234567", "1"]),
        (["", ""], ["", ""]),
    ],
)
def test_a_column_of_csv_is_of_numbers_where_all_its_cells_are(
    cells: list[str], values: list[Any], write: Any
) -> None:
    text = "uri,video_id,x\n" + "".join(f"/{row}.mp4,{row},{cell}\n" for row, cell in enumerate(cells))
    table = read_manifest(write("m.csv", text))
    assert table["x"].to_pylist() == values
    assert table["video_id"].to_pylist() == [str(row) for row in range(len(cells))]


def test_parts_of_csv_are_numbers_together_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "a.csv").write_text("uri,x\n/a.mp4,4.60\n")
    (tmp_path / "parts" / "b.csv").write_text("uri,x\n/b.mp4,unknown\n")
    assert read_manifest(str(tmp_path / "parts"))["x"].to_pylist() == ["4.60", "unknown"]


def test_given_ids_that_repeat_or_are_missing_are_refused_alone(write: Any) -> None:
    found = read_rows(write("m.csv", "uri,video_id\n/a,one\n/b,one\n/c,\n/d,two\nzip://e,one\n"))
    assert [(index, one.code) for index, one in sorted(found.refused.items())] == [
        (1, "row_repeated"),
        (2, "row_incomplete"),
        (4, "scheme_not_allowed"),
    ]
    ids = found.table["video_id"].to_pylist()
    assert (ids[0], ids[3], len(set(ids))) == ("one", "two", 5)


OTHER_FILES = {
    "README.md": b"# Clips",
    "Thumbs.db": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    "list.csv": b"uri\n/a\n",
    "sound.mp3": b"ID3\x04",
    "LICENSE": b"Text, in the end.\n",
    "part-0": b"PAR1\x15",
    "old/.keep": b"",
    "film.srt": "1\n00:00 Voil\u00e0\n".encode(),
}
VIDEO_FILES = {
    "a.mp4": b"",
    "b.mkv": b"# no video at all, but named as one",
    "c": b"\x00\x00\x00\x18ftypmp42",
    "d.upload": b"\x1a\x45\xdf\xa3",
    "e.txt": bytes([0x47, *[255] * 187, 0x47, 0]),
    "f.bin": bytes(600),
    "g": b"",
    "h.JPG": b"\xff\xd8\xff",
    "i.data": "\u00e9".encode("latin-1") * 600,
}


def test_of_a_folder_those_files_are_videos_that_may_be_one(tmp_path: Path, s3: Any) -> None:
    for name, content in (OTHER_FILES | VIDEO_FILES).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
        s3.fs.pipe_file(f"{s3.bucket}/sorted/{name}", content)
    for place in (str(tmp_path), f"{s3.bucket_uri}/sorted", f"{s3.bucket_uri}/sorted/*"):
        found = read_rows(place)
        root = place.rstrip("*/")
        names = [uri.removeprefix(f"{root}/") for uri in found.table["uri"].to_pylist()]
        assert names == sorted(VIDEO_FILES)
        others = [uri.removeprefix(f"{root}/") for uri in found.others]
        assert others == sorted(OTHER_FILES.keys() - {"old/.keep"})


def test_a_folder_of_other_files_alone_is_refused_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# None yet")
    assert "no video there, but README.md" in refusal(tmp_path)


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert read_rows(str(tmp_path)).table["uri"].to_pylist() == [str(tmp_path / "pipe")]


def test_many_duplicates_are_counted(write: Any) -> None:
    rows = "".join(f"/{n},{n}\n/{n}b,{n}\n" for n in range(13))
    message = refusal(write("m.csv", "uri,video_id\n" + rows))
    assert "row 20: video_id '9' of '/9b' is that of row 19" in message
    assert "'10'" not in message
    assert message.endswith("and 3 more")


def test_equal_uris_with_ids_of_their_own_are_two_videos(write: Any) -> None:
    assert read_manifest(write("m.csv", "uri,video_id\n/x,1\n/x,2\n")).num_rows == 2


def test_names_the_report_uses_are_refused(write: Any) -> None:
    path = write("m.csv", "uri,video_id,score,mos\n/x,1,2,3\n")
    assert "['score']" in refusal(path, reserved_columns={"score", "uri", "video_id", "other"})
    assert "['uri']" in refusal(path, uri_column="mos")
    assert "'video_id'" in refusal(path, uri_column="video_id")


def test_allowed_schemes_are_the_callers_choice(write: Any) -> None:
    path = write("m.csv", "uri\nhttp://host/a.mp4\n")
    assert read_manifest(path, allow_schemes={"http"}).num_rows == 1
    assert "'http'" in refusal(path)
    assert "'file'" in refusal(write("n.csv", "uri\na.mp4\n"), allow_schemes={"s3"})
    assert frozenset({"file", "s3", "gs", "az", "https"}) == DEFAULT_ALLOW_SCHEMES


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_scandir = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real_scandir(path)

    closed = tmp_path / "closed"
    closed.mkdir()
    (tmp_path / "a.mp4").touch()
    monkeypatch.setattr(os, "scandir", scandir)  # a closed folder, also for root
    assert f"{closed}" in refusal(closed)
    # Below another it is a row, which fails and is seen.
    assert read_manifest(str(tmp_path))["uri"].to_pylist() == [f"{tmp_path}/a.mp4", str(closed)]
    assert list(walk_videos(str(tmp_path), others=[], num_uris=9)) == [[f"{tmp_path}/a.mp4", str(closed)]]


def test_real_videos_are_listed(videos: dict[str, Path]) -> None:
    folder = videos["bikes_h264.mp4"].parent
    assert set(read_manifest(str(folder))["uri"].to_pylist()) == {str(path) for path in videos.values()}
    assert videos["empty.mp4"].stat().st_size == 0
