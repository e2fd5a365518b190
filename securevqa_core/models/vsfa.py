"""Owns VSFA and MDTVSFA: statistics of each frame's map, a recurrent network, temporal pooling.

VSFA: Li, Jiang and Jiang, "Quality assessment of in-the-wild videos" (ACM Multimedia, 2019). MDTVSFA: the
same authors, "Unified quality assessment of in-the-wild videos with mixed datasets training" (IJCV, 2021).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from securevqa_core.errors import ConfigurationError
from securevqa_core.models.efficientnet_lite import EfficientNetLite
from securevqa_core.models.scnn import Scnn

__all__ = [
    "BETA",
    "TAU",
    "FrameModel",
    "InterBranch",
    "MdtVsfa",
    "PerceptualQuality",
    "Vsfa",
    "by_chunks",
    "frame_statistics",
    "perceptual_quality",
    "temporal_pooling",
]

TAU = 12  # frames that temporal pooling looks back at, and ahead
BETA = 0.5  # weight of what it looks back at

_RESNET_DIM = 2048
_CHUNK = 8  # frames that a network sees at once
_REDUCED_DIM, _RECURRENT_DIM = 128, 32
_CLASSIFIER = ("avgpool", "fc")  # of torchvision's ResNet-50, after the map that is wanted


def temporal_pooling(qualities: Tensor, *, tau: int = TAU, beta: float = BETA) -> Tensor:
    """Return what a viewer makes of each frame who remembers the worst and forgives slowly.

    `beta` of it is memory, the least quality of the last `tau` frames; the rest is the present, the mean of
    the next `tau` weighted by softmin. Both count the frame itself, as the published numbers do, and the ends
    of the video shorten them.

    Args:
        qualities: (n, t) of successive frames.
        tau: frames, >= 1.
        beta: weight of memory, 0..1.

    Returns:
        (n, t); the score of the video is their mean.

    Raises:
        ConfigurationError: `tau` or `beta` is out of range.
    """
    if tau < 1 or not 0 <= beta <= 1:
        raise ConfigurationError(f"tau must be >= 1 and beta in 0..1, got {tau} and {beta:g}")
    memory = _windows(qualities, (tau - 1, 0), torch.inf).amin(dim=2)
    weights = F.softmin(_windows(qualities, (0, tau - 1), torch.inf), dim=2)
    present = (weights * _windows(qualities, (0, tau - 1), 0.0)).sum(dim=2)
    return beta * memory + (1 - beta) * present


def frame_statistics(maps: Tensor) -> Tensor:
    """Return the mean and the standard deviation over space (n, 2 c) of maps (n, c, h, w).

    Raises:
        ConfigurationError: there is one place only, and so no deviation.
    """
    if maps.shape[2] * maps.shape[3] < 2:
        raise ConfigurationError(f"frames must have a side above 32 pixels, got a map of {tuple(maps.shape)}")
    places = maps.flatten(2)
    return torch.cat([places.mean(dim=2), places.std(dim=2)], dim=1)


def by_chunks(branch: Callable[[Tensor], Tensor], frames: Tensor) -> Tensor:
    """Return what `branch`, which sees every frame alone, makes of frames (k, ...), in memory for a few.

    Where a gradient is wanted, each chunk is run a second time when its gradient is.
    """
    chunks = torch.split(frames, _CHUNK)
    if not torch.is_grad_enabled():
        return torch.cat([branch(chunk) for chunk in chunks])
    made: list[Tensor] = [
        checkpoint(branch, chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks
    ]
    return torch.cat(made)


class InterBranch(nn.Module):
    """The modules behind a model's `inter` as one, for what freezes, trains or remembers them together."""

    def __init__(self, model: FrameModel, parts: Iterable[nn.Module]) -> None:
        super().__init__()
        # Models with equal weights may read them differently.
        read_by = ("inter", "frame_features", "_of_frames")
        self.kind = " ".join(getattr(type(model), name).__qualname__ for name in read_by)
        self.parts = nn.ModuleList(parts)
        self._run = model.inter

    def forward(self, x: Tensor) -> Tensor:
        """Return what `inter` of the model makes of (n, 3, t, h, w)."""
        return self._run(x)


class FrameHead(nn.Module):
    """Qualities of frames from their statistics; keys are those of published checkpoints."""

    def __init__(self, num_statistics: int) -> None:
        super().__init__()
        self.ann = nn.ModuleDict({"fc0": nn.Linear(num_statistics, _REDUCED_DIM)})
        self.rnn = nn.GRU(_REDUCED_DIM, _RECURRENT_DIM, batch_first=True)
        self.q = nn.Linear(_RECURRENT_DIM, 1)

    @property
    def num_statistics(self) -> int:
        """Statistics of one frame."""
        return int(self.ann["fc0"].in_features)  # type: ignore[arg-type]  # torch types it as anything

    def forward(self, statistics: Tensor) -> Tensor:
        """Return (n, t) from the statistics (n, t, num_statistics) of successive frames."""
        states, _ = self.rnn(self.ann["fc0"](statistics))
        qualities: Tensor = self.q(states)
        return qualities.squeeze(2)


