"""Finished runs are compared with labels on the same rows, and every row that is left out is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli import call, read_json
from PIL import Image
from runs import make_run
from s3server import S3Server
from scipy import stats

from pipeline.commands import terminal
from pipeline.evaluation.compare import compare
from pipeline.evaluation.scored import read_scored
from pipeline.manifests.labelled import EvaluationSettings
from pipeline.runs.lock import locked
from pipeline.runs.rundir import RunDirectory
from securevqa_core.errors import ConfigurationError, ManifestError, UndefinedError

RNG = np.random.default_rng(17)
LABELS = RNG.uniform(5, 95, size=60)
GOOD = np.clip(LABELS + RNG.normal(0, 8, size=60), 0, 100)
POOR = np.clip(LABELS + RNG.normal(0, 40, size=60), 0, 100)


def rows(scores: np.ndarray, **columns: Any) -> list[dict[str, Any]]:
    """Twelve sources of five clips, a ladder each."""
    return [
        {
            "video_id": f"v{index:02}",
            "score": float(score),
            "mos": float(LABELS[index]),
            "family": "x264" if index % 2 else "blur",
            "source": f"s{index // 5}",
        }
        | columns
        for index, score in enumerate(scores)
    ]


def evaluated(tmp_path: Path, runs: dict[str, list[dict[str, Any]]], **settings: Any) -> dict[str, Any]:
    chosen = EvaluationSettings(**({"num_resamples": 100} | settings))
    scored = [
        read_scored(name, make_run(str(tmp_path / name), content), chosen) for name, content in runs.items()
    ]
    return compare(scored, chosen).record


def test_measures_are_those_of_all_rows_and_lie_in_their_intervals(tmp_path: Path) -> None:
    record = evaluated(tmp_path, {"good": rows(GOOD)}, cluster="source")
    (model,) = record["models"]
    overall = model["overall"]
    assert overall["srcc"]["value"] == pytest.approx(stats.spearmanr(GOOD, LABELS).statistic)
    assert overall["krcc"]["value"] == pytest.approx(stats.kendalltau(GOOD, LABELS).statistic)
    assert overall["plcc"]["value"] == pytest.approx(stats.pearsonr(GOOD, LABELS).statistic)
    assert overall["plcc_fitted"]["value"] >= overall["plcc"]["value"] - 1e-6
    assert 5 < overall["rmse_fitted"]["value"] < 11
    for name in ("srcc", "krcc", "plcc", "plcc_fitted", "rmse_fitted"):
        assert overall[name]["low"] < overall[name]["value"] < overall[name]["high"]
    assert record["rows"] == {
        "total": 60,
        "compared": 60,
        "failed": 0,
        "pending": 0,
        "without_label": 0,
        "not_in_every_run": 0,
    }
    assert (record["bootstrap"]["cluster"], record["bootstrap"]["num_clusters"]) == ("source", 12)
    assert (model["checkpoint_status"], model["num_draws"], model["sd_over_draws"]) == ("trained", 1, None)


def test_groups_are_measured_on_their_own_rows(tmp_path: Path) -> None:
    (model,) = evaluated(tmp_path, {"good": rows(GOOD)}, groups=("family",))["models"]
    assert model["groups"]["family"].keys() == {"blur", "x264"}
    odd = model["groups"]["family"]["x264"]
    assert odd["num_rows"] == 30
    assert odd["srcc"]["value"] == pytest.approx(stats.spearmanr(GOOD[1::2], LABELS[1::2]).statistic)


def test_a_group_too_small_is_undefined_and_says_so(tmp_path: Path) -> None:
    content = rows(GOOD)
    content[0]["family"] = content[1]["family"] = None
    (model,) = evaluated(tmp_path, {"good": content}, groups=("family",))["models"]
    small = model["groups"]["family"]["(none)"]
    assert small["srcc"] == {
        "value": None,
        "low": None,
        "high": None,
        "undefined": "SRCC needs at least 3 points, got 2",
    }
    assert small["curve"] is None


def test_ladders_are_measured_inside(tmp_path: Path) -> None:
    content = rows(GOOD)
    content[7]["source"] = None
    (model,) = evaluated(tmp_path, {"good": content}, ladder="source")["models"]
    members = [[i for i in range(s * 5, s * 5 + 5) if i != 7] for s in range(12)]
    taus = [stats.kendalltau(GOOD[m], LABELS[m]).statistic for m in members]
    assert model["ladders"]["num_ladders"] == 12
    assert model["ladders"]["mean_tau"]["value"] == pytest.approx(np.mean(taus))
    assert model["ladders"]["mean_tau"]["low"] < np.mean(taus) <= model["ladders"]["mean_tau"]["high"]
    none = evaluated(tmp_path / "b", {"good": rows(GOOD)}, ladder="video_id")["models"][0]["ladders"]
    assert none["mean_tau"]["value"] is None
    assert none["left_out"]["short"] == 60


def test_ladders_of_a_group_are_measured_apart(tmp_path: Path) -> None:
    (model,) = evaluated(tmp_path, {"good": rows(GOOD)}, ladder="source", groups=("family",))["models"]
    of_blur = [[i for i in range(s * 5, s * 5 + 5) if i % 2 == 0] for s in range(12)]
    taus = [stats.kendalltau(GOOD[m], LABELS[m]).statistic for m in of_blur if len(m) > 2]
    found = model["groups"]["family"]["blur"]["ladders"]
    assert (found["num_ladders"], found["left_out"]["short"]) == (len(taus), 12 - len(taus))
    assert found["mean_tau"]["value"] == pytest.approx(np.mean(taus))


def test_runs_are_compared_on_the_rows_that_all_of_them_scored(tmp_path: Path) -> None:
    good, poor = rows(GOOD), rows(POOR)
    good[0] |= {"score": None, "error_code": "decode_failed"}
    poor[1] |= {"score": None, "error_code": "fetch_denied"}
    good[2]["mos"] = poor[2]["mos"] = None
    record = evaluated(tmp_path, {"good": good, "poor": poor[:-1]})
    assert record["rows"] == {
        "total": 60,
        "compared": 56,
        "failed": 2,
        "pending": 0,
        "without_label": 1,
        "not_in_every_run": 1,
    }
    assert [model["failed"] for model in record["models"]] == [{"decode_failed": 1}, {"fetch_denied": 1}]
    kept = slice(3, 59)
    for model, scores in zip(record["models"], (GOOD, POOR), strict=True):
        expected = stats.spearmanr(scores[kept], LABELS[kept]).statistic
        assert model["overall"]["srcc"]["value"] == pytest.approx(expected)
    (difference,) = record["differences"]
    assert (difference["name"], difference["minus"]) == ("good", "poor")
    assert difference["srcc"]["value"] == pytest.approx(
        record["models"][0]["overall"]["srcc"]["value"] - record["models"][1]["overall"]["srcc"]["value"]
    )
    assert difference["srcc"]["low"] > 0


def test_the_same_run_twice_differs_by_nothing(tmp_path: Path) -> None:
    record = evaluated(tmp_path, {"one": rows(GOOD), "other": rows(GOOD)})
    assert record["differences"][0]["srcc"] == {"value": 0, "low": 0, "high": 0}


def test_spread_over_draws_is_the_mean_sd(tmp_path: Path) -> None:
    content = rows(GOOD)
    for index, row in enumerate(content):
        row["score_sd"] = 1.0 + index % 2
    (model,) = evaluated(tmp_path, {"good": content})["models"]
    assert (model["sd_over_draws"]["mean"], model["sd_over_draws"]["largest"]) == (1.5, 2.0)


def test_only_rows_that_were_asked_for_count(tmp_path: Path) -> None:
    record = evaluated(tmp_path, {"good": rows(GOOD)}, where=("family=blur", "source=s1"))
    assert record["rows"]["total"] == 2
    assert record["where"] == ["family=blur", "source=s1"]


@pytest.mark.slow
def test_labels_are_mapped_from_their_range(tmp_path: Path) -> None:
    content = [row | {"mos": 1 + row["mos"] / 25} for row in rows(GOOD)]
    path = tmp_path / "five"
    make_run(str(path), content)
    options = ("--label-range", "1", "5", "--resamples", "100")
    assert call("evaluate", "--run", str(path), "-o", str(tmp_path / "e"), *options) == 0
    five = read_json(str(tmp_path / "e" / "evaluation.json"))["models"][0]["overall"]
    hundred = evaluated(tmp_path, {"good": rows(GOOD)})["models"][0]["overall"]
    assert five["rmse_fitted"]["value"] == pytest.approx(hundred["rmse_fitted"]["value"], rel=1e-4)


def test_what_cannot_be_compared_is_refused_by_its_reason(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no column 'codek', only"):
        evaluated(tmp_path, {"a": rows(GOOD)}, groups=("codek",))
    with pytest.raises(ManifestError, match="no row is left where family=av1"):
        evaluated(tmp_path, {"b": rows(GOOD)}, where=("family=av1",))
    with pytest.raises(ManifestError, match=r"'c' and 'd' must agree .* 'v00' has .* and 50\.0"):
        evaluated(tmp_path, {"c": rows(GOOD), "d": rows(GOOD, mos=50.0)})
    failed = [row | {"score": None, "error_code": "no_frames"} for row in rows(GOOD)]
    with pytest.raises(UndefinedError, match="no labelled row that every run scored, of 60"):
        evaluated(tmp_path, {"e": failed})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_resamples": 99}, "resamples must be >= 100, got 99"),
        ({"seed": -1}, "resample_seed must be >= 0, got -1"),
        ({"where": ("split",)}, "where must be COLUMN=VALUE, got 'split'"),
    ],
)
def test_settings_out_of_range_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        EvaluationSettings(**settings)


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path)
    server: S3Server = request.getfixturevalue("s3")
    return f"{server.bucket_uri}/{tmp_path.name}"


@pytest.mark.slow
def test_finished_runs_are_evaluated_where_they_lie(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = rows(POOR)
    broken[4] |= {"score": None, "error_code": "decode_timeout"}
    make_run(f"{place}/good", rows(GOOD))
    make_run(f"{place}/other/good", broken, checkpoint_status="untrained")
    output = f"{place}/evaluation"
    runs = ("--run", f"{place}/good", "--run", f"{place}/other/good")
    options = ("--group", "family", "--ladder", "source", "--cluster", "source", "--resamples", "100")
    assert call("evaluate", *runs, "--output", output, *options) == 0
    record = read_json(f"{output}/evaluation.json")
    assert [model["name"] for model in record["models"]] == ["good", "good-2"]
    printed = capsys.readouterr().out
    assert "59 of 60 rows compared; left out: 1 failed, 0 without label, 0 not in every run" in printed
    assert "good-2: not scored: 1 decode_timeout" in printed
    assert "good-2: checkpoint_status = untrained" in printed
    assert "good: mean Kendall tau inside 12 ladders 0." in printed
    assert "SRCC of good minus good-2: 0." in printed
    assert "x264" in printed
    assert f"{record['models'][0]['overall']['srcc']['value']:.3f}" in printed


def test_what_no_run_has_begun_yet_has_not_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = rows(GOOD)
    for one in content[:11]:
        one["score"] = None
    content[11] |= {"score": None, "error_code": "no_frames"}
    make_run(str(tmp_path / "first"), content)
    run = ("--run", str(tmp_path / "first"), "-o", str(tmp_path / "out"), "--resamples", "100")
    assert call("evaluate", *run) == 0
    assert "48 of 60 rows compared; left out: 1 failed, 11 pending, 0 without" in capsys.readouterr().out
    counts = read_json(str(tmp_path / "out" / "evaluation.json"))["rows"]
    assert (counts["failed"], counts["pending"]) == (1, 11)


def test_names_break_at_hyphens_at_most_in_80_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models stood there as checkpoi/nt and secure-v/qa-compa/ct."""
    names = ("secure-vqa-compact", "checkpoint")
    monkeypatch.setattr(terminal.console, "width", 80)
    for name in names:
        make_run(str(tmp_path / name), rows(GOOD))
    runs = [argument for name in names for argument in ("--run", str(tmp_path / name))]
    given = ("-o", str(tmp_path / "out"), "--group", "family", "--resamples", "100")
    assert call("evaluate", *runs, *given) == 0
    table = capsys.readouterr().out.partition("SRCC of ")[0].splitlines()
    assert max(map(len, table)) <= 80
    words = {word for line in table for word in line.split()}
    for piece in {piece for name in names for piece in name.split("-")} | {"family", "x264"}:
        assert any(piece in word for word in words), piece


