"""Owns holding the pictures of a video until it has been decoded, and what a network then makes of each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securevqa_core.scoring import Precision
from securevqa_core.whole_frames import Planes

__all__ = ["PictureSink"]

_LEVEL = 127.5  # of 0..255: the network sees -1..1


class PictureSink:
    """Takes whole pictures from a decoder and gives their features.

    The network runs once the decoder has ended: a limit on decoding's time is not a limit on the network's.

    Args:
        features_of: makes features (1, channels) of a picture (1, 3, h, w), -1..1.
        device: where it is.
        precision: of its arithmetic.
    """

    def __init__(
        self, features_of: Callable[[Tensor], Tensor], *, device: torch.device, precision: Precision
    ) -> None:
        self._features_of, self._device, self._precision = features_of, device, precision
        self._pictures: dict[int, Planes] = {}

    def begin(self, num_moments: int, fps: float | None) -> None:  # noqa: ARG002 - the signature of every sink
        """Expect the pictures of a video from its beginning."""
        self._pictures = {}

    def add(self, number: int, planes: Planes) -> None:
        """Take one picture: red, green and blue."""
        self._pictures[number] = planes

    def features(self) -> NDArray[np.float32]:
        """Return (pictures channels,) of the video that was begun last, in order; it is then forgotten."""
        pictures = [planes for _, planes in sorted(self._pictures.items(), key=lambda item: item[0])]
        self._pictures = {}
        made = [self._of_picture(planes) for planes in pictures]
        return np.concatenate([np.zeros(0, np.float32), *made])

    def _of_picture(self, planes: Planes) -> NDArray[np.float32]:
        is_half = self._precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=is_half):
            picture = torch.from_numpy(np.stack(planes)).to(self._device).float()
            features: NDArray[np.float32] = (
                self._features_of(picture[None] / _LEVEL - 1)[0].float().cpu().numpy()
            )
        return features
