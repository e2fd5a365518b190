"""Owns the training of models that are a regression: statistics of every video or draw, then one fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from securevqa_core.models.nss_svr import NssSvr, fit_svr
from securevqa_core.models.videval.model import Videval, fit_videval
from securevqa_core.opinions.regression import GAMMA
from securevqa_core.scoring import normalise
from securevqa_core.training.cache import CachedVideo
from securevqa_core.training.loop import Fitted, TrainingData
from securevqa_core.training.validation import Scorer, correlations

__all__ = ["Regression", "fit_baseline"]

Regression = NssSvr | Videval  # and TLVQM, which is one as VIDEVAL is
EPSILON = 3.0  # points of 100 that cost nothing
CHOICES_OF_C = (1.0, 3.0, 10.0, 30.0, 100.0)  # the best on validation is kept


def fit_baseline(model: Regression, data: TrainingData) -> Fitted:
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
    fit = _fit(model, data)
    scorer = Scorer(data.validation, device=torch.device("cpu"), precision="float32", frozen_inter=True)
    truth = np.array([video.label for video in data.validation])
    choices = CHOICES_OF_C if len(truth) else (CHOICES_OF_C[len(CHOICES_OF_C) // 2],)
    history: list[dict[str, Any]] = []
    scores = []
    for c in choices:
        fit(c)
        scores.append(scorer.scores(model))
        history.append({"c": c, **correlations(scores[-1], truth)})
    ranks = [entry["validation_srcc"] for entry in history]
    best = int(np.argmax([-np.inf if rank is None else rank for rank in ranks]))
    fit(choices[best])
    return Fitted(
        best_epoch=CHOICES_OF_C.index(choices[best]),
        best_srcc=ranks[best],
        validation_scores=tuple(scores[best].tolist()),
        history=tuple(history),
    )


def _fit(model: Regression, data: TrainingData) -> Callable[[float], None]:
    """Return what fits the model with a given C."""
    labels = np.array([video.label for video in data.train], dtype=np.float64)
    if isinstance(model, Videval):
        whole = np.stack([video.statistics() for video in data.train])
        return lambda c: fit_videval(model, whole, labels, c=c, epsilon=EPSILON, gamma=GAMMA)
    statistics = np.concatenate([_statistics(model, video) for video in data.train])
    of_draws = np.repeat(labels, [len(video.fragments()) for video in data.train])
    return lambda c: fit_svr(model, statistics, of_draws, c=c, epsilon=EPSILON)


def _statistics(model: NssSvr, video: CachedVideo) -> NDArray[np.float32]:
    """Return (draws, 42) of the first clip of every draw; the baseline has no guardian map."""
    pixels = torch.from_numpy(np.array(video.fragments()[:, 0]))
    with torch.inference_mode():
        return model.intra(normalise(pixels)).flatten(1).numpy()
