"""A card says what a checkpoint came to and what it is for, and its weights are as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from cli import call

from securevqa_core import weights

MODEL = "secure-vqa-compact"


def results(checkpoint_id: str) -> dict[str, Any]:
    """What `evaluate` writes, of a checkpoint and another, as far as a card needs it."""
    one = {
        "overall": {"srcc": {"value": 0.8, "low": 0.7, "high": 0.9}},
        "ladders": None,
        "sd_over_draws": {"mean": 1.2},
        "num_draws": 4,
        "groups": {"family": {}},
    }
    return {
        "rows": {"compared": 1086},
        "where": ["split=test"],
        "label": {"column": "label"},
        "bootstrap": {"cluster": "group"},
        "models": [{"checkpoint_id": "another", **one}, {"checkpoint_id": checkpoint_id, **one}],
    }


def places(folder: Path) -> tuple[Path, Path, Path]:
    return folder / "evaluation.json", folder / "notes.toml", folder / "out.safetensors"


def describe(output: Path, evaluation: Path, *options: str, model: str = MODEL) -> int:
    return call("weights", "describe", model, "-o", str(output), "--evaluation", str(evaluation), *options)


def test_the_card_holds_results_and_notes_and_the_weights_are_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation, notes, output = places(tmp_path)
    evaluation.write_text(json.dumps(results(weights.default(MODEL).checkpoint_id)))
    notes.write_text('limits = "few sources"')
    assert describe(output, evaluation, "--notes", str(notes)) == 0
    before, after = weights.default(MODEL), weights.read(output)
    assert after.checkpoint_id in capsys.readouterr().out.replace("\n", "")
    assert (after.calibration, after.status) == (before.calibration, before.status)
    assert all(torch.equal(after.tensors[name], value) for name, value in before.tensors.items())
    expected = results(before.checkpoint_id)
    measured = expected.pop("models")[1]
    names = ("overall", "ladders", "sd_over_draws", "num_draws")
    assert after.card == before.card | {
        "described": before.checkpoint_id,
        "evaluation": expected | {name: measured[name] for name in names},
        "notes": {"limits": "few sources"},
    }
    assert call("weights", "verify", str(output)) == 0


def test_weights_of_16_bits_stay_so(tmp_path: Path) -> None:
    evaluation, _, output = places(tmp_path)
    evaluation.write_text(json.dumps(results(weights.default("vsfa-lite").checkpoint_id)))
    assert describe(output, evaluation, model="vsfa-lite") == 0
    shipped_bytes = weights.shipped("vsfa-lite").stat().st_size
    assert shipped_bytes < output.stat().st_size < 1.01 * shipped_bytes


@pytest.mark.parametrize(
    ("evaluation_text", "notes_text", "said"),
    [
        (json.dumps(results("secure-vqa-compact-0")), "", "got another, secure-vqa-compact-0"),
        ("{", "", "evaluation.json"),
        ("{}", "", "models"),
        ("[]", "", "evaluation.json"),
        (None, "limits = 3", "must hold text, got limits = 3"),
        (None, "a = ", "line 1"),
    ],
)
def test_what_does_not_belong_to_the_checkpoint_is_refused(
    evaluation_text: str | None,
    notes_text: str,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    evaluation, notes, output = places(tmp_path)
    evaluation.write_text(evaluation_text or json.dumps(results(weights.default(MODEL).checkpoint_id)))
    notes.write_text(notes_text)
    assert describe(output, evaluation, "--notes", str(notes)) == 2
    assert said in capsys.readouterr().err.replace("\n", " ")
    assert not output.exists()


@pytest.mark.parametrize(("name", "where"), [("secure-vqa-compact", []), ("nss-svr", ["split=test"])])
def test_what_ships_says_what_it_came_to_and_what_it_is_for(name: str, where: list[str]) -> None:
    card = weights.default(name).card
    assert card["evaluation"]["where"] == where
    low, value, high = (card["evaluation"]["overall"]["srcc"][key] for key in ("low", "value", "high"))
    assert 0.4 < low < value < high < 1
    assert {"data", "labels", "splits", "limits", "intended_use"} <= card["notes"].keys()