class FrameModel(nn.Module, ABC):
    """What VSFA and its relatives share: statistics of whole frames, a recurrent network, temporal pooling.

    A subclass says what the statistics are, and which modules make them. No fragments are read.

    Args:
        num_statistics: of a frame, as `frame_features` returns them.
    """

    has_inter = True
    reads_fragments = False

    def __init__(self, num_statistics: int) -> None:
        super().__init__()
        self.frame_head = FrameHead(num_statistics)

    @property
    @abstractmethod
    def inter_branch(self) -> InterBranch:
        """What is left as it is where only the head is trained."""

    @abstractmethod
    def frame_features(self, x: Tensor) -> Tensor:
        """Return (n, k, num_statistics) float32 of k frames of each normalised segment (n, 3, t, h, w)."""

    @abstractmethod
    def _of_frames(self, frames: Tensor) -> Tensor:
        """Return the statistics (k, c) of frames (k, 3, h, w), each seen alone."""

    def intra(self, x: Tensor) -> Tensor:
        """Return (n, 0) of fragments (n, 3, t, h, w): nothing of them is used."""
        return x.new_empty((len(x), 0))

    def inter(self, x: Tensor) -> Tensor:
        """Return the statistics (n, k num_statistics) of frames of each segment, in order.

        Args:
            x: (n, 3, t, h, w) normalised whole frames.

        Raises:
            ConfigurationError: frames of at most 32 x 32 pixels.
        """
        return self.frame_features(x).flatten(1)

    def head(self, f: Tensor, e: Tensor) -> Tensor:  # noqa: ARG002 - the signature of every model
        """Return pooled qualities (n, segments k); their mean is the score.

        Args:
            f: (n, 0) from `intra`, not looked at.
            e: (n, segments, k num_statistics) from `inter`; segments follow each other.
        """
        return temporal_pooling(self.frame_head(self.of_frames(e)))

    def of_frames(self, e: Tensor) -> Tensor:
        """Return the statistics (n, segments k, num_statistics) of frames, from what `inter` made."""
        return e.reshape(len(e), -1, self.frame_head.num_statistics)

    def forward(self, fragments: Tensor, frames: Tensor) -> Tensor:
        """Return what `head` makes of a video.

        Args:
            fragments: (n, 3, t', h', w'), not looked at.
            frames: (n, segments, 3, t, h, w) normalised float.
        """
        e = self.inter(frames.flatten(0, 1))
        return self.head(self.intra(fragments), e.view(*frames.shape[:2], -1))


class Vsfa(FrameModel):
    """VSFA on N whole frames that are spread over the video and resized.

    Published VSFA reads every frame at full size. This one reads the N frames of the sampling's one segment,
    resized to squares of its side (32 of 224 pixels in the zoo, 16 with EfficientNet-Lite0): it sees neither
    what lies between them nor detail that resizing removes, and the 12 frames of its temporal pooling span
    more of the video. Published weights therefore do not give the published scores.

    Args:
        backbone: makes the map of a frame; None: ResNet-50, its res5c, as published.
        num_pictures: of each frame that it sees.
        num_beside: statistics of a frame that come from elsewhere.
    """

    def __init__(
        self,
        backbone: EfficientNetLite | Scnn | None = None,
        *,
        num_pictures: int = 1,
        num_beside: int = 0,
    ) -> None:
        num_statistics = 2 * (_RESNET_DIM if backbone is None else backbone.out_dim)
        super().__init__(num_pictures * num_statistics + num_beside)
        self.frame_backbone: nn.Module = _resnet() if backbone is None else backbone

    @property
    def inter_branch(self) -> InterBranch:
        """What is left as it is where only the head is trained."""
        return InterBranch(self, [self.frame_backbone])

    def frame_features(self, x: Tensor) -> Tensor:
        """Return (n, t, 4096), or 2560 by EfficientNet-Lite0, of normalised frames (n, 3, t, h, w)."""
        return self.map_statistics(x.transpose(1, 2))

    def map_statistics(self, frames: Tensor) -> Tensor:
        """Return the statistics (n, t, c) of maps of frames (n, t, 3, h, w): VSFA's mean and deviation."""
        flat = frames.flatten(0, 1)
        is_trained = self.frame_backbone.training  # batch norms then follow the batch: it stays one
        statistics = self._of_frames(flat) if is_trained else by_chunks(self._of_frames, flat)
        return statistics.view(*frames.shape[:2], -1)

    def _of_frames(self, frames: Tensor) -> Tensor:
        return frame_statistics(self.frame_backbone(frames).float())


class MdtVsfa(Vsfa):
    """MDTVSFA up to perceptual quality: the sigmoid of VSFA's score, then a four-parameter logistic.

    The linear maps after it, one for each data set of a training, are left out: a score is not of a data set.
    It samples as `Vsfa` here does.
    """

    def __init__(self, backbone: EfficientNetLite | None = None) -> None:
        super().__init__(backbone)
        self.score_mapping = PerceptualQuality()

    def head(self, f: Tensor, e: Tensor) -> Tensor:
        """Return perceptual quality (n, 1); arguments are those of `Vsfa.head`."""
        return perceptual_quality(self.score_mapping, super().head(f, e))


class PerceptualQuality(nn.Sequential):
    """A four-parameter logistic from relative to perceptual quality; before training it rises from 0 to 1."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(1, 1), nn.Sigmoid(), nn.Linear(1, 1))
        for value, start in zip(self.parameters(), (4.0, -2.0, 1.0, 0.0), strict=True):
            nn.init.constant_(value, start)


def perceptual_quality(mapping: PerceptualQuality, qualities: Tensor) -> Tensor:
    """Return (n, 1) from VSFA's pooled qualities (n, t): the sigmoid of their mean, mapped."""
    quality: Tensor = mapping(qualities.mean(dim=1, keepdim=True).sigmoid())
    return quality


def _resnet() -> nn.Module:
    from torchvision.models import resnet50  # noqa: PLC0415 - a second that others need not wait for

    parts = resnet50(weights=None).named_children()
    return nn.Sequential(OrderedDict(part for part in parts if part[0] not in _CLASSIFIER))


def _windows(qualities: Tensor, padding: tuple[int, int], value: float) -> Tensor:
    """Return (n, t, tau) windows of (n, t), padded in time by tau - 1 values."""
    return F.pad(qualities, padding, value=value).unfold(1, sum(padding) + 1, 1)
