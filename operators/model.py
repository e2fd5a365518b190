"""Owns the stages that run a network: inter features (Eqs. 9, 10) and the fused score (Eqs. 6, 11-15)."""

from __future__ import annotations

import contextlib
import datetime
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch
from numpy.typing import NDArray

from operators.schema import FEATURED, OUTCOME, ROW_KEY, Row, joined, pixels_of, rows_of
from operators.stage import FAILED, SCORED, run_stage
from operators.telemetry import Telemetry, TelemetrySetup
from securevqa_core import weights
from securevqa_core.scoring import (
    Precision,
    Thresholds,
    VideoSegments,
    all_inter_features,
    raw_scores,
    summarise,
    verdict,
)
from securevqa_core.suspicion import CleanDrops
from securevqa_core.types import SamplingConfig

__all__ = ["FusedScore", "InterFeature", "ModelSetup", "ModelStages"]


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
        self._is_batched = self._device.type != "cpu"
        self._checkpoint, self._model = _loaded(setup)

    def _run(
        self, table: pa.Table, work: Callable[[list[Row]], list[Row]], *, stage: str, schema: pa.Schema
    ) -> Iterator[pa.Table]:
        """Run a stage, on a GPU all rows of a block at once; where that fails, one by one, as on a processor.

        On a processor no bit of a score depends on which videos share a block.
        """
        rows = list(rows_of(table))
        sound = [row for row in rows if row.get("status") != FAILED]
        known: dict[str, Row] = {}
        if self._is_batched and len(sound) > 1:
            with contextlib.suppress(Exception):  # it is found again, and told, by the row that has it
                known = dict(zip((row[ROW_KEY] for row in sound), work(sound), strict=True))
        return run_stage(
            rows, lambda row: known.pop(row[ROW_KEY], None) or work([row])[0], stage=stage, schema=schema
        )


@functools.lru_cache(maxsize=1)
def _loaded(setup: ModelSetup) -> tuple[weights.Checkpoint, Any]:
    """Return the weights and the model on its device, which the stages of one process share."""
    checkpoint: weights.Checkpoint = ray.get(setup.checkpoint)
    return checkpoint, weights.build(checkpoint).to(setup.device)


def _of_every_draw(row: Row) -> NDArray[np.float32]:
    statistics: NDArray[np.float32] = pixels_of(row, "statistics", np.float32, row["num_looks"], 1, -1)
    return statistics.repeat(len(row["inter_seeds"]) // row["num_looks"], axis=0)


class InterFeature(_ModelStage):
    """frames, segments -> features: the fast pathway on every segment of every draw."""

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """Yield one row of `FEATURED` for every row of `FRAGMENTED`."""
        return self._run(table, self._features, stage="inter", schema=FEATURED)

    def _features(self, rows: list[Row]) -> list[Row]:
        sampling = self._setup.sampling
        if not sampling.num_segments:
            return [{} for _ in rows]
        if sampling.has_statistics:  # which are the features, taken as the video was decoded
            return [{"features": _of_every_draw(row)} for row in rows]
        started = time.perf_counter()
        features = iter(
            all_inter_features(
                self._model.inter,
                [look for row in rows for look in self._segments(row)],
                sampling=sampling,
                device=self._device,
                precision=self._setup.precision,
            )
        )
        seconds = (time.perf_counter() - started) / len(rows)
        return [
            {"features": joined(list(islice(features, row["num_looks"]))), "model_seconds": seconds}
            for row in rows
        ]

    def _segments(self, row: Row) -> list[VideoSegments]:
        """Return what the inter branch is given of each look."""
        sampling, side = self._setup.sampling, self._setup.sampling.segment_side
        shape = (row["num_looks"], sampling.num_segments, sampling.segment_frames)
        return [
            VideoSegments(
                frames=pixels_of(row, "frames", np.uint8, -1, side, side, 3),
                segments=segments,
                seeds=row["inter_seeds"][: len(row["inter_seeds"]) // row["num_looks"]],
            )
            for segments in pixels_of(row, "segments", np.int64, *shape)
        ]


class FusedScore(_ModelStage):
    """fragments, features -> score, spread and verdict; the last stage before the rows are written."""

    def __init__(
        self,
        setup: ModelSetup,
        *,
        provenance: Row,
        thresholds: Thresholds,
        telemetry: TelemetrySetup,
        clean: CleanDrops | None = None,
        caps: bool = False,
    ) -> None:
        super().__init__(setup)
        self._clean = clean
        self._caps = caps  # whether scores are held to what clean videos have
        self._provenance = provenance
        self._thresholds = thresholds
        self._telemetry = Telemetry(telemetry)

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """Yield one row of `OUTCOME` for every row of `FEATURED`."""
        outcomes = self._run(table, self._scores, stage="score", schema=OUTCOME)
        rows = [self._finish(row) for outcome in outcomes for row in rows_of(outcome)]
        self._telemetry.flush()
        yield pa.Table.from_pylist(rows, schema=OUTCOME)

    def _scores(self, rows: list[Row]) -> list[Row]:
        started = time.perf_counter()
        inputs = [self._inputs(row) for row in rows]
        # Draws are scored one by one, so those of several videos are as those of one.
        drawn = np.cumsum([len(fragments) for fragments, _ in inputs])
        features = [one for _, one in inputs if one is not None]
        raw = raw_scores(
            self._model,
            joined([fragments for fragments, _ in inputs]),
            joined(features) if features else None,
            device=self._device,
            precision=self._setup.precision,
        )
        seconds = (time.perf_counter() - started) / len(rows)
        return [
            self._scored(row, of_row)
            | {"status": SCORED, "model_seconds": (row["model_seconds"] or 0.0) + seconds}
            for row, of_row in zip(rows, np.split(raw, drawn[:-1]), strict=True)
        ]

    def _scored(self, row: Row, raw: NDArray[np.float64]) -> Row:
        """Return the columns of a score, and of what a rendition told of it."""
        looks = [summarise(one, self._checkpoint.calibration) for one in np.split(raw, row["num_looks"])]
        if self._clean is None or len(looks) == 1:
            return asdict(looks[0])
        scored, noticed = looks[0].compared(looks[1], self._clean, caps=self._caps)
        return asdict(scored) | asdict(noticed)

    def _inputs(self, row: Row) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        """Return fragments and features of every draw, None for a model without inter branch."""
        sampling, side = self._setup.sampling, self._setup.sampling.fragment_side
        clips = (sampling.num_clips, sampling.clip_frames, side, side, 3)
        fragments = pixels_of(row, "fragments", np.uint8, -1, *clips)
        if not sampling.num_segments:
            return fragments, None
        per_draw = (len(fragments), sampling.num_segments)
        return fragments, pixels_of(row, "features", np.float32, -1).reshape(*per_draw, -1)

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


class ModelStages:
    """frames, fragments -> score: both stages, one after the other, in an actor that imports and loads once.

    Args:
        setup: of both.
        last: `FusedScore`, or what takes its place.
        options: of `last`.
    """

    def __init__(self, setup: ModelSetup, *, last: type[FusedScore], **options: Any) -> None:
        self._inter = InterFeature(setup)
        self._last = last(setup, **options)

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """Yield rows of `OUTCOME` for every row of `FRAGMENTED`."""
        return self._last(pa.concat_tables(self._inter(table)))
