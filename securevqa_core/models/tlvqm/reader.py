"""Owns turning the frames of a video, as they are decoded, into TLVQM's features: a block's in memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from securevqa_core.models.tlvqm.features import pooled, usual_row
from securevqa_core.models.tlvqm.high import HIGH_FEATURES, tlvqm_high_features
from securevqa_core.models.tlvqm.low import LOW_FEATURES, tlvqm_low_features
from securevqa_core.models.videval.colour import lab, linear, rgb
from securevqa_core.models.videval.key_points import SIZE_SHARE
from securevqa_core.models.videval.planes import halved
from securevqa_core.models.videval.reader import FeatureReader
from securevqa_core.whole_frames import Planes, WholePlan

__all__ = ["TlvqmReader"]


class TlvqmReader(FeatureReader):
    """Takes frames in any order, best in that of display, and gives the features of their video."""

    num_frame_features = len(LOW_FEATURES)

    def __init__(self, plan: WholePlan, *, lines: int = 0, device: torch.device | str = "cpu") -> None:
        super().__init__(plan, lines=lines, device=device)
        self._closer = torch.full((len(plan.blocks), len(HIGH_FEATURES)), torch.nan)
        self._num_closed = 0  # blocks whose usual frame was looked at

    def _statistics(self, itself: Sequence[Planes], others: Sequence[Tensor]) -> Tensor:
        y = self._luma(itself) / 255
        before, after = (one / 255 for one in others)
        return tlvqm_low_features(y, before, halved(y), after, reach=y.shape[2] // SIZE_SHARE)

    def _look_closer(self, number: int, planes: Planes) -> None:
        """Do nothing: which frame of a block is looked at is known at its end."""

    def _flush(self) -> None:
        super()._flush()
        blocks = self._plan.blocks
        while self._num_closed < len(blocks) and blocks[self._num_closed].max() < self._next:
            rows = blocks[self._num_closed]
            chosen = rows[usual_row(self._frames[torch.from_numpy(rows)])]
            if self._held:
                number = self._plan.triples[chosen, 1]
                nearest = min(self._held, key=lambda held: (abs(held - number), held))
                self._closer[self._num_closed] = self._closely(self._held[nearest])
            self._num_closed += 1
        self._held = {number: planes for number, planes in self._held.items() if self._is_wanted(number)}

    def _is_wanted(self, number: int) -> bool:
        if self._num_closed == len(self._plan.blocks):
            return super()._is_wanted(number)
        first = self._plan.blocks[self._num_closed].min()
        return super()._is_wanted(number) or number in self._plan.triples[first : self._next, 1]

    def _closely(self, planes: Planes) -> Tensor:
        with torch.inference_mode():
            whole = self._planes([planes])
            return tlvqm_high_features(whole[0][0] / 255, lab([linear(one) for one in rgb(*whole)])[0])

    def _pooled(self) -> Tensor:
        return pooled(self._frames, self._closer, self._plan.blocks)
