"""Owns DOVER: a technical and an aesthetic branch, fused as published, with each part under its name."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from securevqa_core.models.convnext3d import ConvNext3d, ConvNext3dConfig
from securevqa_core.models.fusion import MapHead
from securevqa_core.models.swin3d import Swin3dConfig, VideoSwin3d

__all__ = ["Dover", "DoverParts", "named_parts"]

# The published standardisation of each branch (offset, divisor) and its weight in the fused score.
_TECHNICAL, _TECHNICAL_WEIGHT = (0.1107, 0.07355), 0.6104
_AESTHETIC, _AESTHETIC_WEIGHT = (-0.08285, 0.03774), 0.3896


@dataclass(frozen=True, slots=True, kw_only=True)
class DoverParts:
    """DOVER's three outputs for one video, each on 0..1, higher is better."""

    technical: float  # from fragments: what compression, noise and blur did
    aesthetic: float  # from whole frames: content and composition
    overall: float  # the two fused, as published


class Dover(nn.Module):
    """Fragments through Video Swin, whole frames through ConvNeXt 3D, a head each, one weighted sum.

    The aesthetic branch stands where SecureVQA has its inter branch: `inter` of one segment that spans the
    video is the aesthetic score. Keys are those of published checkpoints.
    """

    has_inter = True

    def __init__(self, swin: Swin3dConfig, convnext: ConvNext3dConfig, *, dropout: float) -> None:
        super().__init__()
        self.technical_backbone = VideoSwin3d(swin)
        self.technical_head = MapHead(intra_dim=swin.out_dim, dropout=dropout)
        self.aesthetic_backbone = ConvNext3d(convnext)
        self.aesthetic_head = MapHead(intra_dim=convnext.out_dim, dropout=dropout)

    def intra(self, x: Tensor) -> Tensor:
        """Return the technical map (n, c, t / 2, h / 32, w / 32) of normalised fragments (n, 3, t, h, w)."""
        features: Tensor = self.technical_backbone(x)
        return features

    def inter(self, x: Tensor) -> Tensor:
        """Return raw aesthetic scores (n, 1) of normalised whole frames (n, 3, t, h, w)."""
        features: Tensor = self.aesthetic_backbone(x)
        # Under autocast the one number that leaves this branch would keep three digits.
        with torch.autocast(x.device.type, enabled=False):
            return self.aesthetic_head(features.float()).mean(dim=1, keepdim=True)  # type: ignore[no-any-return]

    def head(self, f: Tensor, e: Tensor) -> Tensor:
        """Return (n, t) fused scores before the sigmoid, 0.6104 t' + 0.3896 a'.

        Args:
            f: (n, c, t, h, w) from `intra`.
            e: (n, segments, 1) from `inter`.
        """
        technical = _standardised(self.technical_head(f), _TECHNICAL)
        aesthetic = _standardised(e.mean(dim=1), _AESTHETIC)
        return _TECHNICAL_WEIGHT * technical + _AESTHETIC_WEIGHT * aesthetic

    def forward(self, fragments: Tensor, frames: Tensor) -> Tensor:
        """Return (n, t) fused scores before the sigmoid.

        Args:
            fragments: (n, 3, t, h, w) normalised float.
            frames: (n, segments, 3, t', h', w') normalised float.
        """
        e = self.inter(frames.flatten(0, 1))
        return self.head(self.intra(fragments), e.view(*frames.shape[:2], -1))


def named_parts(model: Dover, fragments: Tensor, frames: Tensor) -> DoverParts:
    """Return the technical, the aesthetic and the overall score of one video.

    Args:
        model: in eval mode.
        fragments: (clips, 3, t, h, w) normalised float, all clips of the video.
        frames: (1, 3, t', h', w') normalised float, whole frames spread over the video.
    """
    with torch.inference_mode():
        clips = [model.technical_head(model.intra(clip[None])).mean() for clip in fragments]
        technical = _standardised(torch.stack(clips).mean(), _TECHNICAL)
        aesthetic = _standardised(model.inter(frames).mean(), _AESTHETIC)
    overall = _TECHNICAL_WEIGHT * technical + _AESTHETIC_WEIGHT * aesthetic
    return DoverParts(
        technical=technical.sigmoid().item(),
        aesthetic=aesthetic.sigmoid().item(),
        overall=overall.sigmoid().item(),
    )


def _standardised(raw: Tensor, published: tuple[float, float]) -> Tensor:
    offset, divisor = published
    return (raw - offset) / divisor
