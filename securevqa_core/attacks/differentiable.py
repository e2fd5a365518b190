"""Owns scoring as one differentiable function of decoded frames: what an attacker computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from numpy.typing import NDArray
from torch import Tensor, nn

from securevqa_core.errors import ConfigurationError
from securevqa_core.fragments import grid_corners, sampled_size
from securevqa_core.guardian import is_raised
from securevqa_core.randomness import VideoDraw, generator
from securevqa_core.sampling import continuous_sample, skip_sample
from securevqa_core.scoring import keep_freed_memory, normalise
from securevqa_core.types import SamplingConfig

__all__ = ["Cap", "FrameScorer", "Pooling", "Transform"]

Pooling = Literal["mean", "median"]
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
        keep_freed_memory()
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
        start = frames.detach().requires_grad_()
        looks = self._looks(start, draws)
        shared, size = [one for look in looks for one in look], len(looks[0])
        slopes, total = [torch.zeros_like(one) for one in shared], 0.0
        for draw in draws:
            leaves = [one.detach().requires_grad_() for one in shared]
            score = self._scores(
                [leaves[at : at + size] for at in range(0, len(leaves), size)], (draw,)
            ).mean()
            of_draw = torch.autograd.grad(score, leaves, materialize_grads=True)
            slopes = [slope.add_(more) for slope, more in zip(slopes, of_draw, strict=True)]
            total += float(score.detach())
        (slope,) = torch.autograd.grad(shared, start, slopes)
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
            frames, clips = self._resized(frames, used, height, width), places.reshape(clips.shape)
        starts = self._index(_row_starts(corners, clips, (height, width), sampling))
        spliced = self._eight_bit(_Spliced.apply(frames.contiguous(), starts, sampling.patch_side))
        return self._guarded(spliced[None], draw.guardian_intra)[0]

    def segments(self, frames: Tensor, draw: VideoDraw, *, small: Tensor | None = None) -> Tensor:
        """Return (segments, d, side, side, 3), the inter backbone's input, not yet normalised (Eqs. 7-9).

        `small` has the frames that segments are made of, in their size, where they are there already.
        """
        pixels = self._small(frames) if small is None else small
        chosen = continuous_sample(len(frames), self.sampling)
        places = np.unique(chosen, return_inverse=True)[1].reshape(chosen.shape)
        segments = pixels.index_select(0, self._index(places.ravel()))
        return self._guarded(segments.view(*places.shape, *pixels.shape[1:]), draw.guardian_inter)

    def _small(self, frames: Tensor) -> Tensor:
        """Return (k, side, side, 3), each frame that is in a segment once (Eq. 8)."""
        used = np.unique(continuous_sample(len(frames), self.sampling))
        side = self.sampling.segment_side
        return self._eight_bit(self._resized(frames, used, side, side))

    def _looks(self, frames: Tensor, draws: Sequence[VideoDraw]) -> list[Sequence[Tensor]]:
        """Return what every draw starts from, of the video and of the rendition that caps it, if one does.

        Frames after the transforms that are the same in all; where no draw changes them, made small too.
        """
        for transform in self._alike:
            frames = transform.apply(frames, draws[0])
        has_inter = self.sampling.num_segments > 0 and self._motion is None
        is_shared = has_inter and not self._transforms
        seen = [frames] if self._cap is None else [frames, self._cap.encode(frames)]
        return [(one, self._small(one)) if is_shared else (one,) for one in seen]

    def _scores(self, looks: Sequence[Sequence[Tensor]], draws: Sequence[VideoDraw]) -> Tensor:
        """Return (draws, clips) raw scores of the first look, held by the second."""
        upload, *renditions = (torch.stack([self._score(draw, *look) for draw in draws]) for look in looks)
        if self._cap is None:
            return upload
        highest, free = self._cap.highest(renditions[0].mean()), upload.detach()
        return upload if free.mean() <= highest else free - free.mean() + highest

    def _score(self, draw: VideoDraw, frames: Tensor, small: Tensor | None = None) -> Tensor:
        """Return raw scores (clips,) of one draw."""
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

    def _guarded(self, clips: Tensor, seed: bytes) -> Tensor:
        """Add guardian maps (Eqs. 5 and 9) to each of `clips`, (..., h, w, 3), the same as in scoring."""
        amplitude, rng = self.sampling.guardian_amplitude, generator(seed)
        if not amplitude:
            return clips
        maps = torch.empty_like(clips)
        for one in maps:
            one.copy_(torch.from_numpy(self._map(one.shape, rng)))
        if not self._rounds:
            return clips + maps
        return _straight(clips, lambda whole: maps.add_(whole).clamp_(0, 255))

    def _map(self, shape: torch.Size, rng: np.random.Generator) -> NDArray[np.int8]:
        """Return a guardian map for (..., h, w, 3): the amplitude, up or down."""
        *before, height, width, channels = shape
        side, amplitude = self._cell_side, self.sampling.guardian_amplitude
        ups = is_raised((*before, -(-height // side), -(-width // side), channels), rng)
        if side > 1:
            ups = ups.repeat(side, axis=-3).repeat(side, axis=-2)[..., :height, :width, :]
        signs: NDArray[np.int8] = (ups * np.uint8(2 * amplitude) - np.uint8(amplitude)).view(np.int8)
        return signs  # as bytes, a quarter of what they are as numbers: what is below 0 wraps

    def _eight_bit(self, pixels: Tensor) -> Tensor:
        """Round and clamp to 0..255; the gradient is that of the identity."""
        return _straight(pixels, lambda one: one.round().clamp_(0, 255)) if self._rounds else pixels

    def _resized(self, frames: Tensor, used: NDArray[np.int64], height: int, width: int) -> Tensor:
        """Resample `used` of (t, h, w, 3) to (k, height, width, 3), antialiased bilinear as in decoding."""
        chosen = frames.index_select(0, self._index(used))
        if frames.shape[1:3] == (height, width):
            return chosen
        shrinks = height < frames.shape[1] or width < frames.shape[2]  # else it is the same, and slower
        planes = chosen.permute(0, 3, 1, 2)
        planes = F.interpolate(planes, (height, width), mode="bilinear", antialias=shrinks)
        return planes.permute(0, 2, 3, 1)

    def _index(self, numbers: NDArray[np.integer[Any]]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(numbers)).to(self.device)


def _straight(pixels: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return what `change` makes of pixels; the gradient is that of the identity."""
    changed: Tensor = _Straight.apply(pixels, change)
    return changed


