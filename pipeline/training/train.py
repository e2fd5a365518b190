"""Owns `securevqa train` from its settings to a checkpoint: rows, cache, workers, and what is reported."""

from __future__ import annotations

import contextlib
import json
import platform
import shlex
import sys
from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch

from operators.storage import local_path, redact
from pipeline.checkpoints import read_checkpoint
from pipeline.events import Events
from pipeline.files import write_json
from pipeline.session import ray_session
from pipeline.text import counted
from pipeline.training.cache import fill_cache
from pipeline.training.config import CHECKPOINT_FILE, SETTINGS_FILE, TrainRun
from pipeline.training.launch import launch
from pipeline.training.split import (
    Split,
    TrainingSet,
    random_splits,
    read_training_set,
    require_copies_together,
)
from pipeline.training.worker import RESULT_FILE, Job
from securevqa_core import weights, zoo
from securevqa_core.errors import ConfigurationError, OutputError, RunError, an
from securevqa_core.training.baseline import Regression
from securevqa_core.training.cache import CacheConfig, CachedVideo, Failure, LabelledVideo
from securevqa_core.training.loop import require_clips
from securevqa_core.training.state import differences

__all__ = ["FINETUNE_FILE", "require_readable", "train"]

LEFT_OUT_FILE = "left_out.json"
FINETUNE_FILE = "finetune.json"
NAMED_AT_MOST = 10


def train(run: TrainRun, table: pa.Table, *, events: Events) -> dict[str, Any]:
    """Train, or go on where an interrupted call was; return what `result.json` or `finetune.json` holds.

    Args:
        run: the settings.
        table: of `read_labelled`.
        events: say what goes on.

    Raises:
        ManifestError, ConfigurationError: the call is wrong; nothing was started.
        CheckpointError, OutputError: what it starts from cannot be read, or the output not be written.
        RunError: the training failed, or Ray cannot be reached.
    """
    training_set = read_training_set(
        table,
        label=run.label_column,
        label_range=run.label_range,
        split_column=run.split_column,
        source_column=run.source_column,
        reference_column=run.reference_column,
    )
    splits = _splits(run, training_set)
    output = Path(local_path(run.output)).absolute()
    if run.init is None:  # what is made is known without reading it
        _require_learnable(run, training_set, splits, run.model or zoo.DEFAULT_MODEL)
    _require_ours(output, run.public_settings(), but={"model"})
    with events.doing("loading the model"):
        init = _load(run)
    _require_learnable(run, training_set, splits, init.architecture)
    _record_settings(output, run, init)
    for split, folder in zip(splits, _folders(run, output), strict=True):
        _record_split(folder, split)
    with contextlib.ExitStack() as session:
        with events.doing("starting Ray"):
            session.enter_context(ray_session(run.address))
        jobs = _jobs(run, training_set, splits, init, output=output, events=events)
        launch(run, init, jobs, output=output, events=events)
    results = [json.loads((job.output / RESULT_FILE).read_text()) for job in jobs]
    return _summary(output, results) if run.finetune else results[0]


def _splits(run: TrainRun, training_set: TrainingSet) -> list[Split]:
    if training_set.given is not None and not run.finetune:
        return [training_set.given]
    return random_splits(
        training_set.videos,
        seed=run.train.seed,
        num_splits=run.num_splits if run.finetune else 1,
        test_share=run.test_share if run.finetune else 0.0,
        validation_share=run.validation_share,
    )


def _load(run: TrainRun) -> weights.Checkpoint:
    """Return the weights to start from.

    Raises:
        CheckpointError: the file cannot be read, or does not fit the model that was asked for.
        ConfigurationError: no such model.
    """
    if run.init is None:
        return weights.seeded(run.model or zoo.DEFAULT_MODEL, seed=run.train.seed)
    init = read_checkpoint(run.init)
    return init if run.model is None else weights.moved(init, run.model)


def _require_learnable(
    run: TrainRun, training_set: TrainingSet, splits: Sequence[Split], architecture: str
) -> None:
    _require_fragments(run, training_set, architecture)
    _require_clips(run, splits, architecture)


def _require_fragments(run: TrainRun, training_set: TrainingSet, architecture: str) -> None:
    """Refuse to learn what fragments have lost with a model that has none, before anything is cached."""
    learns = run.train.difference_weight > 0 and any(video.reference for video in training_set.videos)
    if learns and zoo.spec(architecture).swin is None:
        raise ConfigurationError(
            f"difference_weight > 0 needs a model with fragments where videos have references, "
            f"got {an(architecture)}"
        )


def _require_clips(run: TrainRun, splits: Sequence[Split], architecture: str) -> None:
    """Refuse a step of more clips than there are, though all were readable, before anything is cached."""
    if _has_no_steps(architecture):
        return
    for split in splits:
        num_clips = sum(video.repeats for video in split.train)
        require_clips(num_clips, len(split.train), run.train, num_workers=max(run.workers, 1))


def _has_no_steps(architecture: str) -> bool:
    spec = zoo.spec(architecture)
    with torch.device("meta"):  # no values are made
        return isinstance(spec.make(spec), Regression)


def _record_settings(output: Path, run: TrainRun, init: weights.Checkpoint) -> None:
    """Write the settings, or refuse an output that was made with others."""
    settings = run.public_settings() | {"model": init.architecture, "init_checkpoint_id": init.checkpoint_id}
    _require_ours(output, settings)
    try:
        write_json(output / SETTINGS_FILE, settings)
    except OSError as error:
        raise OutputError(f"output {str(output)!r} cannot be written: {error}") from error


