"""`securevqa opinions`: agreement as tables for people and a record for programs, and a fitted model."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from cli import call

from pipeline.commands.terminal import events, show
from pipeline.evaluation.opinions import _split_lines, measure_opinions
from pipeline.results import Result
from pipeline.tables import json_text
from securevqa_core import weights
from securevqa_core.opinions.agreement import SplitAgreement
from securevqa_core.opinions.tables import SHIPPED

NAMES = ["konvid-1k", "live-vqc", "youtube-ugc", "all together"]


@pytest.mark.slow
def test_people_are_told_in_tables_what_programs_get_as_one_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pq.read_table(SHIPPED)
    features, output = tmp_path / "features.parquet", tmp_path / "fitted.safetensors"
    pq.write_table(table.take(list(range(0, table.num_rows, 6))), features)  # all take minutes
    found = measure_opinions(
        "videval", features=features, num_splits=1, seed=0, output=output, notes=None, events=events
    )
    assert "random splits: 4 of 4" in capsys.readouterr().err
    record = json.loads(json_text(found.record))
    assert [one["name"] for one in record["splits"]] == NAMES
    assert len(record["cross"]) == 6
    made = weights.read(output)
    assert record["checkpoint_id"] == made.checkpoint_id
    assert made.card["opinions"]["splits"] == record["splits"]
    show(found)
    printed = capsys.readouterr().out
    for words in (*NAMES, "medians of 1 random splits", "scales aligned by", f"written: {output}"):
        assert words in printed.replace("\n", "")
    assert f"{record['splits'][3]['srcc']:.3f}" in printed


@pytest.mark.parametrize("model", ["videval", "videval-720p", "videval-480p"])
def test_the_paper_s_table_stands_beside_its_own_features_alone(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    one = SplitAgreement(name="live-vqc", num_videos=585, srcc=0.71, plcc=0.76, srcc_sd=0.04)
    show(Result(record={}, shown=_split_lines([one], 5, model=model)))
    printed = capsys.readouterr().out
    is_published = model == "videval"
    assert ("Table IV" in printed, "0.752" in printed, "0.796" in printed) == (is_published,) * 3
    assert (f"of {model}, of which the paper has none" in printed) is not is_published


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "vsfa"), "model must be one of videval, videval-720p, videval-480p, got 'vsfa'"),
        (("--splits", "0"), "splits must be in 1..10000, got 0"),
        (("--notes", "notes.toml"), "--notes are of the card of --output, got 'notes.toml' without"),
        (("--output", "x.safetensors", "--notes", "no.toml"), "notes 'no.toml' cannot be read"),
    ],
)
def test_wrong_calls_are_refused_before_any_work(
    options: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("opinions", *options) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""