class _Straight(torch.autograd.Function):
    @staticmethod
    def forward(_context: Any, pixels: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        return change(pixels)

    @staticmethod
    def backward(_context: Any, slope: Tensor) -> tuple[Tensor, None]:
        return slope, None


class _Spliced(torch.autograd.Function):
    """Rows of patches, side by side: (k, h, w, 3) and `_row_starts` -> (clips, d, G S, G S, 3) (Eq. 4)."""

    @staticmethod
    def forward(context: Any, frames: Tensor, starts: Tensor, side: int) -> Tensor:
        context.save_for_backward(starts)
        context.shape, context.side = frames.shape, side
        rows = _rows(frames, side).index_select(0, starts.flatten())
        return rows.view(*starts.shape[:3], -1, 3)

    @staticmethod
    def backward(context: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        (starts,) = context.saved_tensors
        frames = slope.new_zeros(context.shape)
        rows = _rows(frames, context.side)
        rows.index_add_(0, starts.flatten(), slope.reshape(-1, rows.shape[1]))
        return frames, None, None


def _rows(frames: Tensor, side: int) -> Tensor:
    """Return a view of frames (k, h, w, 3): every run of `side` pixels, (k h w - side + 1, 3 side)."""
    return frames.as_strided((frames.numel() // 3 - side + 1, 3 * side), (3, 1))


def _row_starts(
    corners: NDArray[np.int64], clips: NDArray[np.int64], size: tuple[int, int], sampling: SamplingConfig
) -> NDArray[np.int64]:
    """Return at which pixel of all frames' each row of a patch begins, (clips, d, G S, G) (Eq. 3)."""
    groups = np.arange(sampling.clip_frames) * sampling.num_offset_groups // sampling.clip_frames
    across = corners[:, groups].repeat(sampling.patch_side, axis=2)
    inside = np.arange(sampling.fragment_side)[:, None] % sampling.patch_side
    starts: NDArray[np.int64] = (clips[..., None, None] * size[0] + across[..., 0] + inside) * size[1]
    return starts + across[..., 1]