def test_what_has_no_value_or_no_interval_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(str(tmp_path / "good"), rows(GOOD))
    few = ("--where", "source=s1", "--group", "family", "--resamples", "100")
    assert call("evaluate", "--run", str(tmp_path / "good"), "-o", str(tmp_path / "out"), *few) == 0
    printed = capsys.readouterr().out
    assert "undefined: no value; none: no interval; evaluation.json says why of each" in printed
    whole = ("--run", str(tmp_path / "good"), "-o", str(tmp_path / "out"), "--resamples", "100")
    assert call("evaluate", *whole) == 0
    assert "none: no interval" not in capsys.readouterr().out


def test_clusters_of_lists_are_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(str(tmp_path / "good"), [one | {"tags": ["a"]} for one in rows(GOOD)])
    given = ("--run", str(tmp_path / "good"), "-o", str(tmp_path / "out"), "--cluster", "tags")
    assert call("evaluate", *given) == 2
    assert "'tags' is list<" in capsys.readouterr().err.replace("\n", " ")


def test_two_evaluations_do_not_write_into_one_folder_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(str(tmp_path / "good"), rows(GOOD))
    given = ("evaluate", "--run", str(tmp_path / "good"), "--output", str(tmp_path / "out"))
    (tmp_path / "out").mkdir()
    with locked(RunDirectory(str(tmp_path / "out"))):
        assert call(*given) == 1
    assert "one writer at a time" in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "out" / "evaluation.json").exists()


