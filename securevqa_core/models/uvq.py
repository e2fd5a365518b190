"""Owns UVQ 1.5: content of the whole picture, distortion of its patches at full size, one score a picture.

Google's Universal Video Quality model: Wang et al., "Rich features for perceptual quality assessment of UGC
videos" (CVPR, 2021); version 1.5 and its weights were published in 2025 (Apache-2.0, github.com/google/uvq).

    1080 x 1920 --256 x 256--> EfficientNet-B0 ----------------> 8 x 8 ---+--4 x 4--> 1 x 1, max --> 1..5
         +----3 x 3 of 360 x 640--> EfficientNet-B0, maxima --> 24 x 24 --+
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor, nn

from securevqa_core.errors import ConfigurationError
from securevqa_core.models.efficientnet_lite import STAGES, SameConv, Stage
from securevqa_core.scoring import PIXEL_MEAN, PIXEL_SD

__all__ = ["PICTURE_HEIGHT", "PICTURE_WIDTH", "Uvq"]

PICTURE_HEIGHT, PICTURE_WIDTH = 1080, 1920  # pixels of every picture, whatever the video's size
_GRID = 3  # patches a side
_CONTENT_SIDE = 256  # pixels of the picture that the content network sees
_LEVEL = 127.5  # of 0..255: networks see -1..1
_STEM_DIM, _OUT_DIM = 32, 128
_MAXIMUM = (5, 13)  # places of a patch's map that a maximum is taken of
_POOLED = 4  # places a side that the last network sees
_HIDDEN = 256
_EPSILON = 1e-3  # of every norm
_CENTRE, _REACH = 3.0, 2.0  # scores are 1..5, as people's opinions


class Uvq(nn.Module):
    """UVQ 1.5 on pictures of 1080 x 1920; the score of a video is the mean over its pictures.

    Names of parameters are those of the three published files, each below the network's name.
    """

    has_inter = True
    reads_fragments = False

    def __init__(self) -> None:
        super().__init__()
        self.content_net = _EfficientNet()
        self.distortion_net = _EfficientNet()
        self.aggregation_net = _Aggregation()

    def intra(self, x: Tensor) -> Tensor:
        """Return (n, 0) of fragments (n, 3, t, h, w): nothing of them is used."""
        return x.new_empty((len(x), 0))

    def inter(self, x: Tensor) -> Tensor:
        """Return the features (n, t 4096) of t pictures of each video, in order.

        Args:
            x: (n, 3, t, 1080, 1920) normalised float.
        """
        mean, sd = (torch.tensor(values, device=x.device).view(3, 1, 1) for values in (PIXEL_MEAN, PIXEL_SD))
        pictures = (x.transpose(1, 2).flatten(0, 1) * sd + mean) / _LEVEL - 1
        return torch.cat([self.picture_features(one[None]) for one in pictures]).view(len(x), -1)

    def picture_features(self, pictures: Tensor) -> Tensor:
        """Return the features (k, 4096) of pictures (k, 3, 1080, 1920), -1..1."""
        maps = (self.content(pictures), self.distortion(pictures))
        pooled = [F.adaptive_avg_pool2d(one.permute(0, 3, 1, 2).float(), _POOLED) for one in maps]
        return torch.cat(pooled, dim=1).flatten(1)

    def content(self, pictures: Tensor) -> Tensor:
        """Return (k, 8, 8, 128) of pictures (k, 3, h, w), -1..1: what they show."""
        size = (_CONTENT_SIDE, _CONTENT_SIDE)
        seen = F.interpolate(pictures, size, mode="bilinear", align_corners=False)
        features: Tensor = self.content_net(seen)
        return features.permute(0, 2, 3, 1)

    def distortion(self, pictures: Tensor) -> Tensor:
        """Return (k, 24, 24, 128) of pictures (k, 3, 1080, 1920), -1..1: what was done to them.

        Raises:
            ConfigurationError: they are of another size.
        """
        if pictures.shape[1:] != (3, PICTURE_HEIGHT, PICTURE_WIDTH):
            raise ConfigurationError(
                f"pictures must be (k, 3, {PICTURE_HEIGHT}, {PICTURE_WIDTH}), got {tuple(pictures.shape)}"
            )
        rows = []
        for band in pictures.chunk(_GRID, dim=2):  # a patch at a time: its maps are what takes memory
            patches = [self._of_patch(patch) for patch in band.chunk(_GRID, dim=3)]
            rows.append(torch.cat(patches, dim=3))
        return torch.cat(rows, dim=2).permute(0, 2, 3, 1)

    def _of_patch(self, patch: Tensor) -> Tensor:
        return F.max_pool2d(self.distortion_net(patch), _MAXIMUM, stride=1)

    def head(self, f: Tensor, e: Tensor) -> Tensor:  # noqa: ARG002 - the signature of every model
        """Return scores (n, pictures), 1..5; their mean is the video's.

        Args:
            f: (n, 0) from `intra`, not looked at.
            e: (n, segments, pictures 4096) from `inter`.
        """
        pictures = e.reshape(-1, 2 * _OUT_DIM, _POOLED, _POOLED)
        scores: Tensor = self.aggregation_net(pictures)
        return scores.view(len(e), -1)

    def forward(self, fragments: Tensor, frames: Tensor) -> Tensor:
        """Return what `head` makes of videos.

        Args:
            fragments: (n, 3, t', h', w'), not looked at.
            frames: (n, 3, t, 1080, 1920) normalised float.
        """
        return self.head(self.intra(fragments), self.inter(frames)[:, None])


class _EfficientNet(nn.Module):
    """EfficientNet-B0 with swish and squeeze-and-excitation: (k, 3, h, w) -> (k, 128, h / 32, w / 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(_convolution(3, _STEM_DIM, 3, stride=2, is_last=False))
        dim = _STEM_DIM
        for stage in STAGES:
            for number in range(stage.depth):
                self.features.append(_Block(dim, stage, stride=1 if number else stage.stride))
                dim = stage.dim
        self.features.append(_named(dim, _OUT_DIM, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.features(x)
        return features


class _Block(nn.Module):
    """(k, c, h, w) -> (k, d, h / stride, w / stride): expand, convolve channels alone, excite, project."""

    def __init__(self, source: int, stage: Stage, *, stride: int) -> None:
        super().__init__()
        inner = stage.expansion * source
        expand = [_convolution(source, inner, 1, is_last=False)] if stage.expansion > 1 else []
        self.block = nn.Sequential(
            *expand,
            _convolution(inner, inner, stage.side, stride=stride, groups=inner, is_last=False),
            _SqueezeExcitation(inner, source // 4),
            _convolution(inner, stage.dim, 1, is_last=True),
        )
        self._is_residual = stride == 1 and source == stage.dim

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.block(x)
        return x + made if self._is_residual else made


class _SqueezeExcitation(nn.Module):
    """Weighs channels (Hu, Shen and Sun, CVPR, 2018) by what all of them are in the mean."""

    def __init__(self, dim: int, squeezed: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(dim, squeezed, 1), nn.Conv2d(squeezed, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=(2, 3), keepdim=True)
        weight: Tensor = self.fc2(F.silu(self.fc1(mean))).sigmoid()
        return x * weight


class _Aggregation(nn.Module):
    """(k, 256, 4, 4) features of both networks -> (k, 1) scores, 1..5."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2 * _OUT_DIM, _HIDDEN, 1)
        self.ln1 = nn.LayerNorm([_HIDDEN, _POOLED, _POOLED], eps=_EPSILON)
        self.linear1 = nn.Linear(_HIDDEN, 1)

    def forward(self, x: Tensor) -> Tensor:
        places = F.relu(self.ln1(self.conv1(x)))
        scores: Tensor = self.linear1(places.amax(dim=(2, 3))).tanh()
        return _CENTRE + _REACH * scores


def _convolution(
    source: int, target: int, side: int, *, stride: int = 1, groups: int = 1, is_last: bool
) -> nn.Sequential:
    """Return a convolution, its norm and, where a block goes on, swish."""
    norm = nn.BatchNorm2d(target, eps=_EPSILON)
    parts = [_named(source, target, side, stride=stride, groups=groups), norm]
    return nn.Sequential(*parts) if is_last else nn.Sequential(*parts, nn.SiLU())


def _named(source: int, target: int, side: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a convolution under the name that published files have for it."""
    return nn.Sequential(OrderedDict(conv=SameConv(source, target, side, stride=stride, groups=groups)))
