"""A scoring run from manifest to report: real Ray, real S3, real and hostile files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli import read_json, read_report, securevqa
from media import run_ffmpeg
from s3server import S3Server

from operators.schema import REPORT

pytestmark = pytest.mark.ray

KEY = {"SECUREVQA_KEY": "an old key that nobody uses"}

# file or object name -> expected error_code, None where the file is legal and must be scored
EXPECTED: dict[str, str | None] = {
    "bikes_h264.mp4": None,
    "carphone_vp9.webm": None,
    "one_frame.mp4": None,
    "two_by_two.mp4": None,
    "odd_65x49.mp4": None,
    "a b'\"<x>.mp4": None,
    "picture.png": None,
    "front.mp4": None,  # cut short, but its index is at the front: scored with a warning
    "empty.mp4": "empty_file",
    "text.mp4": "not_a_video",
    "truncated.mp4": "not_a_video",
    "audio_only.mp4": "no_video_stream",
    "noise.mp4": "not_a_video",
    "playlist.mp4": "not_a_video",
    "script.mp4": "container_not_allowed",
    "not there.mp4": "fetch_not_found",
}


def hostile_backlog(folder: Path, videos: dict[str, Path]) -> dict[str, bytes]:
    """The content of every object of `EXPECTED` that exists."""
    run_ffmpeg("-i", str(videos["bikes_h264.mp4"]), "-frames:v", "1", str(folder / "picture.png"))
    run_ffmpeg(
        "-i", str(videos["bikes_h264.mp4"]), "-c", "copy", "-movflags", "faststart", str(folder / "front.mp4")
    )
    whole = (folder / "front.mp4").read_bytes()
    made = {
        "picture.png": (folder / "picture.png").read_bytes(),
        "front.mp4": whole[: len(whole) * 2 // 3],
        "a b'\"<x>.mp4": videos["bunny_h264.mp4"].read_bytes(),
        "noise.mp4": bytes(range(7, 256)) * 200,
        "playlist.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/hostname\n#EXT-X-ENDLIST\n",
        "script.mp4": b"ffconcat version 1.0\nfile '/etc/hostname'\n",
    }
    return made | {name: videos[name].read_bytes() for name in EXPECTED if name in videos}


@pytest.fixture(scope="module")
def backlog(s3: S3Server, videos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of a manifest on S3 whose videos lie beside it."""
    folder = tmp_path_factory.mktemp("backlog")
    for name, content in hostile_backlog(folder, videos).items():
        s3.fs.pipe_file(f"{s3.bucket}/backlog/{name}", content)
    names = list(EXPECTED)
    uris = [f"{s3.bucket_uri}/backlog/{name}" for name in names]
    table = pa.table(
        {
            "channel": [f"channel {index % 3}" for index in range(len(names) + 1)],
            "uri": [*uris, "https://127.0.0.1:1/unreachable.mp4"],
            "uploaded": pa.array(range(len(names) + 1), pa.timestamp("s")),
        }
    )
    pq.write_table(table, s3.fs.open(f"{s3.bucket}/manifest.parquet", "wb"))
    return f"{s3.bucket_uri}/manifest.parquet"


@pytest.fixture(scope="module")
def run(backlog: str, s3: S3Server) -> str:
    """The run directory of a finished run over the backlog."""
    output = f"{s3.bucket_uri}/run"
    securevqa("score", backlog, "--output", output, "--draws", "2", env=KEY)
    return output


def test_every_input_is_one_row_in_the_order_of_the_manifest(run: str, backlog: str, s3: S3Server) -> None:
    report = read_report(run)
    manifest = pq.read_table(s3.fs.open(backlog.removeprefix("s3://"), "rb"))
    assert report["uri"].to_pylist() == manifest["uri"].to_pylist()
    assert len(set(report["video_id"].to_pylist())) == manifest.num_rows


def test_every_file_has_the_outcome_its_content_deserves(run: str) -> None:
    rows = read_report(run).to_pylist()
    outcomes = {row["uri"].split("/backlog/")[-1]: row["error_code"] for row in rows}
    unreachable = {"https://127.0.0.1:1/unreachable.mp4": "fetch_unreachable"}
    assert outcomes == EXPECTED | unreachable


def test_failures_have_a_reason_and_no_score(run: str) -> None:
    for row in read_report(run).to_pylist():
        failed = row["status"] == "failed"
        assert (
            failed
            == (row["score"] is None)
            == (row["error_message"] is not None)
            == (row["stage"] is not None)
        )
        assert not failed or row["verdict"] == "review"  # a failure never publishes a video
        assert row["checkpoint_status"] == "trained"
        assert "/proc/" not in (row["error_message"] or "")


def test_scores_have_draws_clips_and_a_lower_bound(run: str) -> None:
    for row in read_report(run).to_pylist():
        if row["status"] == "scored":
            assert 0 <= row["score_lower"] <= row["score"] <= 100
            assert row["score_sd"] >= 0
            assert len(row["clip_scores"]) == 4  # two draws of two clips
            assert row["content_sha256"]
            assert row["attempts"] == 1


def test_a_short_file_is_scored_with_a_warning(run: str) -> None:
    (row,) = [row for row in read_report(run).to_pylist() if row["uri"].endswith("front.mp4")]
    assert any(warning.startswith("stream_short") for warning in row["decode_warnings"])


def test_the_report_has_the_declared_schema_and_the_manifest_s_columns(run: str) -> None:
    schema = read_report(run).schema
    assert schema.names == [*REPORT.names, "channel", "uploaded"]
    assert schema.field("uploaded").type == pa.timestamp("s") or schema.field(
        "uploaded"
    ).type == pa.timestamp("ms")
    assert schema.field("fetch_seconds").metadata[b"unit"] == b"s"
    for field in REPORT:
        assert schema.field(field.name).type == field.type


def test_run_json_counts_what_the_report_holds(run: str) -> None:
    record, report = read_json(f"{run}/run.json"), read_report(run)
    assert record["rows"] == report.num_rows
    assert record["counts"]["status"] == {"scored": 8, "failed": 9}
    assert record["slowest_stage"] in record["stage_seconds"]
    assert record["generation"] == 1
    assert KEY["SECUREVQA_KEY"] not in str(record)


def test_a_finished_run_scores_nothing_again(run: str, backlog: str) -> None:
    before = read_json(f"{run}/run.json")
    done = securevqa("score", backlog, "--output", run, "--draws", "2", env=KEY)
    assert "nothing to do" in done.stdout
    assert read_json(f"{run}/run.json") == before


def test_a_changed_file_alone_is_scored_again_and_the_old_report_kept(
    run: str, backlog: str, s3: S3Server, videos: dict[str, Path]
) -> None:
    old = read_report(run)
    changed = f"{s3.bucket}/backlog/bikes_h264.mp4"
    content = bytearray(videos["bikes_h264.mp4"].read_bytes())
    content[-1] ^= 1  # one bit, in the index's tail that no decoder reads
    s3.fs.pipe_file(changed, bytes(content))
    securevqa("score", backlog, "--output", run, "--draws", "2", env=KEY)
    record, new = read_json(f"{run}/run.json"), read_report(run)
    assert (record["generation"], record["num_scored_now"]) == (2, 1)
    assert read_report(f"{run}/generations/0001").equals(old)
    differing = [
        row["uri"] for row, other in zip(old.to_pylist(), new.to_pylist(), strict=True) if row != other
    ]
    assert differing == [f"s3://{changed}"]
    scores = [table["score"][0].as_py() for table in (old, new)]
    assert scores[0] != scores[1], "one flipped bit must change the draw"
