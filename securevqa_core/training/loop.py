"""Owns the training loop: from cached videos to the weights of the best epoch, interrupted or not."""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from securevqa_core.errors import ConfigurationError, RunError
from securevqa_core.training.cache import CachedVideo
from securevqa_core.training.config import TrainConfig
from securevqa_core.training.data import Batch, epoch_order, prefetched, step_rng
from securevqa_core.training.inputs import batch_maker
from securevqa_core.training.objective import Objective
from securevqa_core.training.state import Place, metric_log, read_state, write_state
from securevqa_core.training.steps import (
    ALONE,
    Workers,
    averaged_model,
    make_optimiser,
    schedule_factor,
    set_learning_rate,
)
from securevqa_core.training.validation import Scorer, correlations, taught

__all__ = ["Fitted", "TrainingData", "fit", "require_clips"]

Listener = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """The videos of a training.

    Raises:
        ConfigurationError: there is nothing to train on, or a source lies on both sides.
    """

    train: Sequence[CachedVideo]
    validation: Sequence[CachedVideo] = field(default=())  # empty: the last epoch counts as the best

    def __post_init__(self) -> None:
        if not self.train:
            raise ConfigurationError("train must hold at least one video, got 0")
        shared = {video.source for video in self.train} & {video.source for video in self.validation}
        if shared:
            named = ", ".join(map(repr, sorted(shared)[:8]))
            raise ConfigurationError(
                f"a source must not be both trained and validated on, got {len(shared)}: {named}"
            )

    @property
    def digest(self) -> str:
        """Tells two sets of training data apart: contents, labels, sources, references and sampling."""
        rows = [
            (
                part,
                v.content_sha256,
                v.label,
                v.source,
                v.reference,
                v.config.sampling.as_dict(),
                v.config.num_draws,
            )
            for part, videos in enumerate((self.train, self.validation))
            for v in videos
        ]
        return hashlib.sha256(repr(rows).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What a training came to; the model it was given holds the weights of `best_epoch`."""

    best_epoch: int  # from 0
    best_srcc: float | None  # on validation; None where it is not defined
    validation_scores: tuple[float, ...]  # raw, of the best epoch, in the order of the validation videos
    history: tuple[dict[str, Any], ...]  # metrics of each epoch, as in metrics.jsonl


def fit(
    model: Any,
    data: TrainingData,
    config: TrainConfig,
    *,
    output: Path,
    device: torch.device,
    workers: Workers = ALONE,
    on_epoch: Listener = lambda _: None,
    on_stage: Callable[[str], None] = lambda _: None,
) -> Fitted:
    """Train `model` in place, or go on where an interrupted call with the same arguments was.

    On the CPU, with one kind of processor and one number of threads, an interrupted training ends with the
    same weights, to the last bit, as one that never was.

    Args:
        model: of the zoo.
        data: what to learn from and what to choose the best epoch on.
        config: how.
        output: folder for the state and the metrics; worker 0 writes to it, all read it.
        device: where to train; the model is moved there.
        workers: the processes that train together; gradients are averaged over them.
        on_epoch: called by worker 0 with the metrics of every epoch.
        on_stage: called by each worker with what it does from now on, for people.

    Raises:
        ConfigurationError: the settings do not fit the data, or `output` holds another training.
        RunError: the training diverged.
        CheckpointError, OutputError: the state cannot be read or written.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        training = _Training(
            model.to(device),
            data,
            config,
            output=output,
            device=device,
            workers=workers,
            on_stage=on_stage,
        )
        on_stage("training")
        return training.run(on_epoch)


class _Training:
    """One call of `fit`."""

    def __init__(
        self,
        model: Any,
        data: TrainingData,
        config: TrainConfig,
        *,
        output: Path,
        device: torch.device,
        workers: Workers,
        on_stage: Callable[[str], None],
    ) -> None:
        self._digest = data.digest  # of the labels given: a teacher's scores differ in last bits by machine
        if config.distils:
            on_stage("scoring with the teacher")
            students = taught(model, data.train, device=device, precision=config.precision, workers=workers)
            data = replace(data, train=students)
        self._model, self._data, self._config = model, data, config
        self._output, self._device, self._workers = output, device, workers
        self._steps = _steps_per_epoch(data, config, workers.size)
        self._objective = Objective(model, data.train, config, device)
        self._optimiser = make_optimiser(model, config)
        self._average = averaged_model(model, config.ema_decay) if config.ema_decay else None
        self._scorer = Scorer(
            data.validation,
            device=device,
            precision=config.precision,
            frozen_inter=config.inter != "trained",
        )
        self._place = Place()
        self._saved_at = time.monotonic()
        self._restore()
        if config.inter == "cached" or config.num_statistics_draws:
            on_stage("computing statistics")
        self._maker = batch_maker(model, data.train, config, device=device, workers=workers)

    def run(self, on_epoch: Listener) -> Fitted:
        """Work through what is left, and give the model the weights of the best epoch."""
        if self._workers.rank:
            for _ in self._epochs():
                pass
        else:
            with metric_log(self._output, self._place.history) as log:
                for metrics in self._epochs():
                    log.add(metrics)
                    on_epoch(metrics)
        place = self._place
        assert place.best_weights is not None
        assert place.best_epoch is not None
        self._model.load_state_dict(place.best_weights)
        self._objective.finish()
        self._model.eval()
        return Fitted(
            best_epoch=place.best_epoch,
            best_srcc=place.best_srcc,
            validation_scores=tuple(place.best_scores or ()),
            history=tuple(place.history),
        )

    def _epochs(self) -> Iterator[dict[str, Any]]:
        """Yield the metrics of each epoch that is left, once its state is saved."""
        place = self._place
        while place.epoch < self._config.epochs:
            started = time.monotonic()
            self._train_epoch()
            trained = time.monotonic()
            metrics = {"epoch": place.epoch} | self._means() | self._validate()
            seconds = {
                "train_seconds": trained - started,
                "validation_seconds": time.monotonic() - trained,
            }
            place.history.append(metrics | seconds)
            place.epoch, place.step, place.sums = place.epoch + 1, 0, {}
            self._save()
            yield place.history[-1]

    def _train_epoch(self) -> None:
        self._objective.train_mode()
        batches = prefetched(self._jobs())
        for step in range(self._place.step, self._steps):
            self._step(step, batches)
            self._place.step = step + 1
            due = self._saved_at + 60 * self._config.checkpoint_minutes
            if time.monotonic() >= due and step + 1 < self._steps:
                self._save()

    def _jobs(self) -> Iterator[Callable[[], Batch]]:
        """Yield what prepares each batch left in this epoch, in order."""
        config, workers, epoch = self._config, self._workers, self._place.epoch
        rng = step_rng("order", config.seed, epoch)
        order = epoch_order(self._data.train, rng, clips_per_content=config.clips_per_content)
        for step in range(self._place.step, self._steps):
            for part in range(config.accumulate):
                number = (step * config.accumulate + part) * workers.size + workers.rank
                places = np.arange(number * config.batch_size, (number + 1) * config.batch_size) % len(order)
                videos = [self._data.train[index] for index in order[places]]
                rng = step_rng("batch", config.seed, epoch, step, part, workers.rank)
                yield functools.partial(self._maker, videos, rng)

    def _step(self, step: int, batches: Iterator[Batch]) -> None:
        config, epoch = self._config, self._place.epoch
        where = f"epoch {epoch}, step {step}"
        self._set_rates_and_seed(step)
        self._optimiser.zero_grad()
        for _ in range(config.accumulate):
            losses = self._objective.losses(next(batches), where=where)
            (losses["loss"] / config.accumulate).backward()  # type: ignore[no-untyped-call]
            self._add({name: value.item() / config.accumulate for name, value in losses.items()})
        self._average_over_workers()
        self._add({"gradient_norm": self._clip(where)})
        self._optimiser.step()
        if self._average is not None:
            self._average.update_parameters(self._model)

    def _set_rates_and_seed(self, step: int) -> None:
        """Bring what depends on the place in training there: learning rates, and dropout's generator."""
        config, epoch = self._config, self._place.epoch
        factor = schedule_factor(
            epoch * self._steps + step,
            warmup_steps=round(config.warmup_epochs * self._steps),
            num_steps=config.epochs * self._steps,
        )
        set_learning_rate(self._optimiser, config.learning_rate * factor)
        rng = step_rng("model", config.seed, epoch, step, self._workers.rank)
        torch.manual_seed(int(rng.integers(2**62)))

    def _add(self, values: dict[str, float]) -> None:
        sums = self._place.sums
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + value

    def _average_over_workers(self) -> None:
        """Give all workers the same gradients, and the same running means of trained batch norms."""
        if self._workers.size == 1:
            return
        gradients = []
        for parameter in self._model.parameters():
            if parameter.requires_grad:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        buffers = [buffer for buffer in self._model.buffers() if buffer.is_floating_point()]
        self._workers.average(gradients + buffers)

    def _clip(self, where: str) -> float:
        """Return the norm of the gradient, which is shortened to the limit where there is one."""
        limit = self._config.max_gradient_norm or float("inf")
        norm = nn.utils.clip_grad_norm_(self._model.parameters(), limit).item()
        if not np.isfinite(norm):
            raise RunError(f"training diverged in {where}: gradient norm {norm}")
        return norm

    def _means(self) -> dict[str, float]:
        means = {name: value / self._steps for name, value in self._place.sums.items()}
        groups = self._optimiser.param_groups
        return means | {"learning_rate": max(group["lr"] for group in groups)}

    def _validate(self) -> dict[str, float | None]:
        """Score the validation videos with the averaged weights; remember the best epoch so far."""
        place = self._place
        model = self._model if self._average is None else self._average.module
        scores = self._scorer.scores(model.eval(), self._workers)
        metrics = correlations(scores, np.array([video.label for video in self._data.validation]))
        srcc = metrics["validation_srcc"]
        # While no epoch has a correlation, the latest is as good as any.
        if place.best_srcc is None or (srcc is not None and srcc > place.best_srcc):
            place.best_epoch, place.best_srcc = place.epoch, srcc
            place.best_weights = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
            place.best_scores = scores.tolist()
        return metrics

    def _identity(self) -> dict[str, Any]:
        """What a resumed training must share with the interrupted one; how often it is saved is free."""
        settings = {k: v for k, v in self._config.as_dict().items() if k != "checkpoint_minutes"}
        return settings | {"data": self._digest, "workers": self._workers.size}

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        if self._workers.rank:
            return
        tensors = {"model": self._model.state_dict(), "optimiser": self._optimiser.state_dict()}
        if self._average is not None:
            tensors["average"] = self._average.state_dict()
        write_state(self._output, self._place, identity=self._identity(), tensors=tensors)

    def _restore(self) -> None:
        state = read_state(self._output, identity=self._identity())
        if state is None:
            return
        self._place, tensors = state
        self._model.load_state_dict(tensors["model"])
        self._optimiser.load_state_dict(tensors["optimiser"])
        if self._average is not None:
            self._average.load_state_dict(tensors["average"])


def require_clips(num_clips: int, num_files: int, config: TrainConfig, *, num_workers: int) -> int:
    """Return the clips of a step, refusing more than an epoch has.

    Args:
        num_clips: that an epoch meets, of `num_files` files, some of which it meets more than once.
        num_files: different ones.
        config: how many a batch and a step have.
        num_workers: that take a batch each.

    Raises:
        ConfigurationError: a step has more.
    """
    step_clips = config.batch_size * config.accumulate * num_workers
    if step_clips > num_clips:
        repeated = f" ({num_files} files, some of them repeated)" if num_files < num_clips else ""
        raise ConfigurationError(
            f"batch_size x accumulate x workers must be <= {num_clips} training videos{repeated}, "
            f"got {config.batch_size} x {config.accumulate} x {num_workers}"
        )
    return step_clips


def _steps_per_epoch(data: TrainingData, config: TrainConfig, num_workers: int) -> int:
    num_files = len({video.folder for video in data.train})
    step_clips = require_clips(len(data.train), num_files, config, num_workers=num_workers)
    return config.steps_per_epoch or len(data.train) // step_clips
