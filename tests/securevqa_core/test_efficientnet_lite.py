"""EfficientNet-Lite0 has the published layout and computes what its published weights were trained in."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from lite import LITE_BLOCKS, lite_weights
from torch import Tensor, nn

from securevqa_core.models.efficientnet_lite import EfficientNetLite
from securevqa_core.scoring import normalise

pytestmark = pytest.mark.usefixtures("one_thread")

PUBLISHED = lite_weights(5)


@pytest.fixture(scope="module")
def model() -> EfficientNetLite:
    made = EfficientNetLite().eval()
    made.load_state_dict({key: value for key, value in PUBLISHED.items() if not key.startswith("_fc.")})
    return made


def _pixels(*shape: int) -> Tensor:
    """Return pictures (k, h, w, 3) of noise that is smooth enough to leave no map empty."""
    coarse = torch.rand(shape[0], 3, 5, 5, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, shape[1:], mode="bilinear").mul(255).round().byte().permute(0, 2, 3, 1)


def _convolved(x: Tensor, name: str, norm: str, stride: int = 1) -> Tensor:
    """Convolve as TensorFlow says of SAME: windows cover all, odd padding is longer below and right."""
    weight = PUBLISHED[f"{name}.weight"].double()
    side = weight.shape[-1]
    rows, columns = (-(-size // stride) for size in x.shape[2:])
    wide = F.pad(x, (side, side, side, side))
    above, left = (
        max((places - 1) * stride + side - size, 0) // 2
        for places, size in zip((rows, columns), x.shape[2:], strict=True)
    )
    wide = wide[:, :, side - above :, side - left :]
    groups = x.shape[1] if weight.shape[1] == 1 else 1
    made = F.conv2d(wide, weight, stride=stride, groups=groups)[:, :, :rows, :columns]
    mean, var, gain, shift = (
        PUBLISHED[f"{norm}.{part}"].double().view(-1, 1, 1)
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (made - mean) / (var + 0.001).sqrt() * gain + shift


def _map_by_hand(pixels: Tensor) -> Tensor:
    """Return the last map of pictures (k, h, w, 3), layer by layer from the published names."""
    x = (pixels.permute(0, 3, 1, 2).double() - 127) / 128
    x = _convolved(x, "_conv_stem", "_bn0", 2).clamp(0, 6)
    for number, (source, _, target, _, stride) in enumerate(LITE_BLOCKS):
        block, made = f"_blocks.{number}.", x
        if number:
            made = _convolved(made, f"{block}_expand_conv", f"{block}_bn0").clamp(0, 6)
        made = _convolved(made, f"{block}_depthwise_conv", f"{block}_bn1", stride).clamp(0, 6)
        made = _convolved(made, f"{block}_project_conv", f"{block}_bn2")
        x = x + made if (stride, source) == (1, target) else made
    return _convolved(x, "_conv_head", "_bn1").clamp(0, 6)


def test_names_and_size_are_those_of_the_published_file(model: EfficientNetLite) -> None:
    assert len(PUBLISHED) == 296
    shapes = {key: value.shape for key, value in PUBLISHED.items() if not key.startswith("_fc.")}
    assert {key: value.shape for key, value in model.state_dict().items()} == shapes
    # 4,652,008 parameters were published, with a classifier of 1000.
    assert sum(one.numel() for one in model.parameters()) == 4_652_008 - 1281 * 1000


@pytest.mark.parametrize("shape", [(2, 64, 64), (1, 75, 97)], ids=["of whole places", "odd"])
def test_maps_are_those_of_every_layer_by_hand(model: EfficientNetLite, shape: tuple[int, ...]) -> None:
    pixels = _pixels(*shape)
    with torch.inference_mode():
        found = model(normalise(pixels[None])[0].transpose(0, 1)).double()
    expected = _map_by_hand(pixels)
    assert found.shape == (shape[0], 1280, -(-shape[1] // 32), -(-shape[2] // 32))
    assert (expected > 0).double().mean() > 0.2
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_pixels_are_what_the_weights_expect(model: EfficientNetLite) -> None:
    seen: list[Tensor] = []
    handle = model._conv_stem.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    levels = torch.tensor([0, 127, 255], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 32, 32, 3)
    with torch.inference_mode():
        model(normalise(levels[None])[0].transpose(0, 1))
    handle.remove()
    expected = torch.tensor([-127 / 128, 0, 1]).view(3, 1, 1, 1).expand(3, 3, 32, 32)
    torch.testing.assert_close(seen[0], expected, atol=1e-5, rtol=0)


def test_untrained_signals_neither_grow_nor_fade() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        untrained = EfficientNetLite().eval()
    assert isinstance(untrained, nn.Module)
    with torch.inference_mode():
        made = untrained(normalise(_pixels(1, 96, 96)[None])[0].transpose(0, 1))
    assert 0.05 < made.std().item() < 3
