"""Owns VSFA and MDTVSFA: statistics of each frame's ResNet-50 map, a recurrent network, temporal pooling.

VSFA: Li, Jiang and Jiang, "Quality assessment of in-the-wild videos" (ACM Multimedia, 2019). MDTVSFA: the
same authors, "Unified quality assessment of in-the-wild videos with mixed datasets training" (IJCV, 2021).
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor, nn
from torchvision.models import resnet50

from securevqa_core.errors import ConfigurationError

__all__ = ["BETA", "TAU", "MdtVsfa", "Vsfa", "frame_statistics", "temporal_pooling"]

TAU = 12  # frames that temporal pooling looks back at, and ahead
BETA = 0.5  # weight of what it looks back at

_NUM_STATISTICS = 4096  # mean and standard deviation of 2048 channels
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


class FrameHead(nn.Module):
    """Qualities of frames from their statistics; keys are those of published checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.ann = nn.ModuleDict({"fc0": nn.Linear(_NUM_STATISTICS, _REDUCED_DIM)})
        self.rnn = nn.GRU(_REDUCED_DIM, _RECURRENT_DIM, batch_first=True)
        self.q = nn.Linear(_RECURRENT_DIM, 1)

    def forward(self, statistics: Tensor) -> Tensor:
        """Return (n, t) from the statistics (n, t, 4096) of successive frames."""
        states, _ = self.rnn(self.ann["fc0"](statistics))
        qualities: Tensor = self.q(states)
        return qualities.squeeze(2)


class Vsfa(nn.Module):
    """VSFA on N whole frames that are spread over the video and resized.

    Published VSFA reads every frame at full size. This one reads the N frames of the sampling's one segment,
    resized to squares of its side (32 of 224 pixels in the zoo): it sees neither what lies between them nor
    detail that resizing removes, and the 12 frames of its temporal pooling span more of the video. Published
    weights therefore do not give the published scores. It reads no fragments.
    """

    has_inter = True
    reads_fragments = False

    def __init__(self) -> None:
        super().__init__()
        parts = resnet50(weights=None).named_children()
        self.frame_backbone = nn.Sequential(OrderedDict(part for part in parts if part[0] not in _CLASSIFIER))
        self.frame_head = FrameHead()

    def intra(self, x: Tensor) -> Tensor:
        """Return (n, 0) of fragments (n, 3, t, h, w): nothing of them is used."""
        return x.new_empty((len(x), 0))

    def inter(self, x: Tensor) -> Tensor:
        """Return qualities (n, t) of normalised whole frames (n, 3, t, h, w) in order.

        Raises:
            ConfigurationError: frames of at most 32 x 32 pixels.
        """
        n, _, t, _, _ = x.shape
        maps = self.frame_backbone(x.transpose(1, 2).flatten(0, 1))
        # Under autocast qualities would keep three digits.
        with torch.autocast(x.device.type, enabled=False):
            qualities: Tensor = self.frame_head(frame_statistics(maps.float()).view(n, t, -1))
        return qualities

    def head(self, f: Tensor, e: Tensor) -> Tensor:
        """Return pooled qualities (n, segments * t); their mean is the score.

        Args:
            f: (n, 0) from `intra`, for its length alone.
            e: (n, segments, t) from `inter`; every segment is pooled as a video.
        """
        return temporal_pooling(e.flatten(0, 1)).view(len(f), -1)

    def forward(self, fragments: Tensor, frames: Tensor) -> Tensor:
        """Return pooled qualities (n, segments * t).

        Args:
            fragments: (n, 3, t', h', w'), not looked at.
            frames: (n, segments, 3, t, h, w) normalised float.
        """
        e = self.inter(frames.flatten(0, 1))
        return self.head(self.intra(fragments), e.view(*frames.shape[:2], -1))


class ScoreMapping(nn.Module):
    """The four-parameter logistic from relative to perceptual quality, both on 0..1 before training.

    The start rises over the range of a sigmoid. A rising curve changes no order of videos.
    """

    def __init__(self) -> None:
        super().__init__()
        self.upper = nn.Parameter(torch.ones(1))
        self.lower = nn.Parameter(torch.zeros(1))
        self.midpoint = nn.Parameter(torch.full((1,), 0.5))
        self.scale = nn.Parameter(torch.full((1,), 0.25))  # its size counts, not its sign

    def forward(self, relative: Tensor) -> Tensor:
        """Return perceptual qualities of the shape of `relative`."""
        share = torch.sigmoid((relative - self.midpoint) / self.scale.abs())
        return self.lower + (self.upper - self.lower) * share


class MdtVsfa(Vsfa):
    """MDTVSFA up to perceptual quality: the sigmoid of VSFA's score, then a four-parameter logistic.

    The linear maps after it, one for each data set of a training, are left out: a score is not of a data set.
    It samples as `Vsfa` here does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.score_mapping = ScoreMapping()

    def head(self, f: Tensor, e: Tensor) -> Tensor:
        """Return perceptual quality (n, 1); arguments are those of `Vsfa.head`."""
        relative = super().head(f, e).mean(dim=1, keepdim=True).sigmoid()
        quality: Tensor = self.score_mapping(relative)
        return quality


def _windows(qualities: Tensor, padding: tuple[int, int], value: float) -> Tensor:
    """Return (n, t, tau) windows of (n, t), padded in time by tau - 1 values."""
    return F.pad(qualities, padding, value=value).unfold(1, sum(padding) + 1, 1)
