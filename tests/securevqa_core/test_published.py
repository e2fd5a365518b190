"""Every published file that people have becomes a model, and what is not weights alone is refused unread."""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import pickle
import re
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import torch as safetensors_torch
from torch import Tensor
from torchvision.models.video import swin3d_t

from securevqa_core import weights, zoo
from securevqa_core.errors import CheckpointError, ConfigurationError
from securevqa_core.published import PublishedFile, assemble, load_published, read_published

State = dict[str, Tensor]


def _file(name: str, state_dict: dict[str, Any]) -> PublishedFile:
    return PublishedFile(name=name, sha256="5" * 64, size_bytes=7, state_dict=state_dict)


def _torch_bytes(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _torch_script() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Identity()), buffer)
    return buffer.getvalue()


def _kinetics(reference) -> State:
    """The Video Swin repository's names: no fragment bias, and a classifier."""
    renamed = reference.renamed("fragments_backbone", "fragments_backbone.", "backbone.")
    kept = {key: value for key, value in renamed.items() if "fragment_position" not in key}
    return kept | {"cls_head.fc_cls.weight": torch.zeros(400, 768)}


def _dover(reference) -> State:
    technical = reference.renamed("fragments_backbone", "fragments_backbone.", "technical_backbone.")
    technical |= reference.renamed("fast_vqa_head", "vqa_head.", "technical_head.")
    return technical | reference.weights("dover_aesthetic_backbone", "dover_aesthetic_head")


WHOLE: dict[str, tuple[str, Callable[[Any], list[dict[str, Any]]]]] = {
    "FAST-VQA-B": (
        "fast-vqa",
        lambda r: [{"state_dict": r.weights("fragments_backbone", "fast_vqa_head")}],
    ),
    "FasterVQA": (
        "faster-vqa",
        lambda r: [{"state_dict": r.weights("fragments_backbone", "fast_vqa_head")}],
    ),
    "FAST-VQA-M": (
        "fast-vqa-m",
        lambda r: [{"state_dict": r.weights("fast_vqa_m_backbone", "fast_vqa_head")}],
    ),
    "DOVER": ("dover", lambda r: [_dover(r)]),
    "SecureVQA and SlowFast": (
        "secure-vqa-released",
        lambda r: [
            {"state_dict": r.weights("fragments_backbone", "vqa_head")},
            {"model_state": r.weights("slowfast_r50")},
        ],
    ),
}

