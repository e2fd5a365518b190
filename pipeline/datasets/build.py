"""Owns the building of a data set: every view of every source, in parallel, resumed where it stopped."""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.datasets.manifest import Finished, write_manifest
from pipeline.datasets.opinions import Opinions, Teacher, rate, read_rated
from pipeline.datasets.progress import Progress, shown_progress
from pipeline.events import Events
from pipeline.text import counted
from securevqa_core.datasets.build import ClipRecord, build_view, read_records
from securevqa_core.datasets.config import BuildConfig
from securevqa_core.datasets.folder import DatasetFolder, opened
from securevqa_core.datasets.sources import LeftOut, Source, find_sources
from securevqa_core.datasets.views import Kinds, View, needed, plan_views, whole_view
from securevqa_core.errors import ConfigurationError, DatasetError
from securevqa_core.types import require_range

__all__ = ["Budget", "Built", "build_dataset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """When to begin no further view. What has begun is finished, so both may be passed by a little.

    Raises:
        ConfigurationError: a field is out of range.
    """

    max_clips: int | None = None  # that are finished, those of earlier calls among them
    max_minutes: float | None = None  # of this call

    def __post_init__(self) -> None:
        if self.max_clips is not None:
            require_range("max_clips", self.max_clips, low=1, high=10**9)
        if self.max_minutes is not None:
            require_range("max_minutes", self.max_minutes, low=0, high=10**6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a build came to."""

    manifest: Path
    records: tuple[ClipRecord, ...]  # with the splits of the manifest
    groups: tuple[tuple[str, ...], ...]  # ids of sources that show the same footage, two or more in each
    left_out: tuple[LeftOut, ...]  # files, sources and views that no clip was made of
    num_views_left: int  # that the budget left for another call


def build_dataset(
    roots: Sequence[Path],
    output: Path,
    config: BuildConfig,
    *,
    opinions: Opinions | None = None,
    budget: Budget | None = None,
    workers: int | None = None,
    events: Events,
) -> Built:
    """Make, label and list the clips of every source under `roots`.

    Sources come in a random order, and the second view of a source after the first of every other, so that a
    build that ends early has seen as many as it could. The same call goes on where it stopped.

    Args:
        roots: folders, and files of footage or photographs.
        output: folder of the data set.
        config: what is made of each source.
        opinions: which clips get one, also of those that are there; None: all.
        budget: where to stop; None: when all is done.
        workers: views made at a time; None: one for each processor.
        events: say how far it is.

    Raises:
        ConfigurationError: a root is not there, `output` lies in one or was made with other settings, or
            videos as they are would have no label.
        OutputError: the output cannot be written, or another process is building in it.
        DatasetError: no source is usable, or FFmpeg is missing.
        RunError: opinions are wanted, and scikit-learn is not installed.
    """
    opinions = opinions or Opinions()
    if config.as_is and opinions.of == "none":
        raise ConfigurationError(
            "opinions must be pristine or all of videos as they are, which have no other label, got 'none'"
        )
    workers = workers or os.cpu_count() or 1
    require_range("workers", workers, low=1, high=1024)
    _require_apart(roots, output)
    with events.doing("probing the sources"):
        sources_found = find_sources(
            roots, tell=lambda done, total: events.update(f"probing the sources: {done} of {total}")
        )
        planned, unfit = _plan(sources_found.sources, config)
    events.note(f"{counted(len(planned), 'view')} of {counted(len(sources_found.sources), 'source')}")
    with opened(output, config.settings()) as folder:
        job = _Job(
            folder=folder, config=config, opinions=opinions, budget=budget or Budget(), workers=workers
        )
        with shown_progress("views", total=len(planned), events=events) as progress:
            job.build(planned, progress)
        if not job.finished:
            reasons = "; ".join(item.reason for item in [*sources_found.left_out, *unfit, *job.left_out][:3])
            raise DatasetError(
                f"none of {counted(len(sources_found.sources), 'source')} gave a clip: {reasons}"
            )
        with shown_progress("sources compared", total=len(sources_found.sources), events=events) as progress:
            listed = write_manifest(
                folder,
                sources_found.sources,
                job.finished,
                config,
                teacher=opinions.teacher_id,
                workers=workers,
                progress=progress,
            )
    return Built(
        manifest=folder.manifest,
        records=listed.records,
        groups=listed.groups,
        left_out=(*sources_found.left_out, *unfit, *sorted(job.left_out, key=lambda item: item.name)),
        num_views_left=len(planned) - len(job.finished) - len(job.left_out),
    )


def _require_apart(roots: Sequence[Path], output: Path) -> None:
    """Refuse an output whose clips the next call would take for sources."""
    for root in roots:
        if output.resolve().is_relative_to(root.resolve()):
            raise ConfigurationError(
                f"output must not lie inside the sources {str(root)!r}, got {str(output)!r}"
            )


def _plan(sources: Sequence[Source], config: BuildConfig) -> tuple[list[View], list[LeftOut]]:
    """Return the views in the order in which they are made, and the sources that give none."""
    ordered = list(sources)
    random.Random(config.seed).shuffle(ordered)  # noqa: S311 - an order, not a secret
    if config.as_is:
        return _plan_as_is(ordered)
    kinds = Kinds(grey=config.grey_share, still=config.still_share, large=config.large_share)
    planned = [
        plan_views(source, seed=config.seed, max_views=config.views_per_source, kinds=kinds)
        for source in ordered
    ]
    unfit = [
        LeftOut(
            name=source.source_id,
            reason=f"{source.path} is too small or too short: {source.width}x{source.height}, "
            f"{source.duration_seconds:.2f} s; it needs {needed(source)}",
        )
        for source, views in zip(ordered, planned, strict=True)
        if not views
    ]
    views = [view for row in itertools.zip_longest(*planned) for view in row if view is not None]
    return views, unfit


def _plan_as_is(sources: Sequence[Source]) -> tuple[list[View], list[LeftOut]]:
    unfit = [
        LeftOut(
            name=source.source_id, reason=f"{source.path} is a photograph, which nobody uploads as a video"
        )
        for source in sources
        if source.is_photo
    ]
    return [whole_view(source) for source in sources if not source.is_photo], unfit


@dataclass(slots=True, kw_only=True)
class _Job:
    """The making of views: what is finished so far, and what could not be."""

    folder: DatasetFolder
    config: BuildConfig
    opinions: Opinions
    budget: Budget
    workers: int
    finished: list[Finished] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    _teacher: Teacher | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _started: float = field(default_factory=time.monotonic)

    def build(self, views: Sequence[View], progress: Progress) -> None:
        """Make the views in their order, until they or the budget come to an end."""
        unfinished = self._unfinished(views, progress)
        if not unfinished or self.opinions.of == "none":
            self._build(unfinished, progress)
            return
        # Only here, because tensors are slow to import.
        from securevqa_core.loaded import one_thread  # noqa: PLC0415
        from securevqa_core.teacher import fit_teacher  # noqa: PLC0415

        with one_thread():  # of every worker's
            self._teacher = fit_teacher(self.opinions.teacher)
            self._build(unfinished, progress)

    def _build(self, unfinished: Sequence[View], progress: Progress) -> None:
        waiting = iter(unfinished)
        running: dict[Future[Finished | None], View] = {}
        pool = ThreadPoolExecutor(self.workers)
        try:
            while True:
                num_free = self.workers - len(running) if self._may_begin() else 0
                for view in itertools.islice(waiting, num_free):
                    running[pool.submit(self._make, view)] = view
                if not running:
                    return
                for call in wait(running, return_when=FIRST_COMPLETED).done:
                    self._settle(running.pop(call), call)
                    progress.advance()
        finally:  # an interruption waits for the clips that are being made, not for their views
            self._stop.set()
            pool.shutdown(cancel_futures=True)

    def _make(self, view: View) -> Finished | None:
        """Return a view with its clips and opinions, None when told to stop."""
        records = build_view(view, self.folder, self.config, is_stopped=self._stop.is_set)
        if records is None:
            return None
        rated = read_rated(view.view_id, records, self.folder, self.opinions)
        if rated is None:
            assert self._teacher is not None, "opinions are wanted"
            stop = self._stop.is_set
            rated = rate(view.view_id, records, self.folder, self.opinions, self._teacher, is_stopped=stop)
        return None if rated is None else Finished(view=view, records=tuple(records), rated=rated)

    def _unfinished(self, views: Sequence[View], progress: Progress) -> list[View]:
        """Take over what earlier calls finished, and return the rest."""
        rest = []
        for view in views:
            try:
                records = read_records(view.view_id, self.folder)
            except DatasetError as error:
                self.left_out.append(LeftOut(name=view.view_id, reason=str(error)))
                progress.advance()
                continue
            rated = None
            if records is not None:
                rated = read_rated(view.view_id, records, self.folder, self.opinions)
            if records is None or rated is None:
                rest.append(view)
            else:
                self.finished.append(Finished(view=view, records=tuple(records), rated=rated))
                progress.advance()
        return rest

    def _may_begin(self) -> bool:
        num_clips = sum(len(item.records) for item in self.finished)
        minutes = (time.monotonic() - self._started) / 60
        enough = self.budget.max_clips is not None and num_clips >= self.budget.max_clips
        late = self.budget.max_minutes is not None and minutes >= self.budget.max_minutes
        return not (enough or late)

    def _settle(self, view: View, call: Future[Finished | None]) -> None:
        try:
            finished = call.result()
        except DatasetError as error:
            self.left_out.append(LeftOut(name=view.view_id, reason=str(error)))
        else:
            assert finished is not None, "nothing was stopped"
            self.finished.append(finished)