def test_pictures_can_be_looked_at_even_without_a_fit(tmp_path: Path) -> None:
    make_run(str(tmp_path / "good"), rows(GOOD))
    make_run(str(tmp_path / "$falling$"), rows(100 - LABELS))
    runs = ("--run", str(tmp_path / "good"), "--run", str(tmp_path / "$falling$"))
    assert call("evaluate", *runs, "-o", str(tmp_path / "out"), "--resamples", "100") == 0
    for name in ("scatter.png", "residuals.png"):
        with Image.open(tmp_path / "out" / name) as picture:
            picture.load()
            assert picture.width > 1.5 * picture.height > 600
            assert len(picture.convert("RGB").getcolors(1 << 20)) > 50
    record = read_json(str(tmp_path / "out" / "evaluation.json"))
    assert "does not rise" in record["models"][1]["overall"]["plcc_fitted"]["undefined"]


def manifest(folder: Path, text: str = "uri,mos\na.mp4,50\n") -> str:
    (folder / "m.csv").write_text(text)
    return str(folder / "m.csv")


@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        (lambda _folder: [], 2, "LABELLED_MANIFEST must be given"),
        (lambda folder: ["--run", str(folder), "--model", "fast-vqa"], 2, "LABELLED_MANIFEST must be given"),
        (lambda folder: ["m.csv", "--run", str(folder)], 2, "labels 'm.csv' cannot be read"),
        (lambda folder: ["--run", str(folder / "absent")], 2, "no run.json"),
        (lambda folder: ["--run", str(folder), "--draws", "4"], 2, "--draws is of scoring"),
        (lambda folder: [manifest(folder), "--model", "vmaf"], 2, "'vmaf'"),
        (
            lambda folder: [manifest(folder, "uri,mos\na.mp4,500\n")],
            2,
            "500, which no usual scale holds",
        ),
        (
            lambda folder: [manifest(folder), "--label-range", "0", "40"],
            2,
            "a.mp4': column 'mos' must be in 0..40, got 50: --label-range LOW HIGH says",
        ),
        (lambda folder: [manifest(folder), "--group", "family"], 2, "'family'"),
        (lambda folder: [manifest(folder), "--label-column", "dmos"], 2, "'dmos'"),
        (lambda folder: [manifest(folder), "--label-range", "5", "1"], 2, "5 and 1"),
        (lambda folder: [manifest(folder), "--labels-format", "tid"], 2, "'tid'"),
        (
            lambda folder: [manifest(folder), "--video-root", "s3://b"],
            2,
            "--video-root needs --labels-format, got 's3://b' alone",
        ),
        (
            lambda folder: [manifest(folder), "--pass-at", "30"],
            2,
            "--reject-below 40 is above --pass-at 30: what passes cannot be rejected",
        ),
        (lambda folder: [manifest(folder), "--draws", "0"], 2, "draws"),
    ],
)
def test_a_wrong_call_names_the_value(
    make: Any, code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("evaluate", *make(tmp_path), "--output", str(tmp_path / "out")) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()  # a refused call leaves nothing behind


def test_a_label_out_of_its_range_is_named_with_its_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = manifest(tmp_path)
    asked = ("evaluate", given, "--label-range", "0", "40", "--output", str(tmp_path / "out"))
    assert call(*asked) == 2
    assert f"manifest {given!r}, row 1, video " in capsys.readouterr().err
