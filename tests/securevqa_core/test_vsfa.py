"""VSFA and MDTVSFA pool as published, take published weights and score videos."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from byhand import score_by_hand
from torch import Tensor
from torchvision.models import resnet50

from securevqa_core import weights, zoo
from securevqa_core.attacks.differentiable import FrameScorer
from securevqa_core.decoding.frames import FramesRequest, read_frames
from securevqa_core.embeddings import embedding_dims
from securevqa_core.errors import CheckpointError, ConfigurationError
from securevqa_core.models.vsfa import MdtVsfa, Vsfa, frame_statistics, temporal_pooling
from securevqa_core.published import PublishedFile, assemble
from securevqa_core.randomness import fresh_draws
from securevqa_core.scoring import summarise

pytestmark = pytest.mark.usefixtures("one_thread")

PUBLISHED = json.loads((Path(__file__).parent / "reference" / "losses_seed0.json").read_text())
DRAWS = fresh_draws(np.random.default_rng(1), 2)
SMALL = replace(zoo.spec("vsfa").sampling, segment_frames=4, segment_side=64)
HEAD_SHAPES = {
    "ann.fc0.weight": (128, 4096),
    "ann.fc0.bias": (128,),
    "rnn.weight_ih_l0": (96, 128),
    "rnn.weight_hh_l0": (96, 32),
    "rnn.bias_ih_l0": (96,),
    "rnn.bias_hh_l0": (96,),
    "q.weight": (1, 32),
    "q.bias": (1,),
}
# Names that MDTVSFA's published file has for them, and for what else it holds.
MDT_NAMES = {"ann.fc0": "dimemsion_reduction", "rnn": "feature_aggregation", "q": "regression"}
MAPPING = {
    f"nlm.{number}.{name}": torch.full((1, 1) if name == "weight" else (1,), value)
    for number, name, value in ((0, "weight", 10.0), (0, "bias", -6.0), (2, "weight", 3.3), (2, "bias", 1.2))
}
OF_DATA_SETS = {"lm.K.weight": torch.ones(1, 1), "lm.K.bias": torch.zeros(1)}


@pytest.fixture(scope="module")
def resnet() -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return resnet50(weights=None).eval()


@pytest.fixture(scope="module")
def head() -> dict[str, Tensor]:
    """A published file's keys and shapes; fan-in as of trained weights."""
    rng = torch.Generator().manual_seed(8)
    return {
        key: torch.randn(shape, generator=rng) / (shape[-1] if len(shape) > 1 else 32) ** 0.5
        for key, shape in HEAD_SHAPES.items()
    }


@pytest.fixture(scope="module")
def model() -> Vsfa:
    return zoo.build("vsfa")


def _file(name: str, state_dict: dict[str, Tensor]) -> PublishedFile:
    return PublishedFile(name=name, sha256="5" * 64, size_bytes=7, state_dict=state_dict)


def _pooled_by_loops(q: list[float], tau: int, beta: float) -> list[float]:
    pooled = []
    for t in range(len(q)):
        ahead = np.array(q[t : t + tau])
        present = (ahead * np.exp(-ahead)).sum() / np.exp(-ahead).sum()
        pooled.append(beta * min(q[max(0, t - tau + 1) : t + 1]) + (1 - beta) * present)
    return pooled


def test_temporal_pooling_agrees_with_published_code(reference) -> None:
    pooled = temporal_pooling(reference.unit_input("frame_quality", (40, 1)).T)[0]
    expected = np.ravel(PUBLISHED["vsfa_temporal_pooling"])
    np.testing.assert_allclose(pooled.numpy(), expected, atol=1e-5)
    assert pooled.mean().item() == pytest.approx(PUBLISHED["vsfa_temporal_pooling_mean"], abs=1e-5)


