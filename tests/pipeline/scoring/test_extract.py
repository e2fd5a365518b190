"""An extraction: the rows of a scoring run with embeddings beside them, read by tools that do not know us."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli import call, read_json, securevqa
from runs import make_run

from operators.embed import embedding_fields
from operators.schema import REPORT
from pipeline.pages.close_up import look_closely
from pipeline.runs.report import write_report
from pipeline.runs.rundir import RunDirectory
from securevqa_core import weights, zoo
from securevqa_core.embeddings import EmbeddingConfig, Feature, embedding_dims
from securevqa_core.randomness import Key

NAME = zoo.DEFAULT_MODEL
DRAWS = 2
PROBE = Path(__file__).parents[3] / "examples" / "probe.py"


@pytest.fixture(scope="module")
def run(videos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished extraction of two videos and a file that is none."""
    folder = tmp_path_factory.mktemp("extract")
    names = ("carphone_h264.mkv", "text.mp4", "carphone_vp9.webm")
    lines = [f"{videos[name]},{number}" for number, name in enumerate(names)]
    (folder / "manifest.csv").write_text("\n".join(["uri,mos", *lines]) + "\n")
    options = ("--features", "intra,inter,fused", "--pool", "clip", "--dtype", "float16")
    where = ("--output", str(folder / "run"), "--seed", "0", "--draws", str(DRAWS))
    securevqa("extract", str(folder / "manifest.csv"), *where, *options)
    return folder / "run"


@pytest.fixture(scope="module")
def shapes() -> dict[str, tuple[int, int]]:
    """Vectors and their length, by feature."""
    sampling, dims = zoo.spec(NAME).sampling, embedding_dims(zoo.build(NAME))
    counts = {"intra": sampling.num_clips, "inter": sampling.num_segments, "fused": sampling.num_clips}
    return {name: (DRAWS * counts[name], dims[name]) for name in dims}  # type: ignore[index]


@pytest.mark.ray
def test_rows_are_those_of_scoring_and_failures_have_no_embedding(
    run: Path, shapes: dict[str, tuple[int, int]]
) -> None:
    report = pq.read_table(run / "report")
    assert report.column_names == [*REPORT.names, "intra", "inter", "fused", "mos"]
    for name, (count, length) in shapes.items():
        assert str(report.schema.field(name).type).count("fixed_size_list") == 2
        assert report.schema.field(name).metadata[b"description"]
        rows = report[name].to_pylist()
        assert rows[1] is None
        assert [np.shape(rows[index]) for index in (0, 2)] == [(count, length)] * 2
        assert np.isfinite(np.array([rows[0], rows[2]], dtype=float)).all()
    rows = report.to_pylist()
    assert [row["error_code"] for row in rows] == [None, "not_a_video", None]
    assert rows[0]["score"] is not None
    assert rows[0]["fused"] != rows[2]["fused"]
    assert read_json(str(run / "run.json"))["config"]["embeddings"]["pool"] == "clip"


@pytest.mark.ray
def test_a_close_look_shows_what_the_score_was_made_of(run: Path, videos: dict[str, Path]) -> None:
    checkpoint = weights.default(NAME)
    path = videos["carphone_h264.mkv"]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    key = Key.public(0)
    close = look_closely(
        "v",
        str(path),
        content_sha256=digest,
        checkpoint=checkpoint,
        key=key,
        key_id=key.key_id,
        num_draws=DRAWS,
    )
    clips = pq.read_table(run / "report")["clip_scores"][0].as_py()
    moments, pooled = (
        np.mean([checkpoint.calibration.to_raw(one) for one in scores]) for scores in (close.scores, clips)
    )
    assert moments == pytest.approx(pooled, abs=1e-4)


@pytest.mark.ray
def test_an_extraction_that_is_finished_extracts_nothing_again(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--features", "intra,inter,fused", "--pool", "clip", "--dtype", "float16")
    where = ("--output", str(run), "--seed", "0", "--draws", str(DRAWS))
    assert call("extract", str(run.parent / "manifest.csv"), *where, *options) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.ray
def test_polars_and_duckdb_read_what_pyarrow_reads(run: Path, shapes: dict[str, tuple[int, int]]) -> None:
    expected = pq.read_table(run / "report")
    files = f"{run}/report/*.parquet"
    for name, (count, length) in shapes.items():
        values = np.array(expected[name].drop_null().to_pylist(), dtype=np.float32)
        series = pl.read_parquet(files)[name]
        assert series.dtype == pl.Array(pl.Float16, (count, length))
        assert series.null_count() == 1
        np.testing.assert_array_equal(series.drop_nulls().to_numpy().astype(np.float32), values)
        rows = duckdb.sql(f"select {name} from '{files}' where {name} is not null order by mos").fetchall()
        np.testing.assert_array_equal(np.array([row[0] for row in rows], np.float32), values)


def test_the_columns_are_declared_for_every_pooling(shapes: dict[str, tuple[int, int]]) -> None:
    spec = zoo.spec(NAME)
    dims: dict[Feature, int] = {"intra": 3, "fused": 5}
    config = EmbeddingConfig(features=("fused", "intra"))
    mean = embedding_fields(config, dims, sampling=spec.sampling, num_draws=2)
    assert [(one.name, one.type) for one in mean] == [
        ("fused", pa.list_(pa.float32(), 5)),
        ("intra", pa.list_(pa.float32(), 3)),
    ]
    config = EmbeddingConfig(features=("intra",), pool="clip", dtype="float16")
    (clip,) = embedding_fields(config, dims, sampling=spec.sampling, num_draws=2)
    assert clip.type == pa.list_(pa.list_(pa.float16(), 3), 2 * spec.sampling.num_clips)


def test_a_report_of_large_rows_is_written_in_more_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.runs.report.BYTES_PER_FILE", 100)
    directory = RunDirectory(str(tmp_path), more_columns=[pa.field("fused", pa.list_(pa.float16(), 20))])
    manifest = pa.table({name: list("abcde") for name in ("row_key", "video_id", "uri")})
    summary = write_report(directory, manifest, provenance={})
    assert (summary.rows, len(summary.files)) == (5, 3)
    assert pq.read_table(tmp_path / "report")["fused"].null_count == 5


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--features", "intra,outer"), "outer"),
        (("--features", "fused", "--model", "fast-vqa-m"), "got 'fused'"),
        (("--features", "intra", "--model", "nss-svr"), "nss-svr"),
        (("--pool", "max"), "max"),
        (("--dtype", "int8"), "int8"),
    ],
)
def test_a_wrong_call_exits_2_and_names_the_value(
    options: tuple[str, ...], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.csv").write_text("uri\na.mp4\n")
    where = ("--output", str(tmp_path / "run"), "--seed", "0")
    assert call("extract", str(tmp_path / "m.csv"), *where, *options) == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_manifest_column_called_as_a_feature_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.csv").write_text("uri,fused\na.mp4,1\n")
    assert call("extract", str(tmp_path / "m.csv"), "--output", str(tmp_path / "run"), "--seed", "0") == 2
    assert "fused" in capsys.readouterr().err


def test_the_example_probe_learns_what_an_embedding_holds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 8))
    rows: list[dict[str, Any]] = [
        {"video_id": str(number), "score": 50.0, "fused": vector.tolist(), "mos": str(vector[:3].sum())}
        for number, vector in enumerate(vectors)
    ]
    make_run(str(tmp_path), [*rows, {"video_id": "failed", "error_code": "not_a_video"}])
    command = [sys.executable, str(PROBE), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("60 videos, 8 features, 5 folds: SRCC 0.9")
