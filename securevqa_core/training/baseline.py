"""Owns the training of the baseline: statistics of every cached draw, then one regression."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from securevqa_core.models.nss_svr import NssSvr, fit_svr
from securevqa_core.scoring import normalise
from securevqa_core.training.cache import CachedVideo
from securevqa_core.training.loop import Fitted, TrainingData
from securevqa_core.training.validation import Scorer, correlations

__all__ = ["fit_baseline"]

EPSILON = 3.0  # points of 100 that cost nothing
CHOICES_OF_C = (1.0, 3.0, 10.0, 30.0, 100.0)  # the best on validation is kept


def fit_baseline(model: NssSvr, data: TrainingData) -> Fitted:
    """Fit the regression once for each C, keep the one that ranks the validation videos best.

    Without validation videos the middle C is kept. `best_epoch` of the result is the place of C in
    `CHOICES_OF_C`.

    Args:
        model: to be fitted, in place, on the CPU.
        data: what to learn from and what to choose C on.

    Raises:
        RunError: scikit-learn is not installed.
        ConfigurationError: the training videos leave more support vectors than a model has room for.
    """
    statistics = np.concatenate([_statistics(model, video) for video in data.train])
    draws = [len(video.fragments()) for video in data.train]
    labels = np.repeat([video.label for video in data.train], draws)
    scorer = Scorer(data.validation, device=torch.device("cpu"), precision="float32", frozen_inter=True)
    truth = np.array([video.label for video in data.validation])
    choices = CHOICES_OF_C if len(truth) else (CHOICES_OF_C[len(CHOICES_OF_C) // 2],)
    history: list[dict[str, Any]] = []
    scores = []
    for c in choices:
        fit_svr(model, statistics, labels, c=c, epsilon=EPSILON)
        scores.append(scorer.scores(model))
        history.append({"c": c, **correlations(scores[-1], truth)})
    ranks = [entry["validation_srcc"] for entry in history]
    best = int(np.argmax([-np.inf if rank is None else rank for rank in ranks]))
    fit_svr(model, statistics, labels, c=choices[best], epsilon=EPSILON)
    return Fitted(
        best_epoch=CHOICES_OF_C.index(choices[best]),
        best_srcc=ranks[best],
        validation_scores=tuple(scores[best].tolist()),
        history=tuple(history),
    )


def _statistics(model: NssSvr, video: CachedVideo) -> NDArray[np.float32]:
    """Return (draws, 42) of the first clip of every draw; the baseline has no guardian map."""
    pixels = torch.from_numpy(np.array(video.fragments()[:, 0]))
    with torch.inference_mode():
        return model.intra(normalise(pixels)).flatten(1).numpy()