def _require_ours(output: Path, settings: dict[str, Any], *, but: Container[str] = ()) -> None:
    """Refuse an output that was made with other settings than these, besides those in `but`."""
    path = output / SETTINGS_FILE
    try:
        earlier = json.loads(path.read_text()) if path.exists() else None
    except (OSError, ValueError) as error:
        raise OutputError(f"output {str(output)!r} cannot be written: {error}") from error
    if earlier is None:
        return
    wanted = {name: one for name, one in json.loads(json.dumps(settings)).items() if name not in but}
    if but:  # what is not known yet, later settings say
        earlier = {name: one for name, one in earlier.items() if name in wanted}
    if found := differences(earlier, wanted):
        raise ConfigurationError(
            f"output {str(output)!r} is of another training: {found}; "
            f"choose another --output, or the same settings{_going_on(output)}"
        )


def _going_on(output: Path) -> str:
    """Return how a training that is finished is gone on from, "" for one that is not."""
    checkpoint = output / CHECKPOINT_FILE
    if not checkpoint.exists():
        return ""
    return f"; to train on from it, another --output and --init {shlex.quote(str(checkpoint))}"


def _folders(run: TrainRun, output: Path) -> list[Path]:
    if not run.finetune:
        return [output]
    return [output / f"split-{number:02d}" for number in range(run.num_splits)]


def _record_split(folder: Path, split: Split) -> None:
    parts = {part: [video.uri for video in getattr(split, part)] for part in Split.__slots__}
    write_json(folder / "split.json", parts)


def _jobs(
    run: TrainRun,
    training_set: TrainingSet,
    splits: Sequence[Split],
    init: weights.Checkpoint,
    *,
    output: Path,
    events: Events,
) -> list[Job]:
    """Cache every video that is needed, as training sees it and as scoring does, and share the videos out."""
    scoring = run.sampling or zoo.spec(init.architecture).sampling
    training = replace(scoring, num_clips=1)
    trained = _unique(video for split in splits for video in split.train)
    scored = _unique(
        replace(video, reference=None)  # it is only learnt from
        for split in splits
        for video in (*split.validation, *split.test)
    )
    cached: list[dict[str, CachedVideo]] = []
    failures: list[Failure] = []
    for videos, sampling, draws in (
        (trained, training, run.num_cached_draws),
        (scored, scoring, run.num_validation_draws),
    ):
        config = CacheConfig(
            sampling=sampling,
            num_draws=draws,
            seed=run.train.seed,
            has_differences=run.train.difference_weight > 0,
            limits=run.decode_limits,
        )
        folder = Path(run.cache_dir or output / "cache").absolute()
        done, bad = fill_cache(videos, folder, config, fetch_limits=run.fetch_limits, events=events)
        cached.append({video.uri: video for video in done})
        failures += bad
    _report_failures(output, failures, events)
    contents = {uri: video.content_sha256 for done in cached for uri, video in done.items()}
    for split in splits:
        require_copies_together(split, contents, is_given=split is training_set.given)
    facts = _facts(run, training_set, init, failures)
    jobs = [
        Job(
            output=folder,
            train=_kept([video for video in split.train for _ in range(video.repeats)], cached[0]),
            validation=_kept(split.validation, cached[1]),
            test=_kept(split.test, cached[1]),
            card=facts,
        )
        for split, folder in zip(splits, _folders(run, output), strict=True)
    ]
    for split, job in zip(splits, jobs, strict=True):
        require_readable(split, job)
    return jobs


def require_readable(split: Split, job: Job) -> None:
    """Refuse a job of which a whole part could not be cached.

    Raises:
        RunError: no video of a part is left.
    """
    for part in Split.__slots__:
        num_videos = len(getattr(split, part))
        if num_videos and not getattr(job, part):
            raise RunError(
                f"none of {counted(num_videos, f'{part} video')} of {job.output.name!r} can be read"
            )


def _unique(videos: Iterable[LabelledVideo]) -> list[LabelledVideo]:
    return list({video.uri: video for video in videos}.values())


def _kept(videos: Sequence[LabelledVideo], cached: dict[str, CachedVideo]) -> list[CachedVideo]:
    return [cached[video.uri] for video in videos if video.uri in cached]


def _report_failures(output: Path, failures: Sequence[Failure], events: Events) -> None:
    write_json(output / LEFT_OUT_FILE, [asdict(failure) for failure in failures])
    if failures:
        events.note(f"{counted(len(failures), 'video')} left out, which cannot be read, see {LEFT_OUT_FILE}:")
    for failure in failures[:NAMED_AT_MOST]:
        events.note(f"  {redact(failure.uri)}: {failure.error_code}, {failure.message}")


def _facts(
    run: TrainRun, training_set: TrainingSet, init: weights.Checkpoint, failures: Sequence[Failure]
) -> dict[str, Any]:
    """Return what the card of a checkpoint says of how it was made."""
    return {
        "trained_from": {"checkpoint_id": init.checkpoint_id, "status": init.status},
        "settings": run.public_settings(),
        "command": shlex.join(["securevqa", *(redact(argument) for argument in sys.argv[1:])]),
        "rows": {
            "used": len(training_set.videos),
            "unreadable": len(failures),
            "unlabelled": training_set.num_unlabelled,
            "test": training_set.num_test_rows,
        },
        "versions": {"torch": torch.__version__, "ray": ray.__version__, "python": platform.python_version()},
    }


def _summary(output: Path, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Write and return the mean and standard deviation of every measure over the splits."""
    measures: dict[str, Any] = {}
    for name in results[0]["test"]:
        values = [result["test"][name] for result in results if result["test"][name] is not None]
        measures[name] = {
            "mean": float(np.mean(values)) if values else None,
            "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
            "num_splits": len(values),
        }
    summary = {"test": measures, "splits": list(results)}
    write_json(output / FINETUNE_FILE, summary)
    return summary
