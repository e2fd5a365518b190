"""Files that VSFA's authors, and those of its relatives, published become models: same keys, same shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor

from securevqa_core import zoo
from securevqa_core.errors import CheckpointError
from securevqa_core.models.published_keys import parts_of
from securevqa_core.models.scnn import Scnn
from securevqa_core.published import Assembled, assemble, read_published

SHAPES = json.loads((Path(__file__).parent / "reference" / "published_shapes.json").read_text())
LM = "lm.{0}.weight, lm.{0}.bias"
SCALES = ", ".join(LM.format(name) for name in "KCLN")
# file -> architecture, the parts it brings, the keys that are dropped
FILES: dict[str, tuple[str, tuple[str, ...], str]] = {
    "VSFA.pt": ("vsfa", ("frame_head",), "ann.fc.weight, ann.fc.bias"),
    "MDTVSFA.pt": ("mdtvsfa", ("frame_head", "score_mapping"), SCALES),
    "bvqa2022_model_C": ("bvqa-2022", ("frame_head", "score_mapping"), LM.format("C")),
    "bvqa2022_model_KCLN": ("bvqa-2022", ("frame_head", "score_mapping"), SCALES),
    "bvqa2022_scnn.pkl": ("vsfa-scnn", ("frame_backbone",), "projection.0.weight"),
}
HEAD = {
    "dimemsion_reduction": "frame_head.ann.fc0",
    "feature_aggregation": "frame_head.rnn",
    "regression": "frame_head.q",
    "nlm": "score_mapping",
    "ann": "frame_head.ann",
    "rnn": "frame_head.rnn",
    "q": "frame_head.q",
    "features": "frame_backbone.features",
}

pytestmark = pytest.mark.usefixtures("one_thread")


def published(name: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(len(name))
    return {key: torch.rand(shape, generator=generator) for key, shape in SHAPES[name].items()}


def imported(folder: Path, name: str, state: dict[str, Tensor], *, partial: bool = True) -> Assembled:
    torch.save(state, folder / name, _use_new_zipfile_serialization="bvqa2022_model" in name)
    return assemble([read_published(folder / name)], architecture=FILES[name][0], partial=partial)


def test_every_published_file_is_tried() -> None:
    assert FILES.keys() == SHAPES.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_published_file_brings_its_part_and_what_is_dropped_is_named(name: str, tmp_path: Path) -> None:
    _, parts, unused = FILES[name]
    state = published(name)
    made = imported(tmp_path, name, state)
    (source,) = made.card["imported_from"]  # type: ignore[misc]  # of a card, anything JSON can hold
    assert source["parts"] == parts
    assert source["unused"].startswith(unused)
    assert made.status == "untrained"
    assert sorted([*made.card["seeded"]["parts"], *parts]) == sorted(parts_of(made.model))  # type: ignore[index]
    ours = made.model.state_dict()
    used = 0
    for key, value in state.items():
        first, _, rest = key.removeprefix("module.").partition(".")
        if first in HEAD and not rest.startswith("fc."):
            used += 1
            assert torch.equal(ours[f"{HEAD[first]}.{rest}"], value), key
    assert used >= 8
    backbone = "head|frame_head" if "scnn" in name else "frame_backbone"
    with pytest.raises(CheckpointError, match=rf"also has .*({backbone})"):
        imported(tmp_path, name, state, partial=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("VSFA.pt", {"ann.fd.weight": torch.zeros(1)}, r"unexpected keys: .*ann\.fd\.weight"),
        ("VSFA.pt", {"ann.fc0.weight": torch.zeros(128, 4608)}, r"ann\.fc0\.weight is \(128, 4608\), not"),
        (
            "bvqa2022_scnn.pkl",
            {"module.features.18.weight": torch.zeros(1)},
            r"unexpected keys: .*features\.18",
        ),
    ],
)
def test_a_key_that_is_neither_used_nor_known_refuses_the_file(
    name: str, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        imported(tmp_path, name, published(name) | change)


@pytest.mark.slow
def test_bvqa_2022_ends_with_the_published_mapping_of_relative_quality() -> None:
    model: Any = zoo.build("bvqa-2022")
    plain: Any = zoo.build("vsfa-temporal")
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("score_mapping")})
    with torch.no_grad():
        for value, number in zip(model.score_mapping.parameters(), (2.0, -1.0, 3.0, 0.5), strict=True):
            value.fill_(number)
        f, e = torch.zeros(2, 0), torch.rand(2, 3, 4 * 4608)
        relative = plain.head(f, e).mean(dim=1, keepdim=True).sigmoid()
        assert torch.allclose(model.head(f, e), 3 * (2 * relative - 1).sigmoid() + 0.5)


def test_s_cnn_is_nine_convolutions_each_with_a_rectifier() -> None:
    network = Scnn().eval()
    x = torch.rand(2, 3, 50, 64)
    expected = x
    for number, stride in zip(range(0, 18, 2), (1, 2, 1, 2, 1, 2, 1, 1, 2), strict=True):
        layer: Any = network.features[number]
        expected = F.conv2d(expected, layer.weight, layer.bias, stride=stride, padding=1).relu()
    with torch.no_grad():
        assert torch.equal(network(x), expected)
    assert expected.shape == (2, 128, 4, 4)
    assert sum(value.numel() for value in network.parameters()) == sum(
        torch.Size(shape).numel() for key, shape in SHAPES["bvqa2022_scnn.pkl"].items() if "features" in key
    )
