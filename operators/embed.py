"""Owns the last stage of an extraction: the score as ever, and the embeddings it was made of beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from operators.model import FusedScore, ModelSetup
from operators.schema import OUTCOME, Row, row_table, rows_of
from operators.stage import run_stage
from operators.telemetry import TelemetrySetup
from securevqa_core.embeddings import EmbeddingConfig, EmbeddingReader, Feature
from securevqa_core.scoring import Thresholds
from securevqa_core.types import SamplingConfig

__all__ = ["ScoreAndEmbed", "embedding_fields"]

_MEANINGS: dict[Feature, str] = {
    "intra": "mean of the intra backbone's map over space and time",
    "inter": "features of the inter backbone",
    "fused": "both branches fused, as the head's first layer sees them",
}


def embedding_fields(
    config: EmbeddingConfig, dims: dict[Feature, int], *, sampling: SamplingConfig, num_draws: int
) -> list[pa.Field[Any]]:
    """Return the columns that an extraction adds to its rows: fixed-size lists, one a feature.

    Args:
        config: which features; all are in `dims`.
        dims: length of each.
        sampling: clips and segments of a draw.
        num_draws: of a video.
    """
    value = pa.float16() if config.dtype == "float16" else pa.float32()
    fields = []
    for feature in config.features:
        kind: pa.DataType = pa.list_(value, dims[feature])
        if config.pool == "clip":
            of_draw = sampling.num_segments if feature == "inter" else sampling.num_clips
            kind = pa.list_(kind, num_draws * of_draw)
        meaning = f"{_MEANINGS[feature]}; {config.pool} of {num_draws} draws"
        fields.append(pa.field(feature, kind, metadata={"description": meaning, "unit": "features"}))
    return fields


class ScoreAndEmbed(FusedScore):
    """fragments, features -> score, spread, verdict and embeddings."""

    def __init__(
        self,
        setup: ModelSetup,
        *,
        provenance: Row,
        thresholds: Thresholds,
        telemetry: TelemetrySetup,
        embeddings: EmbeddingConfig,
        fields: list[pa.Field[Any]],
    ) -> None:
        super().__init__(setup, provenance=provenance, thresholds=thresholds, telemetry=telemetry)
        self._config = embeddings
        self._schema = pa.schema([*OUTCOME, *fields])
        self._reader = EmbeddingReader(self._model)

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """Yield one row of `OUTCOME` with the embeddings for every row of `FEATURED`."""
        for outcome in run_stage(rows_of(table), self._score_and_embed, stage="score", schema=self._schema):
            for row in rows_of(outcome):
                yield row_table(self._finish(row), self._schema)
        self._telemetry.flush()

    def _score_and_embed(self, row: Row) -> Row:
        self._reader.start()
        (scored,) = self._scores([row])
        num_draws = len(scored["clip_scores"]) // self._setup.sampling.num_clips
        vectors = self._reader.take(num_draws=num_draws, config=self._config)
        return scored | {feature: list(values) for feature, values in vectors.items()}
