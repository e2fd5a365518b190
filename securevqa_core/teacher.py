"""Owns the teacher: the opinion that people would have of any video, by VIDEVAL, and how far it is in doubt.

The regression is fitted anew from the published features, once to all videos and `NUM_FITS` times to as many
drawn from them with replacement: what a fit on other people's videos would have said. That takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from securevqa_core import zoo
from securevqa_core.calibration import Calibration, fit_calibration
from securevqa_core.decoding.extract import DecodeRequest, DrawSeeds
from securevqa_core.decoding.sandbox import sandbox_of_thread
from securevqa_core.errors import DatasetError, VideoError
from securevqa_core.models.videval.model import Videval
from securevqa_core.models.videval.reader import FeatureSink
from securevqa_core.opinions.agreement import out_of_fold, together
from securevqa_core.opinions.predicted import Opinion
from securevqa_core.opinions.regression import fit
from securevqa_core.opinions.tables import read_opinions
from securevqa_core.types import DecodeLimits, SamplingConfig

__all__ = ["NUM_FITS", "Teacher", "fit_teacher"]

NUM_FITS = 20  # the spread of so many is known to a sixth
_SEED = 0
_LOW, _HIGH = 0.0, 100.0
_NO_DRAW = DrawSeeds(skip_sampling=bytes(32), grid_sampling=bytes(32))  # whole frames are no draw


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """The regressions and how they look at a video. Threads may share one."""

    model: Videval  # fitted to all videos
    others: tuple[Videval, ...]  # to videos drawn from them
    calibration: Calibration
    sampling: SamplingConfig

    def opinion_of(self, path: Path) -> Opinion:
        """Return the opinion that people would have of a video, on the threads that torch is set to.

        Raises:
            DatasetError: the video cannot be decoded.
        """
        sink = FeatureSink(self.sampling)
        request = DecodeRequest(sampling=self.sampling, draws=(_NO_DRAW,), limits=DecodeLimits())
        try:
            sandbox_of_thread(request.limits).decode(str(path), request, sink)
        except VideoError as error:
            raise DatasetError(f"{path} cannot be given an opinion: {error}") from error
        features = torch.from_numpy(sink.features())[None, None]
        with torch.inference_mode():
            raw = [float(one.head(features[:, 0, :0], features)) for one in (self.model, *self.others)]
        mean, *others = (self.calibration.to_score(one) for one in raw)
        return Opinion(mean=mean, sd=float(np.std(others, ddof=1)))


def fit_teacher(version: str, *, num_fits: int = NUM_FITS) -> Teacher:
    """Return a teacher, the same for the same arguments.

    Args:
        version: of VIDEVAL, a key of `VERSIONS`.
        num_fits: to videos drawn with replacement, two at least.

    Raises:
        RunError: scikit-learn is not installed.
    """
    everyone = together(read_opinions(version=version))
    predicted = out_of_fold(everyone, rng=np.random.default_rng(_SEED))
    rng, count = np.random.default_rng(_SEED), len(everyone.opinions)
    drawn = (rng.integers(count, size=count) for _ in range(num_fits))
    return Teacher(
        model=fit(everyone.features, everyone.opinions),
        others=tuple(fit(everyone.features[rows], everyone.opinions[rows]) for rows in drawn),
        calibration=fit_calibration(predicted, np.clip(everyone.opinions, _LOW, _HIGH), low=_LOW, high=_HIGH),
        sampling=zoo.spec(version).sampling,
    )
