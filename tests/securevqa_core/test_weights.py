"""Checkpoints come back as they were written, and files that are not checkpoints are refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import torch as safetensors_torch
from torch import Tensor, nn
from torchvision.models.video import swin3d_t

from securevqa_core import weights, zoo
from securevqa_core.calibration import Calibration
from securevqa_core.errors import CheckpointError, ConfigurationError

NAME = "secure-vqa-compact"
CALIBRATION = Calibration(low=5, high=95, midpoint=0.25, scale=0.125)
HEADER = {
    "format_version": 1,
    "architecture": NAME,
    "calibration": CALIBRATION.as_dict(),
    "status": "trained",
    "card": {},
}


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return zoo.build(NAME, seed=7)


def _save(path: Path, model: nn.Module, **changes: object) -> str:
    fields = {"architecture": NAME, "calibration": CALIBRATION, "status": "trained", "card": {"srcc": 0.5}}
    return weights.save(path, model, **(fields | changes))


def _file(header: object, tensors: dict[str, Tensor] | None = None) -> bytes:
    return safetensors_torch.save(
        tensors or {"x": torch.zeros(1)}, metadata={"securevqa": json.dumps(header)}
    )


def _same(model: nn.Module, tensors: dict[str, Tensor]) -> bool:
    state = model.state_dict()
    return state.keys() == tensors.keys() and all(torch.equal(state[key], tensors[key]) for key in state)


def test_round_trip(tmp_path: Path, model: nn.Module) -> None:
    path = tmp_path / "model.safetensors"
    checkpoint_id = _save(path, model, card={"srcc": 0.5, "data": ["a", "b"]})
    for source in (path, str(path), path.read_bytes()):
        checkpoint = weights.read(source, architecture=NAME)
        assert checkpoint.checkpoint_id == checkpoint_id
        assert (checkpoint.architecture, checkpoint.status) == (NAME, "trained")
        assert checkpoint.calibration == CALIBRATION
        assert checkpoint.card == {"srcc": 0.5, "data": ["a", "b"]}
        rebuilt = weights.build(checkpoint)
        assert _same(rebuilt, model.state_dict())
        assert not any(module.training for module in rebuilt.modules())
    assert list(tmp_path.iterdir()) == [path]


def test_id_follows_the_content(tmp_path: Path, model: nn.Module) -> None:
    ids = [_save(tmp_path / f"{i}.safetensors", model, card={"run": run}) for i, run in enumerate((1, 1, 2))]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].startswith(f"{NAME}-")
    assert len(ids[0]) == len(NAME) + 17


def test_seeded_is_the_zoos_untrained_model() -> None:
    checkpoint, other = weights.seeded(NAME), weights.seeded(NAME, seed=1)
    assert checkpoint.status == "untrained"
    assert checkpoint.checkpoint_id.startswith(f"{NAME}-seed0-")
    assert checkpoint.checkpoint_id == weights.seeded(NAME).checkpoint_id
    assert other.checkpoint_id.startswith(f"{NAME}-seed1-")
    assert checkpoint.checkpoint_id[-16:] != other.checkpoint_id[-16:]
    assert _same(weights.build(checkpoint), zoo.build(NAME).state_dict())


def test_all_published_parts_load_at_once(reference) -> None:
    model = zoo.build("secure-vqa-released")
    published = reference.weights("fragments_backbone", "vqa_head", "slowfast_r50")
    published["fragments_backbone.layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(392, 392)
    wrapped = {"state_dict": {f"module.{key}": value for key, value in published.items()}}
    assert weights.load_published(model, wrapped) == ("intra", "inter", "head")
    state = model.state_dict()
    assert torch.equal(state["vqa_head.fc_hid.weight"], published["vqa_head.fc_hid.weight"])
    key = "multipathway_blocks.1.res_blocks.0.branch2.conv_a.weight"
    assert torch.equal(
        state["inter_backbone.blocks.2.res_blocks.0.branch2.conv_a.weight"], published[f"blocks.2.{key}"]
    )


def test_torchvision_starts_both_biases_from_the_relative_one() -> None:
    model = zoo.build("fast-vqa")
    published = swin3d_t().state_dict()
    assert weights.load_published(model, published) == ("intra",)
    block = model.fragments_backbone.layers[2].blocks[5]
    table = published["features.4.5.attn.relative_position_bias_table"]
    assert torch.equal(block.attn.relative_position_bias_table, table)
    assert torch.equal(block.attn.fragment_position_bias_table, table)
    assert torch.equal(block.mlp.fc2.weight, published["features.4.5.mlp.3.weight"])
    reduction = model.fragments_backbone.layers[1].downsample.reduction
    assert torch.equal(reduction.weight, published["features.3.reduction.weight"])


def test_kinetics_names_start_both_biases_from_the_relative_one(reference) -> None:
    model = zoo.build("secure-vqa")
    published = {
        key.replace("fragments_backbone", "backbone"): value
        for key, value in reference.weights("fragments_backbone").items()
        if "fragment_position" not in key
    }
    published["cls_head.fc_cls.weight"] = torch.zeros(400, 768)
    assert weights.load_published(model, {"state_dict": published}) == ("intra",)
    attention = model.fragments_backbone.layers[0].blocks[1].attn
    assert torch.equal(attention.fragment_position_bias_table, attention.relative_position_bias_table)


def _drop(published: dict[str, Tensor]) -> None:
    for key in [key for key in published if ".layers.0." in key]:
        del published[key]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop, r"missing keys: fragments_backbone\.layers\.0\.blocks\.0\.norm1\.weight.* and 23 more"),
        (lambda p: p.update(stray=torch.zeros(1)), "unexpected keys: stray"),
        (lambda p: p.update({"vqa_head.extra": torch.zeros(1)}), r"unexpected keys: vqa_head\.extra"),
        (
            lambda p: p.update({"vqa_head.fc_hid.bias": torch.zeros(63)}),
            r"fc_hid\.bias is \(63,\), not \(64,\)",
        ),
        (
            lambda p: p.update({"vqa_head.fc_hid.bias": torch.full((64,), torch.nan)}),
            r"vqa_head\.fc_hid\.bias",
        ),
        (lambda p: p.update({"vqa_head.fc_last.bias": 0.5}), r"missing keys: vqa_head\.fc_last\.bias"),
        (lambda p: p.update({"blocks.0.multipathway_blocks.1.conv.weight": torch.zeros(1)}), r"blocks\.0"),
        (lambda p: p.clear(), "missing keys: fragments_backbone.* more"),
    ],
)
def test_published_weights_that_do_not_fit_are_named_and_change_nothing(
    reference, change, message: str
) -> None:
    model = zoo.build("fast-vqa")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    published = reference.weights("fragments_backbone", "fast_vqa_head")
    change(published)
    with pytest.raises(CheckpointError, match=message):
        weights.load_published(model, published)
    assert _same(model, before)


def test_missing_fast_pathway_keys_have_their_published_names(reference) -> None:
    published = reference.weights("slowfast_r50")
    del published["blocks.0.multipathway_blocks.1.conv.weight"]
    with pytest.raises(
        CheckpointError, match=r"missing keys: blocks\.0\.multipathway_blocks\.1\.conv\.weight$"
    ):
        weights.load_published(zoo.build("secure-vqa"), published)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a safetensors file"),
        (b"\x80\x04 a pickle, perhaps", "not a safetensors file"),
        (safetensors_torch.save({"x": torch.zeros(1)}), "no 'securevqa' header"),
        (safetensors_torch.save({"x": torch.zeros(1)}, metadata={"securevqa": "{oops"}), "not JSON: '{oops'"),
        (_file(["list"]), "format_version None"),
        (_file(HEADER | {"format_version": 99}), "format_version 99"),
        (_file(HEADER | {"architecture": "secure-vqb"}), "'secure-vqb'"),
        (_file(HEADER | {"architecture": None}), "architecture None"),
        (_file(HEADER | {"status": "perfect"}), "'perfect'"),
        (_file(HEADER | {"calibration": 3}), "calibration 3"),
        (_file(HEADER | {"calibration": {"midpoint": 0, "scale": -1}}), "got -1.0"),
        (_file(HEADER | {"card": "none"}), "card 'none'"),
        (_file(HEADER, {"spoiled": torch.tensor([1.0, torch.inf])}), "not finite: spoiled"),
    ],
)
def test_files_that_are_no_checkpoint_are_refused_with_their_path(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "odd.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        weights.read(path)
    assert str(path) in str(caught.value)
    with pytest.raises(CheckpointError, match="<bytes>"):
        weights.read(content)


@pytest.mark.parametrize("is_half", [False, True])
def test_bytes_that_changed_since_a_file_was_written_are_noticed(
    tmp_path: Path, model: nn.Module, is_half: bool
) -> None:
    path = tmp_path / "model.safetensors"
    _save(path, model, is_half=is_half)
    data = path.read_bytes()
    assert weights.read(data).has_digest
    begins = 8 + int.from_bytes(data[:8], "little")
    for start in (begins, (begins + len(data)) // 2, len(data) - 4000):
        zeroed = data[:start] + bytes(4000) + data[start + 4000 :]
        with pytest.raises(CheckpointError, match="m is damaged: its digest is of other weights"):
            weights.read(zeroed, name="m")
    for before, after in ((b"0.125", b"0.126"), (b"trained", b"imports"), (b"srcc", b"plcc")):
        assert data.count(before) == 1
        with pytest.raises(CheckpointError, match=r"damaged|has status 'imports'"):
            weights.read(data.replace(before, after))


def test_files_from_before_there_were_digests_are_still_read(model: nn.Module) -> None:
    tensors = dict(zoo.build(NAME, seed=7).state_dict())
    checkpoint = weights.read(_file(HEADER, tensors))
    assert not checkpoint.has_digest
    assert _same(model, checkpoint.tensors)
    with pytest.raises(CheckpointError, match="damaged"):
        weights.read(_file(HEADER | {"format_version": 2}, tensors))


def test_everything_that_ships_has_its_digest() -> None:
    paths = list(weights.SHIPPED.glob("*.safetensors"))
    assert len(paths) >= 4
    assert [path.name for path in paths if not weights.read(path).has_digest] == []


def test_cut_off_file_is_refused(tmp_path: Path, model: nn.Module) -> None:
    path = tmp_path / "cut.safetensors"
    _save(path, model)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"cut\.safetensors is not a safetensors file"):
        weights.read(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.safetensors cannot be read"):
        weights.read(tmp_path / "nowhere.safetensors")


def test_other_architecture_than_asked_is_refused(tmp_path: Path, model: nn.Module) -> None:
    path = tmp_path / "model.safetensors"
    _save(path, model)
    with pytest.raises(
        CheckpointError, match=rf"model\.safetensors holds a {NAME}, and a fast-vqa was asked for"
    ):
        weights.read(path, architecture="fast-vqa")


def test_weights_move_to_an_architecture_of_the_same_parts_alone() -> None:
    shipped = weights.default("secure-vqa-compact")
    other = weights.moved(shipped, "secure-vqa-compact-guardian-4")
    assert (other.architecture, other.checkpoint_id) == (
        "secure-vqa-compact-guardian-4",
        shipped.checkpoint_id,
    )
    assert all(torch.equal(other.tensors[name], value) for name, value in shipped.tensors.items())
    with pytest.raises(CheckpointError, match="does not fit the model; unexpected keys"):
        weights.moved(shipped, "secure-vqa-compact-concatenation")
    with pytest.raises(ConfigurationError, match="model must be one of"):
        weights.moved(shipped, "no-such-model")


def test_bounds_are_a_part_of_the_weights_and_change_nothing_else(tmp_path: Path) -> None:
    before = weights.seeded(NAME)
    _save(tmp_path / "bounded", weights.build(weights.bounded(before, intra=2.5)), card={})
    after = weights.read(tmp_path / "bounded").tensors
    changed = [key for key, value in before.tensors.items() if not torch.equal(value, after[key])]
    assert changed == ["fragments_backbone.patch_embed.standardise.bound"]
    assert after[changed[0]] == 2.5


def test_files_from_before_there_were_bounds_have_those_of_their_architecture() -> None:
    now = weights.seeded(NAME)
    tensors = {key: value for key, value in now.tensors.items() if not key.endswith(".bound")}
    assert len(tensors) == len(now.tensors) - 2
    assert _same(weights.build(replace(now, tensors=tensors)), now.tensors)


@pytest.mark.parametrize(
    ("name", "bounds", "named"),
    [("fast-vqa-m", {"intra": 2.0}, "fast-vqa-m sees no statistics"), (NAME, {"inter": 0.0}, "inter must")],
)
def test_bounds_that_mean_nothing_are_refused(name: str, bounds: dict[str, float], named: str) -> None:
    with pytest.raises((CheckpointError, ConfigurationError), match=named):
        weights.bounded(weights.seeded(name), **bounds)


def test_weights_of_another_shape_are_not_built() -> None:
    tensors = weights.seeded(NAME).tensors | {"vqa_head.fc_last.bias": torch.zeros(2)}
    checkpoint = weights.read(_file(HEADER, tensors))
    with pytest.raises(CheckpointError, match=r"vqa_head\.fc_last\.bias is \(2,\), not \(1,\)"):
        weights.build(checkpoint)


def test_what_cannot_be_saved_is_named(tmp_path: Path, model: nn.Module) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(ConfigurationError, match="'secure-vqb'"):
        _save(path, model, architecture="secure-vqb")
    with pytest.raises(ConfigurationError, match="'perfect'"):
        _save(path, model, status="perfect")
    with pytest.raises(ConfigurationError, match="nan"):
        _save(path, model, card={"srcc": float("nan")})
    with pytest.raises(CheckpointError, match=r"a fast-vqa-m for .*norm\.weight is \(\d+,\), not \(768,\)"):
        _save(path, model, architecture="fast-vqa-m")
    with pytest.raises(CheckpointError, match="no-such-folder"):
        _save(tmp_path / "no-such-folder" / "model.safetensors", model)
    spoiled = zoo.build(NAME)
    with torch.no_grad():
        spoiled.vqa_head.fc_last.bias.fill_(torch.nan)
    with pytest.raises(CheckpointError, match=r"not finite: vqa_head\.fc_last\.bias"):
        _save(path, spoiled)
    assert list(tmp_path.iterdir()) == []
