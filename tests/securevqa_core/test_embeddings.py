"""Embeddings are exactly what the head saw while it scored, pooled as asked, finite or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from securevqa_core import zoo
from securevqa_core.embeddings import EmbeddingConfig, EmbeddingReader, embedding_dims
from securevqa_core.errors import ConfigurationError, ScoreError
from securevqa_core.models.fusion import MapHead, PaperFusionHead, ReleasedFusionHead

INTRA, INTER, CLIPS, DRAWS, SEGMENTS = 6, 4, 2, 2, 3
ALL = ("intra", "inter", "fused")


class Fused(torch.nn.Module):
    """A real head, and nothing else: the branches' features are the input."""

    def __init__(self, kind: type[PaperFusionHead] | type[ReleasedFusionHead]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.vqa_head = kind(intra_dim=INTRA, inter_dim=INTER, dropout=0.5)
        self.eval()


def features() -> tuple[torch.Tensor, torch.Tensor]:
    """(draws, clips, c, t, h, w) of the intra branch, (draws, segments, c) of the inter branch."""
    rng = torch.Generator().manual_seed(1)
    intra = torch.randn(DRAWS, CLIPS, INTRA, SEGMENTS, 2, 2, generator=rng)
    return intra, torch.randn(DRAWS, SEGMENTS, INTER, generator=rng)


def read(model: Any, config: EmbeddingConfig) -> dict[Any, NDArray[Any]]:
    """Score every clip of every draw, as the scoring stage does, and take the embeddings."""
    reader = EmbeddingReader(model)
    intra, inter = features()
    for _ in range(2):  # the second video must hold nothing of the first
        reader.start()
        with torch.inference_mode():
            for draw in range(DRAWS):
                for clip in range(CLIPS):
                    model.vqa_head(intra[draw, clip][None], inter[draw][None])
    return reader.take(num_draws=DRAWS, config=config)


def fused_by_hand(head: Any, f: torch.Tensor, e: torch.Tensor) -> NDArray[Any]:
    """Eqs. 11-14 for one clip, position by position: (c, t, h, w), (t, c) -> the mean of (t, c)."""
    rows = []
    for position in range(SEGMENTS):
        intra, inter = f[:, position].mean(dim=(1, 2)), e[position]
        if isinstance(head, PaperFusionHead):
            rows.append(torch.cat([intra + head.inter_to_intra(inter), inter + head.intra_to_inter(intra)]))
        else:
            block = head.Embeddings_fusion
            mixed = block.shffleconv.weight.flatten(1) @ torch.cat([intra, inter]) + block.shffleconv.bias
            column = mixed[None, :, None, None, None]
            z1, z2 = column[:, :INTRA], column[:, INTRA:]
            rows.append(torch.cat([z1 + block.Intra(z2), z2 + block.Inter(z1)], dim=1).flatten())
    return torch.stack(rows).mean(dim=0).detach().numpy()


@pytest.mark.parametrize("kind", [PaperFusionHead, ReleasedFusionHead])
def test_each_feature_is_what_the_head_was_given(kind: Any) -> None:
    model = Fused(kind)
    intra, inter = features()
    found = read(model, EmbeddingConfig(features=ALL, pool="clip"))
    assert {name: values.shape for name, values in found.items()} == {
        "intra": (DRAWS * CLIPS, INTRA),
        "inter": (DRAWS * SEGMENTS, INTER),
        "fused": (DRAWS * CLIPS, INTRA + INTER),
    }
    np.testing.assert_allclose(found["intra"], intra.mean(dim=(3, 4, 5)).flatten(0, 1), atol=1e-6)
    np.testing.assert_array_equal(found["inter"], inter.flatten(0, 1))
    by_hand = [
        fused_by_hand(model.vqa_head, intra[draw, clip], inter[draw])
        for draw in range(DRAWS)
        for clip in range(CLIPS)
    ]
    np.testing.assert_allclose(found["fused"], by_hand, atol=1e-6)


def test_pooling_is_the_mean_over_clips_or_segments_and_draws() -> None:
    clips = read(Fused(PaperFusionHead), EmbeddingConfig(features=ALL, pool="clip"))
    pooled = read(Fused(PaperFusionHead), EmbeddingConfig(features=ALL))
    for name, values in clips.items():
        assert pooled[name].dtype == np.float32
        np.testing.assert_allclose(pooled[name], values.mean(axis=0), atol=1e-6)


def test_half_precision_is_the_rounded_value() -> None:
    whole = read(Fused(PaperFusionHead), EmbeddingConfig(features=("fused",)))["fused"]
    half = read(Fused(PaperFusionHead), EmbeddingConfig(features=("fused",), dtype="float16"))["fused"]
    np.testing.assert_array_equal(half, whole.astype(np.float16))


@pytest.mark.parametrize(("value", "dtype"), [(1e5, "float16"), (float("nan"), "float32")])
def test_what_cannot_be_written_as_a_finite_number_is_refused(value: float, dtype: Any) -> None:
    model = Fused(PaperFusionHead)
    reader = EmbeddingReader(model)
    with torch.inference_mode():
        model.vqa_head(torch.full((1, INTRA, 2, 1, 1), value), torch.zeros(1, 2, INTER))
    with pytest.raises(ScoreError, match=f"intra must be finite as {dtype}") as caught:
        reader.take(num_draws=1, config=EmbeddingConfig(features=("intra",), dtype=dtype))
    assert caught.value.code == "score_not_finite"


@pytest.mark.parametrize("name", ["secure-vqa-compact", "fast-vqa-m"])
def test_lengths_are_those_that_a_model_of_the_zoo_gives(name: str) -> None:
    model: Any = zoo.build(name)
    dims = embedding_dims(model)
    head = model.vqa_head
    if isinstance(head, MapHead):
        assert dims == {"intra": head.fc_hid.in_channels}
    else:
        assert dims["intra"] + dims["inter"] == dims["fused"] == head.fc_hid.in_features


def test_a_model_with_one_branch_has_its_embedding_alone() -> None:
    model = torch.nn.Module()
    model.vqa_head = MapHead(intra_dim=INTRA, dropout=0.0)
    reader = EmbeddingReader(model)
    f = torch.ones(1, INTRA, 2, 1, 1)
    model.vqa_head(f)
    found = reader.take(num_draws=1, config=EmbeddingConfig(features=("intra",)))
    np.testing.assert_array_equal(found["intra"], np.ones(INTRA, np.float32))
    with pytest.raises(ConfigurationError, match="'fused'"):
        reader.take(num_draws=1, config=EmbeddingConfig())


def test_a_model_without_a_network_has_no_embeddings() -> None:
    with pytest.raises(ConfigurationError, match="nss-svr has no embeddings"):
        embedding_dims(zoo.build("nss-svr"), name="nss-svr")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"features": ()}, r"\(\)"),
        ({"features": ("intra", "intra")}, "intra"),
        ({"features": ("outer",)}, "'outer'"),
        ({"pool": "max"}, "'max'"),
        ({"dtype": "int8"}, "'int8'"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        EmbeddingConfig(**settings)
