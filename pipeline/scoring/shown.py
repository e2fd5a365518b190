"""Owns what a person sees of a call while it goes on: how far it is, which videos failed, what is left."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from operators.schema import Row, texts
from operators.stage import FAILED
from operators.uris import redact
from pipeline.events import LOG_SECONDS, Events
from pipeline.manifests.formats import MANIFEST_SUFFIXES
from pipeline.manifests.given import likely_lists
from pipeline.manifests.rows import Refusal
from pipeline.runs.spool import Spool
from pipeline.scoring.config import GPUS_PER_ACTOR
from pipeline.tables import file_names
from securevqa_core.randomness import Key

__all__ = [
    "Gauge",
    "GaugeHere",
    "Reading",
    "log_line",
    "names_in",
    "say_ephemeral",
    "say_left_out",
    "say_likely_lists",
    "say_no_gpu",
    "say_refused",
    "shown_progress",
    "tell_finished",
]

LOOK_SECONDS = 0.5
MOST_NAMES = 10_000  # of a manifest, held as Python's texts; videos of a larger one are told of by their URIs
MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Reading:
    """How far this call is."""

    total: int  # videos of this call
    done: int
    failed: int
    videos_per_second: float


class Gauge(Protocol):
    """What knows how far this call is."""

    def read(self) -> Reading:
        """Return how far it is now."""

    def finished(self) -> list[Row]:
        """Return the videos finished since the last time that a person is told of: failures, or all."""


@dataclass(slots=True)
class GaugeHere:
    """Knows how far scoring in this process is."""

    total: int
    is_told: bool = True  # or else a video that is finished is told of elsewhere
    rows: list[Row] = field(default_factory=list)  # finished
    _num_told: int = 0
    _started: float = field(default_factory=time.monotonic)

    def read(self) -> Reading:
        """Return how far it is now."""
        return Reading(
            total=self.total,
            done=len(self.rows),
            failed=sum(row["status"] == FAILED for row in self.rows),
            videos_per_second=len(self.rows) / (time.monotonic() - self._started),
        )

    def finished(self) -> list[Row]:
        """Return the videos finished since the last time, none where they are told of elsewhere."""
        if not self.is_told:
            return []
        rows = self.rows[self._num_told :]
        self._num_told += len(rows)
        return rows


@contextlib.contextmanager
def shown_progress(
    gauge: Gauge, *, run_id: str, total: int, events: Events, names: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Show how many of `total` videos are finished, and which failed, for as long as the block runs.

    Args:
        gauge: knows how far it is.
        run_id: of this call.
        total: how many videos it has.
        events: says it.
        names: of URIs, as `names_in`; the URI itself stands for one that is not there.
    """
    stop = threading.Event()
    show = _terminal if events.is_shown_live else _log_lines
    thread = threading.Thread(
        target=show, args=(gauge, events, stop, run_id, total, names or {}), daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=10)
        gauge.read()  # so that the last word to Prometheus is of the end


def _terminal(
    gauge: Gauge,
    events: Events,
    stop: threading.Event,
    _run_id: str,
    total: int,
    names: Mapping[str, str],
) -> None:
    with events.counting("videos", total=total) as count:
        while not stop.wait(LOOK_SECONDS):
            now = gauge.read()
            tell_finished(gauge.finished(), events, names)
            count(now.done, now.failed)
        tell_finished(gauge.finished(), events, names)


def _log_lines(
    gauge: Gauge,
    events: Events,
    stop: threading.Event,
    run_id: str,
    _total: int,
    names: Mapping[str, str],
) -> None:
    said = time.monotonic()
    while not stop.wait(LOOK_SECONDS):
        tell_finished(gauge.finished(), events, names)
        if time.monotonic() - said >= LOG_SECONDS:
            said = time.monotonic()
            events.note(log_line(gauge.read(), run_id=run_id))
    tell_finished(gauge.finished(), events, names)


def names_in(manifest: Spool) -> dict[str, str]:
    """Return what tables call the videos of a manifest, by URI; of one beyond `MOST_NAMES` none."""
    if manifest.num_rows > MOST_NAMES:
        return {}
    uris = list(dict.fromkeys(uri for piece in manifest.pieces(["uri"]) for uri in texts(piece, "uri")))
    return dict(zip(uris, file_names(uris), strict=True))


def tell_finished(rows: Iterable[Row], events: Events, names: Mapping[str, str]) -> None:
    """Say of videos how they ended: of those that failed, and of all where more is asked for."""
    for row in rows:
        name = names.get(row["uri"]) or redact(row["uri"])
        if row["status"] == FAILED:
            events.note(f"failed: {name}, {row['error_code']}")
        else:
            events.detail(f"{name}: {row['score']:.1f}, {row['verdict']}")


def say_likely_lists(locations: Sequence[str], events: Events) -> None:
    """Say of a list of paths that it is taken for a video, and what a list is."""
    for name in likely_lists(locations):
        known = ", ".join(MANIFEST_SUFFIXES)
        events.note(
            f"{name} is taken for a video: a list of videos has a column uri, and ends in one of {known}"
        )


def say_ephemeral(key: Key, events: Events) -> None:
    """Say that nobody has the key of the scores that are made now."""
    if key.randomness == "ephemeral":
        events.once(
            "no key given (--key-file or SECUREVQA_KEY): using an ephemeral one, scores cannot be reproduced"
        )


def say_refused(refused: Mapping[int, Refusal], events: Events) -> None:
    """Say of the rows of a manifest that break a rule how each failed."""
    for index, one in itertools.islice(sorted(refused.items()), MOST_NAMED):
        events.note(f"failed: row {index + 1}, {one.code}: {one.message}")
    if len(refused) > MOST_NAMED:
        events.note(f"failed: {len(refused) - MOST_NAMED} more rows of the manifest, which break a rule")


def say_no_gpu(gpus_per_actor: float, events: Events, *, is_there: bool) -> None:
    """Say that there is no GPU where models were to run on one."""
    if not is_there and gpus_per_actor not in {0, GPUS_PER_ACTOR}:
        events.note(f"--gpus-per-actor {gpus_per_actor:g}: there is no GPU, so models run on processors")


def say_left_out(others: list[str], events: Events) -> None:
    """Say which files of a folder are no videos."""
    if others:
        names = ", ".join(file_names(others[:MOST_NAMED]))
        more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
        events.note(f"no videos, so left out: {names}{more}")


def log_line(now: Reading, *, run_id: str) -> str:
    """Return one line of JSON with the run's id, as the workers' lines of finished videos have it."""
    rate = now.videos_per_second
    left = round((now.total - now.done) / rate) if rate else None
    known = {"total": now.total, "done": now.done, "failed": now.failed, "videos_per_second": round(rate, 3)}
    return json.dumps({"event": "run_progress", "run_id": run_id} | known | {"seconds_left": left})
