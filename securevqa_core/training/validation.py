"""Owns the scores of cached videos while training: those that scoring itself would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securevqa_core import metrics
from securevqa_core.errors import UndefinedError
from securevqa_core.inputs import guarded_draws
from securevqa_core.randomness import Key, VideoDraw, keyed_draws
from securevqa_core.scoring import Precision, inter_features, normalise, raw_scores
from securevqa_core.training.cache import CachedVideo
from securevqa_core.training.inputs import Stem, inter_backbone, statistics_stem
from securevqa_core.training.steps import ALONE, Workers

__all__ = ["Scorer", "correlations", "taught"]


class Scorer:
    """Scores cached videos with the draws and guardian maps of public randomness with their cache's seed.

    So the scores of a video cached as the zoo samples it are those of `score --seed`.
    """

    def __init__(
        self,
        videos: Sequence[CachedVideo],
        *,
        device: torch.device,
        precision: Precision,
        frozen_inter: bool,
    ) -> None:
        self._videos, self._device, self._precision = videos, device, precision
        self._frozen_inter = frozen_inter
        # What is the same in every epoch: frozen features or statistics of motion, statistics of fragments.
        self._features: dict[Path, NDArray[np.float32]] = {}
        self._statistics: dict[Path, Tensor] = {}

    def scores(self, model: Any, workers: Workers = ALONE) -> NDArray[np.float64]:
        """Return one raw score a video, the mean over draws and clips, in order.

        Args:
            model: of the zoo, in eval mode.
            workers: share the videos out; each returns all scores.
        """
        mine = [self._score(model, video) for video in self._videos[workers.rank :: workers.size]]
        scores = np.empty(len(self._videos))
        for rank, part in enumerate(workers.gather(mine)):
            scores[rank :: workers.size] = part
        return scores

    def _score(self, model: Any, video: CachedVideo) -> float:
        features = None
        if video.config.sampling.has_statistics:
            features = video.statistics()[None, None].repeat(video.config.num_draws, axis=0)
        elif inter_backbone(model) is not None:
            features = self._inter(model, video)
        stem = statistics_stem(getattr(model, "fragments_backbone", None))
        if stem is not None:
            return self._score_statistics(model, self._intra_statistics(stem, video), features)
        guarded = self._guarded(video)
        raw = raw_scores(model, guarded, features, device=self._device, precision=self._precision)
        return float(raw.mean())

    def _score_statistics(
        self, model: Any, statistics: Tensor, features: NDArray[np.float32] | None
    ) -> float:
        """Score statistics (draws, clips, s, d / 2, g, g) as `raw_scores` would the fragments they are of."""
        is_bfloat16 = self._precision == "bfloat16"
        num_clips = statistics.shape[1]
        inter = None
        if features is not None:
            inter = torch.from_numpy(features).repeat_interleave(num_clips, dim=0).to(self._device)
        with torch.inference_mode():
            with torch.autocast(self._device.type, torch.bfloat16, enabled=is_bfloat16):
                intra = model.fragments_backbone.from_statistics(statistics.flatten(0, 1).to(self._device))
            return float(model.head(intra.float(), inter).double().mean())

    def _intra_statistics(self, stem: Stem, video: CachedVideo) -> Tensor:
        if video.folder not in self._statistics:
            guarded = self._guarded(video)
            with torch.inference_mode():
                statistics = stem(normalise(torch.from_numpy(guarded).flatten(0, 1).to(self._device)))
            self._statistics[video.folder] = statistics.view(*guarded.shape[:2], *statistics.shape[1:]).cpu()
        return self._statistics[video.folder]

    def _guarded(self, video: CachedVideo) -> NDArray[np.uint8]:
        seeds = [draw.guardian_intra for draw in _draws(video)]
        amplitude = video.config.sampling.guardian_amplitude
        return guarded_draws(video.fragments(), seeds, amplitude=amplitude)

    def _inter(self, model: Any, video: CachedVideo) -> NDArray[np.float32]:
        if self._frozen_inter:
            return self._once(model.inter, video)
        stem = statistics_stem(inter_backbone(model))
        if stem is None:
            return self._of_segments(model.inter, video)
        seen = torch.from_numpy(self._once(stem, video)).to(self._device)
        is_bfloat16 = self._precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=is_bfloat16):
            features: Tensor = model.inter_backbone.from_statistics(seen.flatten(0, 1))
        return features.float().view(*seen.shape[:2], -1).cpu().numpy()

    def _once(self, branch: Stem, video: CachedVideo) -> NDArray[np.float32]:
        if video.folder not in self._features:
            self._features[video.folder] = self._of_segments(branch, video)
        return self._features[video.folder]

    def _of_segments(self, branch: Stem, video: CachedVideo) -> NDArray[np.float32]:
        return inter_features(
            branch,
            video.frames(),
            video.segments(),
            [draw.guardian_inter for draw in _draws(video)],
            sampling=video.config.sampling,
            device=self._device,
            precision=self._precision,
        )


def _draws(video: CachedVideo) -> tuple[VideoDraw, ...]:
    return keyed_draws(Key.public(video.config.seed), video.content_sha256, video.config.num_draws)


def correlations(scores: NDArray[np.float64], labels: NDArray[np.float64]) -> dict[str, float | None]:
    """Return SRCC, PLCC and KRCC on validation; None where one is not defined."""
    measured: dict[str, float | None] = {}
    for name, measure in {"srcc": metrics.srcc, "plcc": metrics.plcc, "krcc": metrics.krcc}.items():
        try:
            measured[f"validation_{name}"] = measure(scores, labels)
        except UndefinedError:
            measured[f"validation_{name}"] = None
    return measured


def taught(
    model: Any,
    videos: Sequence[CachedVideo],
    *,
    device: torch.device,
    precision: Precision,
    workers: Workers = ALONE,
) -> list[CachedVideo]:
    """Return `videos` with the scores of `model` for labels, on the scale of the labels they had.

    One score a video, the mean over its cached draws, whatever is done to what a student sees: distillation
    as in Goldblum et al., "Adversarially robust distillation" (AAAI 2020).

    Args:
        model: the teacher, of the zoo, on `device`; left in eval mode.
        videos: at least one.
        device: where to compute.
        precision: of the backbones' arithmetic.
        workers: share the videos out; each returns all of them.
    """
    scorer = Scorer(videos, device=device, precision=precision, frozen_inter=False)
    scores, labels = scorer.scores(model.eval(), workers), np.array([video.label for video in videos])
    wanted = labels.mean() + labels.std() * (scores - scores.mean()) / (scores.std() or 1.0)
    return [replace(video, label=float(label)) for video, label in zip(videos, wanted, strict=True)]
