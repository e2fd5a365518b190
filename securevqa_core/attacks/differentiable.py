"""Owns scoring as one differentiable function of decoded frames: what an attacker computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from numpy.typing import NDArray
from torch import Tensor, nn

from securevqa_core.errors import ConfigurationError
from securevqa_core.fragments import grid_corners, sampled_size
from securevqa_core.guardian import add_guardian_map
from securevqa_core.randomness import VideoDraw, generator
from securevqa_core.sampling import continuous_sample, skip_sample
from securevqa_core.scoring import normalise
from securevqa_core.types import SamplingConfig

__all__ = ["Cap", "FrameScorer", "Pooling", "Transform"]

Pooling = Literal["mean", "median"]
_MIDDLE = 128  # a level that no guardian map clamps
_ALIKE = bytes(32)  # the seed of sampling that is the same in every draw


@dataclass(frozen=True, slots=True, kw_only=True)
class Transform:
    """What is done to all frames before anything is sampled from them."""

    apply: Callable[[Tensor, VideoDraw], Tensor]  # (t, h, w, 3) float 0..255 -> the same
    is_random: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """What holds the score of a video: the score of its rendition."""

    encode: Callable[[Tensor], Tensor]  # (t, h, w, 3) float 0..255 -> the same, as viewers get it
    highest: Callable[[Tensor], Tensor]  # raw score of a rendition -> the highest raw score of a video


class FrameScorer:
    """A model of the zoo with all that lies between decoded frames and its scores.

    Values are rounded to 8 bits and clamped where scoring does so; gradients pass straight through both.

    Args:
        model: in eval mode; its parameters stop asking for gradients.
        sampling: which pixels it looks at, and the amplitude of its guardian map.
        transforms: of the whole frames, in order.
        samples_alike: the same frames and patches are sampled in every draw: no spatial grid sampling.
        motion: (channels,) what the head gets in place of the inter branch's features; None: those.
        pooling: of a video's draws.
        cell_side: of the squares of pixels that share a guardian map's sign, in each channel; 1 in scoring.
        cap: of the mean over draws and clips; all of these are lowered by as much. None: there is none.
        rounds: False leaves rounding and clamping out, to compare gradients with differences.

    Raises:
        ConfigurationError: a part of the model is in training mode: dropout would be an unreported defence.
    """

    def __init__(
        self,
        model: nn.Module,
        sampling: SamplingConfig,
        *,
        transforms: Sequence[Transform] = (),
        samples_alike: bool = False,
        motion: Tensor | None = None,
        pooling: Pooling = "mean",
        cell_side: int = 1,
        cap: Cap | None = None,
        rounds: bool = True,
    ) -> None:
        training = [name or "model" for name, part in model.named_modules() if part.training]
        if training:
            raise ConfigurationError(f"model must be in eval mode, got {training[0]} in training mode")
        self._model: Any = model.requires_grad_(requires_grad=False)
        self.sampling = sampling
        self.pooling = pooling
        num_alike = next((n for n, one in enumerate(transforms) if one.is_random), len(transforms))
        self._alike, self._transforms = tuple(transforms[:num_alike]), tuple(transforms[num_alike:])
        self._samples_alike = samples_alike
        self._motion = motion
        self._cell_side = cell_side
        self._cap = cap
        self._rounds = rounds

    def __call__(self, frames: Tensor, draws: Sequence[VideoDraw]) -> Tensor:
        """Return raw scores (draws, clips): the mean over temporal positions, on the model's own scale.

        Args:
            frames: (t, h, w, 3) float RGB, 0..255: the whole video.
            draws: at least one.

        Raises:
            ConfigurationError: frames of another shape or type, or no draws.
        """
        if frames.ndim != 4 or frames.shape[3] != 3 or not frames.is_floating_point() or not len(frames):
            raise ConfigurationError(
                f"frames must be float (t >= 1, h, w, 3), got {frames.dtype} {tuple(frames.shape)}"
            )
        if not draws:
            raise ConfigurationError("draws must hold at least 1 draw, got 0")
        return self._scores(self._looks(frames, draws), draws)

    def gradient(self, frames: Tensor, draws: Sequence[VideoDraw]) -> tuple[float, Tensor]:
        """Return the mean raw score over draws and clips and its gradient, one draw in memory at a time."""
        start, total = frames.detach().requires_grad_(), 0.0
        looks = self._looks(start, draws)
        slopes = [torch.zeros_like(one) for one in looks]
        for draw in draws:
            leaves = [one.detach().requires_grad_() for one in looks]
            score = self._scores(leaves, (draw,)).mean()
            for number, slope in enumerate(torch.autograd.grad(score, leaves, materialize_grads=True)):
                slopes[number] += slope
            total += float(score.detach())
        (slope,) = torch.autograd.grad(looks, start, slopes)
        return total / len(draws), slope / len(draws)

    def measure(self, frames: NDArray[np.uint8], draws: Sequence[VideoDraw]) -> NDArray[np.float64]:
        """Return raw scores (draws, clips) of 8-bit frames (t, h, w, 3), without gradients."""
        with torch.no_grad():
            pixels = torch.from_numpy(np.asarray(frames).astype(np.float32)).to(self.device)
            return self(pixels, draws).double().cpu().numpy()

    def pool(self, draws: NDArray[np.float64]) -> float:
        """Return the one value of a video's draws (n,)."""
        return float(np.median(draws) if self.pooling == "median" else np.mean(draws))

    @property
    def is_random(self) -> bool:
        """Whether draws differ at all."""
        random_pixels = self.sampling.guardian_amplitude > 0 or any(t.is_random for t in self._transforms)
        random_places = not self._samples_alike and getattr(self._model, "reads_fragments", True)
        return random_pixels or random_places

    @property
    def device(self) -> torch.device:
        """Where the model is, and frames have to be."""
        return next((one.device for one in self._model.parameters()), torch.device("cpu"))

    def fragments(self, frames: Tensor, draw: VideoDraw) -> Tensor:
        """Return (clips, d, G S, G S, 3), what the intra backbone sees before normalisation (Eqs. 1-5)."""
        sampling = self.sampling
        clips = skip_sample(len(frames), sampling, generator(draw.skip_sampling))
        height, width = sampled_size(frames.shape[1], frames.shape[2], sampling)
        corners = grid_corners(height, width, sampling, generator(draw.grid_sampling))
        if frames.shape[1:3] != (height, width):
            used, places = np.unique(clips, return_inverse=True)
            frames, clips = _resized(frames[self._index(used)], height, width), places.reshape(clips.shape)
        rows, columns = (self._index(one) for one in _pixel_places(corners, sampling))
        spliced = self._eight_bit(frames[self._index(clips)[..., None, None], rows, columns])
        (guarded,) = self._guarded((spliced,), draw.guardian_intra)
        return guarded

    def segments(self, frames: Tensor, draw: VideoDraw, *, small: Tensor | None = None) -> Tensor:
        """Return (segments, d, side, side, 3), the inter backbone's input, not yet normalised (Eqs. 7-9).

        `small` has the frames that segments are made of, in their size, where they are there already.
        """
        pixels = self._small(frames) if small is None else small
        chosen = continuous_sample(len(frames), self.sampling)
        places = np.unique(chosen, return_inverse=True)[1].reshape(chosen.shape)
        segments = (pixels[self._index(one)] for one in places)
        return torch.stack(list(self._guarded(segments, draw.guardian_inter)))

    def _small(self, frames: Tensor) -> Tensor:
        """Return (k, side, side, 3), each frame that is in a segment once (Eq. 8)."""
        used = np.unique(continuous_sample(len(frames), self.sampling))
        side = self.sampling.segment_side
        return self._eight_bit(_resized(frames[self._index(used)], side, side))

    def _looks(self, frames: Tensor, draws: Sequence[VideoDraw]) -> list[Tensor]:
        """Return what every draw starts from: frames after what is the same in all; and their rendition."""
        for transform in self._alike:
            frames = transform.apply(frames, draws[0])
        return [frames] if self._cap is None else [frames, self._cap.encode(frames)]

    def _scores(self, looks: Sequence[Tensor], draws: Sequence[VideoDraw]) -> Tensor:
        """Return (draws, clips) raw scores of the first look, held to a cap by the second."""
        upload = self._unheld(looks[0], draws)
        if self._cap is None:
            return upload
        highest, free = self._cap.highest(self._unheld(looks[1], draws).mean()), upload.detach()
        return upload if free.mean() <= highest else free - free.mean() + highest

    def _unheld(self, frames: Tensor, draws: Sequence[VideoDraw]) -> Tensor:
        """Return (draws, clips) raw scores; whole frames are made small once where no draw changes them."""
        has_inter = self.sampling.num_segments > 0 and self._motion is None
        small = self._small(frames) if has_inter and not self._transforms else None
        return torch.stack([self._score(frames, draw, small) for draw in draws])

    def _score(self, frames: Tensor, draw: VideoDraw, small: Tensor | None) -> Tensor:
        for transform in self._transforms:
            frames = transform.apply(frames, draw)
        if self._samples_alike:
            draw = replace(draw, skip_sampling=_ALIKE, grid_sampling=_ALIKE)
        intra = self._model.intra(normalise(self.fragments(frames, draw)))
        inter = None
        if self.sampling.num_segments:
            features = self._features(frames, draw, small)
            inter = features[None].expand(len(intra), *features.shape)
        scores: Tensor = self._model.head(intra, inter)
        return scores.flatten(1).mean(dim=1)

    def _features(self, frames: Tensor, draw: VideoDraw, small: Tensor | None) -> Tensor:
        """Return (segments, channels)."""
        if self._motion is not None:
            return self._motion.expand(self.sampling.num_segments, -1)
        features: Tensor = self._model.inter(normalise(self.segments(frames, draw, small=small)))
        return features

    def _guarded(self, clips: Iterator[Tensor] | tuple[Tensor, ...], seed: bytes) -> Iterator[Tensor]:
        """Add guardian maps (Eqs. 5 and 9), the same ones as in scoring."""
        amplitude, rng = self.sampling.guardian_amplitude, generator(seed)
        for pixels in clips:
            if not amplitude:
                yield pixels
                continue
            yield self._eight_bit(pixels + torch.from_numpy(self._signs(pixels, rng)).to(pixels.device))

    def _signs(self, pixels: Tensor, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return a guardian map for (..., h, w, 3): the amplitude, up or down."""
        *before, height, width, channels = pixels.shape
        side = self._cell_side
        level = np.full((*before, -(-height // side), -(-width // side), channels), _MIDDLE, dtype=np.uint8)
        signs = add_guardian_map(level, rng, amplitude=self.sampling.guardian_amplitude)
        if side > 1:
            signs = signs.repeat(side, axis=-3).repeat(side, axis=-2)[..., :height, :width, :]
        return signs.astype(np.float32) - _MIDDLE

    def _eight_bit(self, pixels: Tensor) -> Tensor:
        """Round and clamp to 0..255; the gradient is that of the identity."""
        rounded: Tensor = _EightBit.apply(pixels) if self._rounds else pixels
        return rounded

    def _index(self, numbers: NDArray[np.integer[Any]]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(numbers)).to(self.device)


class _EightBit(torch.autograd.Function):
    """Whole levels in 0..255, with the gradient of the identity."""

    @staticmethod
    def forward(_context: Any, pixels: Tensor) -> Tensor:
        return pixels.round().clamp_(0, 255)

    @staticmethod
    def backward(_context: Any, slope: Tensor) -> Tensor:
        return slope


def _resized(frames: Tensor, height: int, width: int) -> Tensor:
    """Resample (k, h, w, 3) to (k, height, width, 3), antialiased bilinear as in decoding."""
    if frames.shape[1:3] == (height, width):
        return frames
    planes = frames.permute(0, 3, 1, 2)
    return F.interpolate(planes, (height, width), mode="bilinear", antialias=True).permute(0, 2, 3, 1)


def _pixel_places(
    corners: NDArray[np.int64], sampling: SamplingConfig
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows and columns (clips, d, G S, G S) of a spliced frame's pixels (Eqs. 3, 4)."""
    groups = np.arange(sampling.clip_frames) * sampling.num_offset_groups // sampling.clip_frames
    side = sampling.patch_side
    across = corners[:, groups].repeat(side, axis=2).repeat(side, axis=3)
    inside = np.arange(sampling.fragment_side) % side
    return across[..., 0] + inside[:, None], across[..., 1] + inside
