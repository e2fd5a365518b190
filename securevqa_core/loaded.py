"""Owns a checkpoint that is ready to score with: what was sampled of a video in, its score out."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from securevqa_core import weights, zoo
from securevqa_core.decoding.extract import DecodedSample
from securevqa_core.errors import ConfigurationError
from securevqa_core.fragments import splice
from securevqa_core.inputs import guarded_draws
from securevqa_core.models.picture_sink import PictureSink
from securevqa_core.models.statistics_sink import statistics_sink
from securevqa_core.randomness import VideoDraw
from securevqa_core.scoring import Precision, Score, inter_features, raw_scores, summarise
from securevqa_core.types import SamplingConfig
from securevqa_core.whole_frames import StatisticsSink

__all__ = ["LoadedModel", "load_model", "one_thread", "whole_frames_sink"]


_forward = threading.Lock()  # the number of threads is the process's: blocks wait for each other


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let tensors be computed on one thread in the block, and on as many as before after it.

    More would make the last bits of a score depend on the machine, and small tensors wait for threads.
    """
    with _forward:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def whole_frames_sink(
    model: Any, sampling: SamplingConfig, *, device: torch.device, precision: Precision
) -> StatisticsSink | None:
    """Return what takes statistics or features of whole frames, None where there are none to take.

    Args:
        model: of the zoo, in eval mode; not looked at where its network sees no pictures.
        sampling: of the model.
        device: where `model` is.
        precision: of its arithmetic.
    """
    if sampling.picture_rate:
        return PictureSink(model.picture_features, device=device, precision=precision)
    return statistics_sink(sampling)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model with its weights, on its device."""

    checkpoint: weights.Checkpoint
    model: Any
    spec: zoo.ModelSpec
    precision: Precision
    device: torch.device

    def sink(self) -> StatisticsSink | None:
        """Return what takes statistics of whole frames as they are decoded, where there are any to take."""
        return whole_frames_sink(self.model, self.spec.sampling, device=self.device, precision=self.precision)

    def score(
        self, sample: DecodedSample, statistics: NDArray[np.float32] | None, draws: Sequence[VideoDraw]
    ) -> Score:
        """Return the score of what was sampled of a video.

        Args:
            sample: of the video, for `draws`.
            statistics: of its whole frames, where the model has a `sink`.
            draws: of the video, with the seeds of the guardian maps.

        Raises:
            ScoreError: score_not_finite.
        """
        sampling = self.spec.sampling
        intra_seeds = [draw.guardian_intra for draw in draws]
        fragments = guarded_draws(splice(sample.patches), intra_seeds, amplitude=sampling.guardian_amplitude)
        features = None
        if statistics is not None:
            features = statistics.reshape(1, 1, -1).repeat(len(draws), axis=0)
        elif sampling.num_segments:
            features = inter_features(
                self.model.inter,
                sample.frames,
                sample.segments,
                [draw.guardian_inter for draw in draws],
                sampling=sampling,
                device=self.device,
                precision=self.precision,
            )
        raw = raw_scores(self.model, fragments, features, device=self.device, precision=self.precision)
        return summarise(raw, self.checkpoint.calibration)


def load_model(checkpoint: weights.Checkpoint, *, precision: Precision, device: str) -> LoadedModel:
    """Make a checkpoint ready to score with on a device of torch's.

    Raises:
        ConfigurationError: torch knows no such device, or cannot compute on it here.
        CheckpointError: the weights do not fit their architecture.
    """
    place = _usable(device)
    return LoadedModel(
        checkpoint=checkpoint,
        model=weights.build(checkpoint).to(place),
        spec=zoo.spec(checkpoint.architecture),
        precision=precision,
        device=place,
    )


def _usable(device: str) -> torch.device:
    try:
        place = torch.device(device)
        torch.zeros(1, device=place).cpu()  # a device may have a name here, and no hardware or no code
    except (RuntimeError, TypeError, AssertionError, ImportError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigurationError(
            f"device must be one that torch can compute on here, as 'cpu', got {device!r}: {reason}"
        ) from error
    return place
