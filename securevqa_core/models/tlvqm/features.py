"""Owns TLVQM's 75 features: what each is, and how they come from the statistics of a video's frames.

TLVQM: Korhonen, "Two-level approach for no-reference consumer video quality assessment" (IEEE Transactions on
Image Processing, 2019). 22 statistics of every second frame are pooled over blocks of a second, by mean and
by deviation; one more says how motion and blur go together. 30 are of one frame a block, the most usual one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securevqa_core.models.tlvqm.high import HIGH_FEATURES
from securevqa_core.models.tlvqm.low import LOW_FEATURES

__all__ = ["FEATURES", "Feature", "pooled", "usual_row"]

_MOTION, _BLUR, _DETAIL = (
    LOW_FEATURES.index(name)
    for name in (
        "strength of motion",
        "blur: what is left of edges when they are filtered again",
        "spatial detail",
    )
)
_DENSITY = LOW_FEATURES.index("density of points that share a motion")


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One of the 75."""

    source: str  # its level, and its number there
    meaning: str
    pooling: str  # over frames: mean, deviation, correlation or usual frame


def _low(pooling: str) -> tuple[Feature, ...]:
    return tuple(
        Feature(source=f"TLVQM low {number}", meaning=meaning, pooling=pooling)
        for number, meaning in enumerate(LOW_FEATURES, start=1)
    )


FEATURES = (
    *_low("mean"),
    *_low("deviation"),
    Feature(
        source=f"TLVQM low {_MOTION + 1} and {_BLUR + 1}", meaning="motion with blur", pooling="correlation"
    ),
    *(
        Feature(source=f"TLVQM high {number}", meaning=meaning, pooling="usual frame")
        for number, meaning in enumerate(HIGH_FEATURES, start=1)
    ),
)


def usual_row(block: Tensor) -> int:
    """Return the row of statistics (n, 22) of a block's frames that is nearest to their mean.

    By the sum of distances, as the author's program, which looks at six more statistics for this alone.
    """
    return int((block - block.mean(dim=0)).abs().sum(dim=1).nan_to_num(torch.inf).argmin())


def pooled(frames: Tensor, closer: Tensor, blocks: Sequence[NDArray[np.int64]]) -> Tensor:
    """Return the 75 features of a video; not a number where one is undefined throughout.

    Args:
        frames: (n, 22) statistics of its frames.
        closer: (b, 30) statistics of one frame of every block.
        blocks: rows of `frames` that are pooled together; all that is pooled is averaged over blocks.
    """
    parts = [frames[torch.from_numpy(rows)].double() for rows in blocks]
    means = torch.stack([one.mean(dim=0) for one in parts])
    deviations = torch.stack([one.std(dim=0, correction=min(len(one) - 1, 1)) for one in parts])
    together = torch.stack([_together(one) for one in parts])
    found = [means, deviations, together[:, None], closer.double()]
    return torch.cat([one.nanmean(dim=0) for one in found]).to(frames.dtype)


def _together(block: Tensor) -> Tensor:
    """Return the correlation of motion and blur; 0 where detail or the density of motion does not change."""
    if len(block) < 2 or not (block[:, [_DETAIL, _DENSITY]].std(dim=0) > 0).all():
        return block.new_zeros(())
    motion, blur = (block[:, column] - block[:, column].mean() for column in (_MOTION, _BLUR))
    norm = motion.norm() * blur.norm()
    return (motion @ blur) / norm if norm > 0 else block.new_zeros(())
