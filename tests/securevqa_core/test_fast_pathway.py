"""The fast pathway alone gives what the two-pathway network gives, and stays frozen."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
import torch
from torch import Tensor, nn

from securevqa_core import weights, zoo
from securevqa_core.errors import ConfigurationError
from securevqa_core.models.fast_pathway import FastPathway
from securevqa_core.models.secure_vqa import SecureVqa

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=r"`torch\.jit\.script` is deprecated")
    from pytorchvideo.models.slowfast import create_slowfast


@pytest.fixture(scope="module")
def model(reference) -> SecureVqa:
    model = zoo.build("secure-vqa")
    assert weights.load_published(model, {"model_state": reference.weights("slowfast_r50")}) == ("inter",)
    return model


def _two_pathways(slowfast: nn.Module, x: Tensor) -> Tensor:
    """Return the fast output of block 4 of the whole network, the slow pathway fed every fourth frame."""
    slow = x.index_select(2, torch.linspace(0, x.shape[2] - 1, x.shape[2] // 4).long())
    pathways = [slow, x]
    for block in slowfast.blocks[:5]:
        pathways = block(pathways)
    return pathways[1].mean(dim=(2, 3, 4))


@pytest.mark.slow
def test_agrees_with_the_published_network(reference, model: SecureVqa) -> None:
    with torch.inference_mode():
        features = model.inter(reference.unit_input("inter_clip", (1, 3, 32, 224, 224)))
    assert features.shape == (1, 256)
    assert reference.error("fast_pathway", features) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(2, 3, 32, 96, 96), (1, 3, 16, 112, 112)])
def test_equals_two_pathways_to_the_last_bit(reference, model: SecureVqa, shape: tuple[int, ...]) -> None:
    slowfast = create_slowfast().eval()
    slowfast.load_state_dict(reference.weights("slowfast_r50"), strict=False)
    x = reference.unit_input("two_pathways", shape)
    with torch.inference_mode():
        assert torch.equal(model.inter(x), _two_pathways(slowfast, x))


def test_nothing_of_the_slow_pathway_is_kept() -> None:
    assert sum(p.numel() for p in FastPathway().parameters()) < 0.52e6


def test_parameters_are_frozen_and_stay_in_eval_mode(reference) -> None:
    pathway = FastPathway().train()
    before = {key: value.clone() for key, value in pathway.state_dict().items()}
    pathway(reference.unit_input("frozen", (2, 3, 4, 32, 32)))
    assert not any(p.requires_grad for p in pathway.parameters())
    assert not any(module.training for module in pathway.modules())
    assert all(torch.equal(value, before[key]) for key, value in pathway.state_dict().items())


def test_parent_in_train_mode_leaves_it_in_eval_mode() -> None:
    model = zoo.build("secure-vqa").train()
    assert model.training
    assert not any(module.training for module in model.inter_backbone.modules())


def test_gradient_reaches_the_input(reference) -> None:
    x = reference.unit_input("gradient", (1, 3, 4, 32, 32)).requires_grad_()
    FastPathway()(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("shape", [(3, 4, 32, 32), (1, 1, 4, 32, 32), (1, 3, 0, 32, 32)])
def test_wrong_shape_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigurationError, match=str(shape).replace("(", r"\(").replace(")", r"\)")):
        FastPathway()(torch.zeros(shape))


@pytest.mark.slow
def test_import_and_build_give_no_warning() -> None:
    code = "from securevqa_core.models.fast_pathway import FastPathway; FastPathway()"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