@pytest.mark.parametrize(
    ("num_frames", "tau", "beta"), [(1, 12, 0.5), (5, 12, 0.5), (20, 1, 0.3), (20, 4, 0.9)]
)
def test_temporal_pooling_is_its_formula_at_any_length(num_frames: int, tau: int, beta: float) -> None:
    q = torch.randn(2, num_frames, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = [_pooled_by_loops(one, tau, beta) for one in q.tolist()]
    np.testing.assert_allclose(temporal_pooling(q, tau=tau, beta=beta).numpy(), expected)


def test_one_bad_frame_is_remembered_for_twelve_frames() -> None:
    q = torch.zeros(1, 40)
    q[0, 20] = -1
    remembered = temporal_pooling(q)[0] <= -0.5
    assert remembered.nonzero().flatten().tolist() == list(range(20, 32))


@pytest.mark.parametrize(
    ("settings", "message"), [({"tau": 0}, "tau must be .*, got 0"), ({"beta": 1.5}, r"beta .* and 1\.5")]
)
def test_pooling_out_of_range_is_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        temporal_pooling(torch.zeros(1, 3), **settings)


def test_statistics_are_numpys_and_undefined_for_one_place() -> None:
    maps = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    places = maps.flatten(2).numpy()
    expected = np.concatenate([places.mean(axis=2), places.std(axis=2, ddof=1)], axis=1)
    np.testing.assert_allclose(frame_statistics(maps).numpy(), expected)
    with pytest.raises(ConfigurationError, match=r"above 32 pixels, got a map of \(2, 3, 1, 1\)"):
        frame_statistics(maps[:, :, :1, :1])


def _quality_by_hand(resnet: torch.nn.Module, head: dict[str, Tensor], frames: Tensor) -> list[float]:
    """Return the quality of each of (t, 3, h, w), by torchvision's network and the GRU's equations."""
    maps: list[Tensor] = []
    handle = resnet.layer4.register_forward_hook(lambda _module, _given, made: maps.append(made))
    with torch.inference_mode():
        resnet(frames)
    handle.remove()
    places = maps[0].flatten(2).double().numpy()
    features = np.concatenate([places.mean(axis=2), places.std(axis=2, ddof=1)], axis=1)
    w = {key: value.double().numpy() for key, value in head.items()}
    state, qualities = np.zeros(32), []
    for one in features @ w["ann.fc0.weight"].T + w["ann.fc0.bias"]:
        given = np.split(w["rnn.weight_ih_l0"] @ one + w["rnn.bias_ih_l0"], 3)
        kept = np.split(w["rnn.weight_hh_l0"] @ state + w["rnn.bias_hh_l0"], 3)
        reset, update = (1 / (1 + np.exp(-(given[i] + kept[i]))) for i in (0, 1))
        state = (1 - update) * np.tanh(given[2] + reset * kept[2]) + update * state
        qualities.append(float(w["q.weight"][0] @ state + w["q.bias"][0]))
    return qualities


def test_published_keys_load_and_score_as_their_equations_say(
    resnet: torch.nn.Module, head: dict[str, Tensor]
) -> None:
    files = [_file("VSFA.pt", head), _file("resnet50.pth", resnet.state_dict())]
    made = assemble(files, architecture="vsfa")
    assert made.status == "imported"
    assert [source["parts"] for source in made.card["imported_from"]] == [
        ("frame_head",),
        ("frame_backbone",),
    ]
    frames = torch.randn(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    expected = _quality_by_hand(resnet, head, frames)
    with torch.inference_mode():
        statistics = made.model.inter(frames.transpose(0, 1)[None])
        qualities = made.model.frame_head(statistics.view(1, 3, 4096))
        score = made.model(torch.zeros(1, 3, 1, 1, 1), frames.transpose(0, 1)[None, None]).mean().item()
    np.testing.assert_allclose(qualities[0].numpy(), expected, atol=1e-4)
    assert score == pytest.approx(np.mean(_pooled_by_loops(expected, 12, 0.5)), abs=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q.weight": None}, r"VSFA\.pt does not fit .*missing keys: q\.weight$"),
        ({"rnn.weight_ih_l1": torch.zeros(1)}, r"unexpected keys: rnn\.weight_ih_l1$"),
        ({"ann.fc0.bias": torch.zeros(64)}, r"shapes: ann\.fc0\.bias is \(64,\), not \(128,\)$"),
    ],
    ids=["missing", "unexpected", "of another shape"],
)
def test_a_mismatch_names_the_published_keys_and_changes_nothing(
    change: dict[str, Tensor | None], message: str, model: Vsfa, head: dict[str, Tensor]
) -> None:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    odd = {key: value for key, value in (head | change).items() if value is not None}
    with pytest.raises(CheckpointError, match=message):
        weights.load_published(model, odd, name="VSFA.pt")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_network_of_other_models_is_unexpected(resnet: torch.nn.Module) -> None:
    with pytest.raises(CheckpointError, match=r"unexpected keys: conv1\.weight, bn1\.weight"):
        weights.load_published(zoo.build("fast-vqa-m"), resnet.state_dict())


def test_mdtvsfa_without_its_mapping_is_not_imported(
    resnet: torch.nn.Module, head: dict[str, Tensor]
) -> None:
    files = [_file("VSFA.pt", head), _file("resnet50.pth", resnet.state_dict())]
    with pytest.raises(CheckpointError, match="an mdtvsfa also has score_mapping"):
        assemble(files, architecture="mdtvsfa")


def test_mdtvsfa_loads_under_its_own_names_and_a_mismatch_names_them(
    resnet: torch.nn.Module, head: dict[str, Tensor]
) -> None:
    renamed = {
        MDT_NAMES[part] + key.removeprefix(part): value
        for key, value in head.items()
        for part in MDT_NAMES
        if key.startswith(f"{part}.")
    }
    published = renamed | MAPPING | OF_DATA_SETS
    files = [_file("MDTVSFA.pt", published), _file("resnet50.pth", resnet.state_dict())]
    made = assemble(files, architecture="mdtvsfa")
    assert made.status == "imported"
    for key, value in head.items():
        assert torch.equal(made.model.get_parameter(f"frame_head.{key}"), value)
    del published["nlm.2.bias"]
    with pytest.raises(CheckpointError, match=r"missing keys: nlm\.2\.bias$"):
        weights.load_published(made.model, published)


def test_mdtvsfa_maps_the_score_of_vsfa_by_its_logistic(model: Vsfa) -> None:
    mdtvsfa, f = zoo.build("mdtvsfa"), torch.zeros(2, 0)
    assert isinstance(mdtvsfa, MdtVsfa)
    weights.load_published(mdtvsfa, MAPPING)
    e = torch.randn(2, 1, 20 * 4096, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        relative = 1 / (1 + np.exp(-model.head(f, e).mean(dim=1).numpy()))
        found = mdtvsfa.head(f, e)
    assert found.shape == (2, 1)
    np.testing.assert_allclose(found[:, 0], 1.2 + 3.3 / (1 + np.exp(-(10 * relative - 6))), rtol=1e-4)


@pytest.mark.parametrize("name", ["vsfa", "mdtvsfa"])
def test_a_file_scores_as_its_frames_do_and_alike_in_every_draw(name: str, videos: dict[str, Path]) -> None:
    path, model = videos["bikes_h264.mp4"], zoo.build(name)
    found = score_by_hand(path, model, sampling=SMALL, draws=DRAWS)
    assert found.fragments.shape == (2, 1, 1, 1, 1, 3)
    assert found.sample.segments.shape == (1, 4)
    assert found.raw.shape == (2, 1)
    assert found.raw[0] == found.raw[1]
    assert 0 < summarise(found.raw, zoo.spec(name).calibration).score < 100
    scorer = FrameScorer(model, SMALL)
    assert not scorer.is_random
    frames = read_frames(path, FramesRequest(max_frames=1000)).pixels
    assert scorer.measure(frames, DRAWS) == pytest.approx(
        found.raw, abs=0.002
    )  # FFmpeg resizes otherwise than torch


def test_statistics_are_float32_under_bfloat16(model: Vsfa) -> None:
    frames = torch.randn(1, 3, 2, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert model.inter(frames).dtype == torch.float32


def test_features_of_fragments_are_not_offered(model: Vsfa) -> None:
    with pytest.raises(ConfigurationError, match="vsfa has no embeddings"):
        embedding_dims(model, name="vsfa")
