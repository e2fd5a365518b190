"""Owns what a run tells Prometheus: every metric's name, labels and meaning, and what a finished row adds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ray.util.metrics import Counter, Gauge, Histogram

from operators.schema import Row
from operators.stage import SCORED
from securevqa_core.doubts import FALLBACK

__all__ = ["METRICS", "Metric", "MetricSet", "Observation", "observations"]

_KINDS: dict[str, tuple[type[Any], str]] = {
    "counter": (Counter, "inc"),
    "gauge": (Gauge, "set"),
    "histogram": (Histogram, "observe"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric, as Prometheus sees it: Ray puts `ray_` before the name and `_total` after a counter's."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()
    boundaries: tuple[float, ...] = ()  # upper bounds of a histogram's buckets, all > 0


METRICS = (
    Metric(
        name="securevqa_videos",
        kind="counter",
        meaning="Finished videos.",
        labels=("status", "verdict", "error_code"),  # error_code is "" where a video was scored
    ),
    Metric(
        name="securevqa_stage_seconds",
        kind="histogram",
        meaning="Seconds that a video took in a stage.",
        labels=("stage",),  # fetch, decode or model
        boundaries=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0),
    ),
    Metric(
        name="securevqa_busy_seconds",
        kind="counter",  # as the _sum that Ray exports of a histogram adds up the middles of its buckets
        meaning="Seconds that videos took in a stage, all together.",
        labels=("stage",),
    ),
    Metric(
        name="securevqa_score",
        kind="histogram",
        meaning="Scores of videos, 0 to 100.",
        boundaries=(10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0),
    ),
    Metric(name="securevqa_draws", kind="counter", meaning="Draws of the random part that were scored."),
    Metric(name="securevqa_decoder_fallbacks", kind="counter", meaning="Videos read by the second decoder."),
    Metric(name="securevqa_fetched_bytes", kind="counter", meaning="Bytes of videos that were fetched."),
    Metric(name="securevqa_videos_left", kind="gauge", meaning="Videos of this run that are not finished."),
)


@dataclass(frozen=True, slots=True)
class Observation:
    """A value for one metric."""

    name: str
    value: float
    labels: tuple[str, ...] = ()  # values, in the order of the metric's labels


def observations(row: Row, *, num_clips: int) -> Iterator[Observation]:
    """Yield what a finished row adds; what is not known of it adds nothing.

    Args:
        row: of `operators.schema.OUTCOME`, finished.
        num_clips: of one draw.
    """
    yield Observation(
        "securevqa_videos", 1, (str(row["status"]), str(row["verdict"]), row.get("error_code") or "")
    )
    for stage in ("fetch", "decode", "model"):
        seconds = row.get(f"{stage}_seconds")
        if seconds is not None:
            yield Observation("securevqa_stage_seconds", seconds, (stage,))
        if seconds:  # a counter refuses 0
            yield Observation("securevqa_busy_seconds", seconds, (stage,))
    if row["status"] == SCORED:
        yield Observation("securevqa_score", row["score"])
        yield Observation("securevqa_draws", len(row["clip_scores"]) // num_clips)
    if any(warning.startswith(FALLBACK) for warning in row.get("decode_warnings") or ()):
        yield Observation("securevqa_decoder_fallbacks", 1)
    if row.get("size_bytes"):
        yield Observation("securevqa_fetched_bytes", row["size_bytes"])


class MetricSet:
    """The metrics of one process that Ray runs; Ray's agent on the same node exports them."""

    def __init__(self) -> None:
        self._record = {metric.name: _recording(metric) for metric in METRICS}
        self._labels = {metric.name: metric.labels for metric in METRICS}

    def record(self, observation: Observation) -> None:
        """Add, set or observe one value.

        Raises:
            KeyError: `METRICS` has no such name.
        """
        labels = dict(zip(self._labels[observation.name], observation.labels, strict=True))
        self._record[observation.name](observation.value, tags=labels)


def _recording(metric: Metric) -> Callable[..., None]:
    """Open a metric and return its method that takes a value."""
    options: dict[str, Any] = {"description": metric.meaning, "tag_keys": metric.labels}
    if metric.kind == "histogram":
        options["boundaries"] = list(metric.boundaries)
    kind, method = _KINDS[metric.kind]
    record: Callable[..., None] = getattr(kind(metric.name, **options), method)
    return record
