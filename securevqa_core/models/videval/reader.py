"""Owns turning the frames of a video, as they are decoded, into its features, a few frames in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securevqa_core.models.videval.colour import full_chroma
from securevqa_core.models.videval.features import (
    FRAME_FEATURES,
    SECOND_FEATURES,
    frame_features,
    pooled,
    second_features,
)
from securevqa_core.models.videval.planes import halved, resized, stacked
from securevqa_core.types import SamplingConfig
from securevqa_core.whole_frames import Planes, WholePlan, whole_plan

__all__ = ["FeatureReader", "FeatureSink"]

_MOST_FRAMES = 16  # at once: filters run over so many side by side
_MOST_PIXELS = 16 << 20  # at once
_LEAST_SIDE = 64  # pixels; of smaller frames there are no blocks and no corners to look at


class FeatureSink:
    """Takes the whole frames of a video from its decoder and gives the features of the video.

    Args:
        sampling: of the model; it asks for whole frames.
        reader: of its features.
        device: where to compute.
    """

    def __init__(
        self,
        sampling: SamplingConfig,
        *,
        reader: type[FeatureReader] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self._sampling, self._device = sampling, device
        self._kind = reader or FeatureReader
        self._reader: FeatureReader | None = None

    def begin(self, num_moments: int, fps: float | None) -> None:
        """Expect the frames of a video from its beginning."""
        plan = whole_plan(num_moments, fps, self._sampling)
        assert plan is not None
        self._reader = self._kind(plan, lines=self._sampling.statistics_lines, device=self._device)

    def add(self, number: int, planes: Planes) -> None:
        """Take one frame."""
        assert self._reader is not None
        self._reader.add(number, planes)

    def features(self) -> NDArray[np.float32]:
        """Return the features of the video that was begun last; not a number where one is undefined."""
        assert self._reader is not None
        return self._reader.features()


class FeatureReader:
    """Takes frames in any order, best in that of display, and gives the features of their video.

    Args:
        plan: which frames there will be.
        lines: shorter side that frames are shrunk to; 0 leaves them.
        device: where to compute.
    """

    num_frame_features = len(FRAME_FEATURES)

    def __init__(self, plan: WholePlan, *, lines: int = 0, device: torch.device | str = "cpu") -> None:
        self._plan, self._lines, self._device = plan, lines, torch.device(device)
        self._held: dict[int, Planes] = {}
        self._next = 0  # row of `plan.triples` that is to be computed
        self._frames = torch.full((len(plan.triples), self.num_frame_features), torch.nan)
        self._seconds = torch.full((len(plan.seconds), len(SECOND_FEATURES)), torch.nan)
        self._batch = 0  # triples at once; 0: not known before the first frame

    def add(self, number: int, planes: Planes) -> None:
        """Take one frame; all are of one size.

        Args:
            number: of `plan.wanted`.
            planes: 8-bit luma (h, w), blue and red chroma of half the size, ends rounded up.
        """
        if not self._batch:
            pixels = planes[0].size
            self._batch = int(np.clip(_MOST_PIXELS // pixels, 1, _MOST_FRAMES))
        while self._next < len(self._plan.triples) and number > self._plan.triples[self._rows()].max():
            self._flush()
        self._held[number] = planes
        if number == self._plan.triples[self._rows()].max(initial=-1):
            self._flush()
        self._look_closer(number, planes)

    def features(self) -> NDArray[np.float32]:
        """Return the features, in one row; not a number where one is undefined."""
        while self._next < len(self._plan.triples) and self._held:
            self._flush()
        return self._pooled().numpy()

    def _look_closer(self, number: int, planes: Planes) -> None:
        """Compute what one frame a second is looked at for."""
        for place in np.flatnonzero(self._plan.seconds == number):
            with torch.inference_mode():
                self._seconds[place] = second_features(self._planes([planes]))[0].cpu()

    def _pooled(self) -> Tensor:
        return pooled(self._frames, self._seconds, self._plan.blocks)

    def _rows(self) -> slice:
        return slice(self._next, self._next + self._batch)

    def _flush(self) -> None:
        """Compute the next rows; a frame that is missing is taken from its nearest neighbour."""
        triples = self._plan.triples[self._rows()]
        known = np.array(sorted(self._held))
        if len(known):
            nearest = known[np.abs(known[:, None, None] - triples).argmin(axis=0)]
            self._frames[self._rows()] = self._computed(nearest)
        self._next += len(triples)
        self._held = {number: planes for number, planes in self._held.items() if self._is_wanted(number)}

    def _is_wanted(self, number: int) -> bool:
        """Tell whether a frame that is held is looked at again."""
        following = self._plan.triples[self._rows()]
        return number >= int(following.min(initial=np.iinfo(np.int64).max))

    def _computed(self, triples: NDArray[np.int64]) -> Tensor:
        before, itself, after = ([self._held[number] for number in column] for column in triples.T.tolist())
        with torch.inference_mode():
            others = [halved(self._luma(frames)) for frames in (before, after)]
            return self._statistics(itself, others).cpu()

    def _statistics(self, itself: Sequence[Planes], others: Sequence[Tensor]) -> Tensor:
        return frame_features(self._planes(itself), *others)

    def _planes(self, frames: Sequence[Planes]) -> list[Tensor]:
        height, width = frames[0][0].shape
        luma, *chroma = (self._stack([planes[index] for planes in frames]) for index in range(3))
        return [self._shrunk(one) for one in (luma, *(full_chroma(one, height, width) for one in chroma))]

    def _luma(self, frames: Sequence[Planes]) -> Tensor:
        return self._shrunk(self._stack([planes[0] for planes in frames]))

    def _stack(self, planes: Sequence[NDArray[np.uint8]]) -> Tensor:
        return stacked(torch.from_numpy(np.stack(planes)).to(self._device).float())

    def _shrunk(self, x: Tensor) -> Tensor:
        """Return planes whose shorter side is `lines`, where it was longer; none is made too small."""
        shorter = min(x.shape[1:])
        if self._lines and shorter > self._lines:
            return resized(x, self._lines / shorter)
        return x if shorter >= _LEAST_SIDE else resized(x, _LEAST_SIDE / shorter)
