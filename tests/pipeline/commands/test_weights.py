"""Published weights become a checkpoint in one command, and two more say what it is and that it is sound."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from cli import call
from torch import Tensor

from pipeline.checkpoints import model_facts
from securevqa_core import weights, zoo
from securevqa_core.calibration import Calibration

ARCHITECTURE = "fast-vqa-m"  # the quickest one whose file has all parts


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    return zoo.build(ARCHITECTURE, seed=5).state_dict()


@pytest.fixture(scope="module")
def published_file(published: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "FAST_VQA_M.pth"
    torch.save({"state_dict": published}, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(published_file: Path) -> Path:
    path = published_file.with_name("fast-vqa-m.safetensors")
    assert call("weights", "import", str(published_file), "--arch", ARCHITECTURE, "-o", str(path)) == 0
    return path


@pytest.mark.slow
def test_an_import_keeps_weights_source_and_mapping(checkpoint: Path, published: dict[str, Tensor]) -> None:
    made = weights.read(checkpoint)
    assert (made.architecture, made.status) == (ARCHITECTURE, "imported")
    assert made.calibration == zoo.spec(ARCHITECTURE).published_calibration
    assert all(torch.equal(made.tensors[key], value) for key, value in published.items())
    (source,) = made.card["imported_from"]
    assert (source["file"], source["parts"]) == ("FAST_VQA_M.pth", ["intra", "head"])


@pytest.mark.slow
def test_show_says_what_it_is_to_people_and_to_programs(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = weights.read(checkpoint)
    assert call("weights", "show", str(checkpoint), "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["checkpoint_id"] == made.checkpoint_id
    assert facts["sha256"].startswith(made.checkpoint_id[-16:])
    assert facts["size_bytes"] == checkpoint.stat().st_size
    assert facts["num_weights"] == sum(value.numel() for value in made.tensors.values())
    assert facts["sampling"]["clip_frames"] == 16
    assert facts["card"] == made.card
    assert call("weights", "show", checkpoint.as_uri()) == 0
    shown = capsys.readouterr().out
    for said in (made.checkpoint_id, "imported", "0.023889644", "clip_frames", "FAST_VQA_M.pth"):
        assert said in shown


def test_show_begins_a_card_with_results_and_keeps_its_history_for_verbose(
    capsys: pytest.CaptureFixture[str],
) -> None:
    history = "what it was made from"
    assert call("weights", "show", "secure-vqa-compact") == 0
    brief = capsys.readouterr().out
    assert "card:\n  evaluation:" in brief
    assert history in brief
    assert "  mixed_from 1:" not in brief
    assert call("weights", "show", "secure-vqa-compact", "--verbose") == 0
    whole = capsys.readouterr().out
    assert brief.index("  suspicion:") < whole.index("  mixed_from 1:")
    assert history not in whole


@pytest.mark.parametrize("name", ["secure-vqa-compact", "nss-svr"])
def test_a_model_s_name_means_the_checkpoint_that_ships(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("weights", "show", name, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["architecture"], facts["status"]) == (name, "trained")
    made = weights.default(name).checkpoint_id
    assert facts["checkpoint_id"] == made
    assert facts["num_weights"] == model_facts(name)["num_weights"]
    assert call("weights", "verify", name, "--sha256", made) == 0


@pytest.mark.slow
def test_verify_compares_with_the_card_and_with_a_digest(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = weights.read(checkpoint)
    assert call("weights", "verify", str(checkpoint), "--sha256", made.checkpoint_id) == 0
    shown = capsys.readouterr().out
    assert f"{made.card['fingerprint'][0]:g}" in shown
    assert "as expected" in shown
    assert "with the card: 0.0e+00" in shown
    assert "tensors, all there, all finite, as they were written" in shown
    assert call("weights", "verify", str(checkpoint), "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["checkpoint_id"], facts["has_digest"]) == (made.checkpoint_id, True)
    assert (facts["fingerprint"], facts["difference"]) == (made.card["fingerprint"], 0.0)
    assert call("weights", "verify", str(checkpoint), "--sha256", "0" * 64) == 1
    assert "0" * 64 in capsys.readouterr().err
    assert call("weights", "verify", str(checkpoint), "--sha256", "latest") == 2
    assert "'latest'" in capsys.readouterr().err
    data = checkpoint.read_bytes()
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(data[:-5000] + bytes(4000) + data[-1000:])
    assert call("weights", "verify", str(damaged)) == 1
    assert "is damaged: its digest is of other weights" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.slow
def test_half_the_size_holds_the_weights_to_16_bits(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "half.safetensors"
    assert call("weights", "halve", str(checkpoint), "-o", str(output)) == 0
    whole, half = (weights.read(path) for path in (checkpoint, output))
    assert output.stat().st_size < 0.55 * checkpoint.stat().st_size
    assert half.card["halved"] == whole.checkpoint_id
    assert (half.status, half.calibration) == (whole.status, whole.calibration)
    for key, value in whole.tensors.items():
        assert half.tensors[key].dtype == value.dtype
        torch.testing.assert_close(half.tensors[key], value, rtol=1e-3, atol=1e-6)
    capsys.readouterr()
    assert call("weights", "verify", str(output)) == 0
    assert "0.0e+00 of the largest score apart" in capsys.readouterr().out


def test_what_was_written_is_said_in_short_and_what_shows_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "half of it.safetensors"
    assert call("weights", "halve", "nss-svr", "-o", str(output)) == 0
    shown = capsys.readouterr().out
    made, whole = weights.read(output), weights.find("nss-svr")
    size, was = (one.stat().st_size / 1e6 for one in (output, weights.shipped("nss-svr")))
    assert shown.splitlines() == [
        f"written      {output}",
        f"checkpoint   {made.checkpoint_id}, trained",
        f"size         {size:.3g} MB",
        f"changed      weights rounded to 16 bits, of {whole.checkpoint_id}, {was:.3g} MB",
        f"securevqa weights show '{output}'",
    ]


@pytest.mark.slow
def test_a_mixture_lies_on_the_line_between_two_checkpoints(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other, output = (
        weights.read(checkpoint),
        tmp_path / "other.safetensors",
        tmp_path / "out.safetensors",
    )
    model, calibration = zoo.build(ARCHITECTURE, seed=9), Calibration(low=10, midpoint=1.0, scale=2.0)
    weights.save(
        other,
        model,
        architecture=ARCHITECTURE,
        calibration=calibration,
        status="trained",
        card={"command": "securevqa train", "evaluation": {"srcc": 0.9}, "notes": {"limits": "few"}},
    )
    command = ("weights", "mix", str(checkpoint), str(other), "-o", str(output))
    assert call(*command, "--share", "0.25") == 0
    found, ends = weights.read(output), (one.calibration, calibration)
    assert found.status == one.status
    first, second = found.card["mixed_from"]
    assert (first["checkpoint_id"], first["share"]) == (one.checkpoint_id, 0.75)
    assert first["imported_from"] == one.card["imported_from"]
    made = {"checkpoint_id": weights.read(other).checkpoint_id, "share": 0.25, "command": "securevqa train"}
    assert second == made  # what the other was worth is not what the mixture is
    assert not {"evaluation", "notes"} & set(found.card)
    for name in ("low", "high", "midpoint", "scale"):
        expected = 0.75 * getattr(ends[0], name) + 0.25 * getattr(ends[1], name)
        assert getattr(found.calibration, name) == pytest.approx(expected)
    for key, value in model.state_dict().items():
        expected = 0.75 * one.tensors[key] + 0.25 * value if value.is_floating_point() else value
        torch.testing.assert_close(found.tensors[key], expected)
    capsys.readouterr()
    assert call("weights", "verify", str(output)) == 0
    output.unlink()
    assert call(*command, "--share", "1.5") == 2
    assert "share must be" in capsys.readouterr().err


@pytest.mark.slow
def test_bounds_are_written_and_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "bounded.safetensors"
    command = ("weights", "bound", "secure-vqa-compact", "-o", str(output))
    assert call(*command, "--intra", "1.5", "--inter", "1") == 0
    found, before = weights.read(output), weights.find("secure-vqa-compact")
    assert found.card["bounds"] == {"intra": 1.5, "inter": 1}
    assert found.card["bounded_from"]["checkpoint_id"] == before.checkpoint_id
    assert "evaluation" not in found.card["bounded_from"]
    lines = capsys.readouterr().out.splitlines()
    assert f"changed      bounds of {before.checkpoint_id}: intra 1.5, inter 1" in lines
    assert "changed      its scale, which needs a refit: securevqa weights calibrate" in lines
    assert call("weights", "verify", str(output)) == 0
    output.unlink()
    assert call(*command) == 2
    assert "--intra, --inter, --level-share or --quiet-levels" in capsys.readouterr().err


@pytest.mark.slow
def test_checkpoints_of_two_architectures_do_not_mix(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.safetensors"
    assert call("weights", "mix", str(checkpoint), "secure-vqa-compact", "-o", str(output)) == 1
    assert "of one architecture, got a fast-vqa-m and a secure-vqa-compact" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.slow
def test_a_part_alone_needs_partial_and_stays_untrained(
    published: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone, output = tmp_path / "backbone.pth", tmp_path / "partial.safetensors"
    part = {key: value for key, value in published.items() if key.startswith("fragments")}
    torch.save(part | {"cls_head.fc_cls.bias": torch.zeros(400)}, backbone)
    arguments = ("weights", "import", str(backbone), "--arch", ARCHITECTURE, "-o", str(output))
    assert call(*arguments) == 1
    said = capsys.readouterr().err.replace("\n", " ")
    assert "backbone.pth brings intra, and a fast-vqa-m also has head" in said
    assert "(head: the model's own), or leave them seeded and untrained, with --partial" in said
    assert not output.exists()
    assert call(*arguments, "--partial") == 0
    shown = capsys.readouterr()
    assert "every verdict is review" in shown.out
    dropped = "backbone.pth: dropped, as a fast-vqa-m has no use for them: cls_head.fc_cls.bias"
    assert dropped in shown.err.replace("\n", " ")
    assert weights.read(output).status == "untrained"


def test_a_misspelt_architecture_is_guessed(
    published_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path / "new.safetensors")
    assert call("weights", "import", str(published_file), "--arch", "vfsa", "-o", output) == 2
    assert "got 'vfsa' (did you mean 'vsfa'?)" in capsys.readouterr().err
    assert call("weights", "import", str(published_file), "--arch", "VSFA", "-o", output) == 2
    assert "got 'VSFA' (did you mean 'vsfa'?)" in capsys.readouterr().err
    assert call("score", str(published_file), "--model", "dovr", "--seed", "0") == 2
    assert "got 'dovr' (did you mean 'dover'?)" in capsys.readouterr().err


def test_what_needs_unpickling_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, output = tmp_path / "trap.pth", tmp_path / "out.safetensors"
    torch.save({"state_dict": {}, "run": tmp_path}, path)  # a path, which is an object and no tensor
    assert call("weights", "import", str(path), "--arch", ARCHITECTURE, "-o", str(output)) == 1
    complaint = capsys.readouterr().err
    assert str(path) in complaint
    assert "pathlib" in complaint
    assert not output.exists()


def test_the_published_file_is_never_overwritten(
    published_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = published_file.stat()
    same = str(published_file.parent / "." / published_file.name)
    assert call("weights", "import", str(published_file), "--arch", ARCHITECTURE, "-o", same) == 2
    assert same in capsys.readouterr().err
    assert published_file.stat() == before


@pytest.mark.parametrize("command", ["show", "verify"])
def test_no_checkpoint_ends_the_command(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("weights", command, str(tmp_path / "absent.safetensors")) == 2
    assert "absent.safetensors" in capsys.readouterr().err
    assert call("weights", command, "nss-svm") == 2
    assert "checkpoint 'nss-svm' cannot be read" in (said := capsys.readouterr().err)
    assert "did you mean 'nss-svr'?" in " ".join(said.split())
    assert call("weights", command, "nope") == 2
    shipped = ", ".join(weights.shipped_names())
    assert f"no model of that name ships, those that do: {shipped}" in capsys.readouterr().err
    (tmp_path / "damaged.safetensors").write_bytes(b"damaged")
    assert call("weights", command, str(tmp_path / "damaged.safetensors")) == 1
    assert "damaged.safetensors is not a safetensors file" in capsys.readouterr().err


def test_a_card_cannot_speak_to_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rude.safetensors"
    weights.save(
        path,
        zoo.build("secure-vqa-compact"),
        architecture="secure-vqa-compact",
        calibration=zoo.spec("secure-vqa-compact").calibration,
        status="untrained",
        card={"data\x1b[2J": {"by": ["\u202e\x07"]}, "runs": [{"seed": 1}, "[red]two"], "notes": {}},
    )
    assert call("weights", "show", str(path)) == 0
    shown = capsys.readouterr().out
    assert all(char.isprintable() or char == "\n" for char in shown)
    for said in (r"data\u001b[2J", r"\u202e\u0007", "runs 1", "[red]two", "seed"):
        assert said in shown
