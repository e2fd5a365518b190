"""Owns the stages that run a network: inter features (Eqs. 9, 10) and the fused score (Eqs. 6, 11-15)."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch

from operators.schema import FEATURED, OUTCOME, Row, pixels_of, rows_of
from operators.stage import FAILED, SCORED, run_stage
from operators.telemetry import Telemetry, TelemetrySetup
from securevqa_core import weights
from securevqa_core.scoring import (
    Precision,
    Thresholds,
    inter_features,
    raw_scores,
    summarise,
    verdict,
)
from securevqa_core.types import SamplingConfig

__all__ = ["FusedScore", "InterFeature", "ModelSetup"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSetup:
    """What a model actor is built from."""

    checkpoint: ray.ObjectRef[weights.Checkpoint]
    sampling: SamplingConfig
    precision: Precision
    device: str  # torch's name


class _ModelStage:
    def __init__(self, setup: ModelSetup) -> None:
        torch.set_num_threads(1)  # more would make the last bits of a score depend on the machine
        self._setup = setup
        self._device = torch.device(setup.device)
        self._checkpoint: weights.Checkpoint = ray.get(setup.checkpoint)
        self._model: Any = weights.build(self._checkpoint).to(self._device)


class InterFeature(_ModelStage):
    """frames, segments -> features: the fast pathway on every segment of every draw."""

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """Yield one row of `FEATURED` for every row of `FRAGMENTED`."""
        return run_stage(rows_of(table), self._features, stage="inter", schema=FEATURED)

    def _features(self, row: Row) -> Row:
        sampling = self._setup.sampling
        if not sampling.num_segments:
            return {}
        if sampling.has_statistics:  # which are the features, taken as the video was decoded
            statistics = pixels_of(row, "statistics", np.float32, 1, 1, -1)
            return {"features": statistics.repeat(len(row["inter_seeds"]), axis=0)}
        started = time.perf_counter()
        side = sampling.segment_side
        features = inter_features(
            self._model.inter,
            pixels_of(row, "frames", np.uint8, -1, side, side, 3),
            pixels_of(row, "segments", np.int64, sampling.num_segments, sampling.segment_frames),
            row["inter_seeds"],
            sampling=sampling,
            device=self._device,
            precision=self._setup.precision,
        )
        return {"features": features, "model_seconds": time.perf_counter() - started}


class FusedScore(_ModelStage):
    """fragments, features -> score, spread and verdict; the last stage before the rows are written."""

    def __init__(
        self, setup: ModelSetup, *, provenance: Row, thresholds: Thresholds, telemetry: TelemetrySetup
    ) -> None:
        super().__init__(setup)
        self._provenance = provenance
        self._thresholds = thresholds
        self._telemetry = Telemetry(telemetry)

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """Yield one row of `OUTCOME` for every row of `FEATURED`."""
        outcomes = run_stage(rows_of(table), self._score, stage="score", schema=OUTCOME)
        rows = [self._finish(row) for outcome in outcomes for row in rows_of(outcome)]
        self._telemetry.flush()
        yield pa.Table.from_pylist(rows, schema=OUTCOME)

    def _score(self, row: Row) -> Row:
        started = time.perf_counter()
        sampling = self._setup.sampling
        side = sampling.fragment_side
        clips = (sampling.num_clips, sampling.clip_frames, side, side, 3)
        fragments = pixels_of(row, "fragments", np.uint8, -1, *clips)
        features = None
        if sampling.num_segments:
            per_draw = (len(fragments), sampling.num_segments)
            features = pixels_of(row, "features", np.float32, -1).reshape(*per_draw, -1)
        raw = raw_scores(
            self._model, fragments, features, device=self._device, precision=self._setup.precision
        )
        seconds = (row["model_seconds"] or 0.0) + time.perf_counter() - started
        return asdict(summarise(raw, self._checkpoint.calibration)) | {
            "status": SCORED,
            "model_seconds": seconds,
        }

    def _finish(self, row: Row) -> Row:
        """Add what every row has, scored or not, and tell of it."""
        lower = None if row["status"] == FAILED else row["score_lower"]
        status = self._provenance["checkpoint_status"]
        judged = verdict(
            lower,
            checkpoint_status=status,
            thresholds=self._thresholds,
            warnings=row["decode_warnings"],
        )
        now = datetime.datetime.now(datetime.UTC)
        finished = row | self._provenance | {"verdict": judged, "scored_at": now}
        self._telemetry.tell(finished)
        return finished
