"""What S-CNN makes of fragments: of each one alone, hardly of a guardian map, and with gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from securevqa_core import zoo
from securevqa_core.errors import ConfigurationError
from securevqa_core.guardian import add_guardian_map
from securevqa_core.models.scnn import Distortions
from securevqa_core.scoring import normalise

SIDE = 4 * 56


@pytest.fixture(scope="module")
def distortions() -> Distortions:
    module = Distortions(grid_size=4)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # as large as trained ones: PyTorch's start shrinks a picture to nothing
        for layer in module.scnn.features:
            if isinstance(layer, torch.nn.Conv2d):
                fan = layer.weight[0].numel()
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * (2 / fan) ** 0.5)
                layer.bias.zero_()
    return module.eval()


def pixels(seed: int = 0) -> np.ndarray:
    smooth = np.random.default_rng(seed).integers(0, 256, size=(1, 4, 28, 28, 3), dtype=np.uint8)
    return smooth.repeat(8, axis=2).repeat(8, axis=3)


@torch.no_grad()
def features(module: Distortions, frames: np.ndarray) -> Tensor:
    return module(normalise(torch.from_numpy(frames)))


def test_every_fragment_of_every_second_frame_has_features_of_its_own(distortions: Distortions) -> None:
    frames = pixels()
    base = features(distortions, frames)
    assert base.shape == (1, Distortions.out_dim, 2, 4, 4)
    other = frames.copy()
    other[0, 2, 56:112, 168:224] ^= 128  # the second frame that is seen, second row, last column
    other[0, 1] ^= 128  # a frame that is not seen
    changed = (features(distortions, other) != base).any(dim=1)[0]
    assert changed.nonzero().tolist() == [[1, 1, 3]]


def test_a_guardian_map_is_smaller_to_it_than_to_s_cnn(distortions: Distortions) -> None:
    frames = pixels()
    guarded = add_guardian_map(frames, np.random.default_rng(1))

    @torch.no_grad()
    def unsmoothed(frames: np.ndarray) -> Tensor:
        fragments = normalise(torch.from_numpy(frames))[0].transpose(0, 1)[:, :, :56, :56]
        maps = distortions.scnn(fragments).flatten(2)
        return torch.cat([maps.mean(-1), maps.std(-1, correction=0)], dim=1)

    smoothed = float((features(distortions, guarded) - features(distortions, frames)).abs().mean())
    assert smoothed < float((unsmoothed(guarded) - unsmoothed(frames)).abs().mean()) / 2


def test_a_picture_of_one_colour_has_finite_features_and_gradients(distortions: Distortions) -> None:
    x = torch.zeros(1, 3, 2, SIDE, SIDE, requires_grad=True)
    distortions(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_fragments_that_are_no_grid_are_refused(distortions: Distortions) -> None:
    with pytest.raises(ConfigurationError, match="4 s, 4 s"):
        distortions(torch.zeros(1, 3, 2, 222, 222))


def test_the_model_sees_statistics_and_distortions_and_its_stem_can_be_computed_once() -> None:
    model = zoo.build("secure-vqa-scnn")
    backbone = model.fragments_backbone
    x = normalise(torch.from_numpy(pixels()))
    with torch.no_grad():
        whole = model.intra(x)
        assert whole.shape == (1, 96, 2, 4, 4)
        torch.testing.assert_close(backbone.from_statistics(backbone.statistics(x)), whole)