PARTIAL: dict[str, tuple[str, tuple[str, ...], Callable[[Any], list[dict[str, Any]]]]] = {
    "Swin-T Kinetics and SlowFast": (
        "secure-vqa",
        ("intra", "inter"),
        lambda r: [{"state_dict": _kinetics(r)}, {"model_state": r.weights("slowfast_r50")}],
    ),
    "torchvision's swin3d_t": ("fast-vqa", ("intra",), lambda _: [swin3d_t().state_dict()]),
    "Swin-T Kinetics for DOVER": ("dover", ("technical_backbone",), lambda r: [_kinetics(r)]),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", WHOLE)
def test_whole_models_are_imported_with_the_published_mapping(reference, case: str) -> None:
    architecture, make = WHOLE[case]
    states = make(reference)
    made = assemble([_file(f"{i}.pth", state) for i, state in enumerate(states)], architecture=architecture)
    spec = zoo.spec(architecture)
    assert made.status == "imported"
    assert made.calibration == (spec.published_calibration or spec.calibration)
    assert (made.card["calibration"] == "published") == (spec.published_calibration is not None)
    assert [record["file"] for record in made.card["imported_from"]] == [
        f"{i}.pth" for i in range(len(states))
    ]
    assert made.card["imported_from"][0]["sha256"] == "5" * 64
    assert "seeded" not in made.card
    seeded = zoo.build(architecture).state_dict()
    kept = [key for key, value in made.model.state_dict().items() if torch.equal(value, seeded[key])]
    assert [key for key in kept if not key.endswith("num_batches_tracked")] == []


@pytest.mark.slow
@pytest.mark.parametrize("case", PARTIAL)
def test_parts_alone_need_leave_and_stay_untrained(reference, case: str) -> None:
    architecture, parts, make = PARTIAL[case]
    files = [_file(f"{i}.pth", state) for i, state in enumerate(make(reference))]
    with pytest.raises(
        CheckpointError, match=rf"0\.pth.* brings? .*{parts[0]}.*an? {architecture} also has .*head"
    ):
        assemble(files, architecture=architecture)
    made = assemble(files, architecture=architecture, partial=True, seed=3)
    assert made.status == "untrained"
    assert made.calibration == zoo.spec(architecture).calibration
    assert tuple(part for record in made.card["imported_from"] for part in record["parts"]) == parts
    assert made.card["seeded"]["seed"] == 3
    assert not set(made.card["seeded"]["parts"]) & set(parts)
    head = "technical_head.fc_hid.weight" if architecture == "dover" else "vqa_head.fc_hid.weight"
    seeded = zoo.build(architecture, seed=3).state_dict()
    assert torch.equal(made.model.state_dict()[head], seeded[head])


def test_a_part_comes_from_one_file(reference) -> None:
    published = reference.weights("fast_vqa_m_backbone", "fast_vqa_head")
    files = [_file("first.pth", published), _file("second.pth", published)]
    with pytest.raises(CheckpointError, match=r"first\.pth and second\.pth both bring head, intra"):
        assemble(files, architecture="fast-vqa-m")


def test_a_file_that_does_not_fit_is_named_with_its_keys(reference) -> None:
    published = reference.weights("fast_vqa_m_backbone", "fast_vqa_head") | {"stray": torch.zeros(1)}
    del published["vqa_head.fc_last.bias"]
    message = r"odd\.pth does not fit .*missing keys: vqa_head\.fc_last\.bias; unexpected keys: stray$"
    with pytest.raises(CheckpointError, match=message):
        assemble([_file("odd.pth", published)], architecture="fast-vqa-m", partial=True)
    with pytest.raises(ConfigurationError, match="'fast-vqb'"):
        assemble([_file("odd.pth", published)], architecture="fast-vqb")


@pytest.mark.parametrize(
    "odd",
    [
        torch.zeros(64, dtype=torch.complex64),
        torch.zeros(64).to_sparse(),
        torch.zeros(64, device="meta"),
    ],
    ids=["complex", "sparse", "meta"],
)
def test_tensors_that_are_not_plain_numbers_are_unexpected(reference, odd: Tensor) -> None:
    published = reference.weights("fast_vqa_head") | {"vqa_head.fc_hid.bias": odd}
    with pytest.raises(CheckpointError, match=r"unexpected keys: vqa_head\.fc_hid\.bias"):
        load_published(zoo.build("fast-vqa-m"), published)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_a_file_is_read_with_its_digest(tmp_path: Path, name: str) -> None:
    path, tensors = tmp_path / name, {"vqa_head.fc_hid.bias": torch.arange(4.0)}
    content = safetensors_torch.save(tensors) if path.suffix == ".safetensors" else _torch_bytes(tensors)
    path.write_bytes(content)
    found = read_published(path)
    assert (found.name, found.size_bytes) == (name, len(content))
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert torch.equal(found.state_dict["vqa_head.fc_hid.bias"], tensors["vqa_head.fc_hid.bias"])


def test_numpy_numbers_of_a_training_log_are_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "logged.pth"
    log = {"best": (np.float64(0.87), np.float32(0.5)), "epoch": np.int64(29)}
    torch.save({"state_dict": {"x": torch.ones(2)}, "validation_results": log}, path)
    assert torch.equal(read_published(path).state_dict["state_dict"]["x"], torch.ones(2))


class _Trap:
    def __init__(self, folder: Path) -> None:
        self._made = str(folder / "sprung")

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (self._made,)


def test_a_file_that_would_run_code_is_refused_by_name_and_runs_none(tmp_path: Path) -> None:
    path = tmp_path / "trap.pth"
    torch.save({"state_dict": {}, "log": _Trap(tmp_path)}, path)
    with pytest.raises(
        CheckpointError, match=r"trap\.pth holds more than tensors.*posix\.mkdir could run code"
    ):
        read_published(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_torch_bytes({"args": argparse.Namespace(epochs=3)}), r"argparse\.Namespace could run code"),
        (_torch_bytes(torch.zeros(3)), "must hold a state dict, got a Tensor"),
        (_torch_bytes({1: torch.zeros(3)}), "must hold a state dict, got a dict"),
        (_torch_bytes({"x": torch.zeros(3)})[:-40], "not a file of weights that torch can load"),
        (b"", "not a file of weights that torch can load"),
        (b"version https://git-lfs.github.com/spec/v1", "not a file of weights that torch can load"),
    ],
    ids=["namespace", "tensor", "numbered", "cut off", "empty", "pointer"],
)
def test_files_without_a_state_dict_are_refused_with_their_path(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "odd.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_published(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"x": 1}, protocol=4),
        pickle.dumps({"x": slice(1)}, protocol=2),
        b"\x80\x02cos\nsystem\nX\x01\x00\x00\x00lR.",
        _torch_bytes({"x": torch.nn.Linear(1, 1)}),
        _torch_script(),
        b"",
        b"\x80\x02no more",
    ],
    ids=["protocol 4", "class", "function", "module", "script", "empty", "damaged"],
)
def test_a_refused_file_never_tells_how_to_load_it_all_the_same(
    content: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "odd.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_published(path)
    told = "".join(traceback.format_exception(caught.value)) + "".join(capfd.readouterr())
    lines = "".join(line for line in told.splitlines() if "File" not in line)
    assert "re-running" not in lines.lower()
    assert not re.search(r"trust|allowlist|add_safe_globals|PyTorch|set to .?False", lines)


def test_a_part_of_an_archive_that_is_not_as_it_was_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save({"x": torch.ones(10_000)}, path)
    data = bytearray(path.read_bytes())
    data[8000:12000] = bytes(4000)
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"model\.pth is damaged: its part 'model/data/0' is not as it"):
        read_published(path)


def test_safetensors_are_refused_where_damaged_and_where_imported_already(tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    path.write_bytes(b"not safetensors")
    with pytest.raises(CheckpointError, match=r"odd\.safetensors is not a safetensors file"):
        read_published(path)
    path.write_bytes(safetensors_torch.save({"x": torch.zeros(1)}, metadata={"securevqa": "{}"}))
    with pytest.raises(CheckpointError, match=r"odd\.safetensors is a checkpoint already"):
        read_published(path)
    with pytest.raises(CheckpointError, match=r"absent\.pth cannot be read"):
        read_published(tmp_path / "absent.pth")


def test_weights_still_offers_the_loader() -> None:
    assert weights.load_published is load_published
