"""Owns TiVQA, BVQA-2022, HVS-5M and smaller ones: other statistics of frames under VSFA's head.

TiVQA: Zhang and Wang, "Texture information boosts video quality assessment" (ICASSP, 2022). BVQA-2022: Li et
al., "Blindly assess quality of in-the-wild videos via quality-aware pre-training and motion perception"
(IEEE TCSVT, 2022). HVS-5M: Zhang et al., "HVS revisited: a comprehensive video quality assessment framework"
(IEEE Transactions on Cybernetics, 2024). Their sizes are those that SecureVQA's experiments imply. What
`Vsfa` says of frames that are resized and few holds for all of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from securevqa_core.errors import ConfigurationError
from securevqa_core.models.convnext import ConvNext
from securevqa_core.models.efficientnet_lite import EfficientNetLite
from securevqa_core.models.fast_pathway import FAST_PATHWAY_DIM, FastPathway
from securevqa_core.models.motion_pathway import NUM_MOTION_STATISTICS, MotionPathway
from securevqa_core.models.perception import edge_pictures, saliency_maps, texture_pictures
from securevqa_core.models.vsfa import (
    FrameModel,
    InterBranch,
    PerceptualQuality,
    Vsfa,
    by_chunks,
    frame_statistics,
    perceptual_quality,
)

__all__ = ["Bvqa2022", "Hvs5m", "HvsMotion", "TiVqa", "VsfaFastPathway", "VsfaMotion", "chosen_frames"]

_MOTION_DIM = 2 * FAST_PATHWAY_DIM  # mean and standard deviation
_CONTENT_FRAMES = 4  # of a segment that ResNet-50 or EfficientNet-Lite0 sees
_CONVNEXT_FRAMES = 1  # the same of ConvNeXt-XL, at 30 times the cost of a frame


class TiVqa(Vsfa):
    """VSFA on every frame and on a picture of its texture, by the same network.

    The texture is the local binary pattern of eight neighbours; which pattern the publication takes, and
    whether its two networks share weights, this project does not know.
    """

    def __init__(self, backbone: EfficientNetLite | None = None) -> None:
        super().__init__(backbone, num_pictures=2)

    def frame_features(self, x: Tensor) -> Tensor:
        """Return (n, t, 8192), or 5120, of normalised frames (n, 3, t, h, w): of them, then of textures."""
        frames = x.transpose(1, 2)
        textures = texture_pictures(frames.flatten(0, 1)).view(frames.shape)
        return torch.cat([self.map_statistics(frames), self.map_statistics(textures)], dim=2)


class VsfaFastPathway(Vsfa):
    """VSFA with motion: what SlowFast's fast pathway makes of a segment goes with each frame of it.

    It is VSFA behind "temporal information", the plug-in of the SecureVQA paper's Tables V and VI. Segments
    of a video too short for all of them overlap, and the recurrent network then meets some of its time twice.
    """

    def __init__(self) -> None:
        super().__init__(num_beside=_MOTION_DIM)
        self.inter_backbone = FastPathway()

    @property
    def inter_branch(self) -> InterBranch:
        """What is left as it is where only the head is trained."""
        return InterBranch(self, [self.frame_backbone, self.inter_backbone])

    def frame_features(self, x: Tensor) -> Tensor:
        """Return (n, k, 4608) of 4 frames of each normalised segment (n, 3, t, h, w), or of t where t < 4."""
        frames = x[:, :, chosen_frames(x.shape[2], _CONTENT_FRAMES)].transpose(1, 2)
        return _with_motion(self.map_statistics(frames), self.inter_backbone, x)


class Bvqa2022(VsfaFastPathway):
    """`VsfaFastPathway` up to perceptual quality, as its published heads have it: MDTVSFA's mapping is last.

    The publication pre-trains its ResNet-50 on image quality, and trains with a loss of its own; neither
    changes the shape of the model.
    """

    def __init__(self) -> None:
        super().__init__()
        self.score_mapping = PerceptualQuality()

    def head(self, f: Tensor, e: Tensor) -> Tensor:
        """Return perceptual quality (n, 1); arguments are those of `Vsfa.head`."""
        return perceptual_quality(self.score_mapping, super().head(f, e))


class VsfaMotion(Vsfa):
    """VSFA with motion at small cost: what `MotionPathway` makes of a segment goes with 4 frames of it.

    It stands for the "temporal information" of the SecureVQA paper's Tables V and VI where there are no
    weights of SlowFast. `inter` ends with the statistics of motion, which nothing trains; the pathway over
    them belongs to the head, and is trained with it from random weights.

    Args:
        backbone: makes the map of a frame.
        num_pictures: of each frame that it sees.
    """

    def __init__(self, backbone: EfficientNetLite, *, num_pictures: int = 1) -> None:
        super().__init__(backbone, num_pictures=num_pictures, num_beside=FAST_PATHWAY_DIM)
        self.motion_pathway = MotionPathway()

    def inter(self, x: Tensor) -> Tensor:
        """Return the statistics (n, 4 c + 48 t) of 4 frames and of all motion of each segment.

        Args:
            x: (n, 3, t, h, w) normalised whole frames.

        Raises:
            ConfigurationError: fewer than 4 frames, or of at most 32 x 32 pixels.
        """
        if x.shape[2] < _CONTENT_FRAMES:
            raise ConfigurationError(f"segment_frames must be >= {_CONTENT_FRAMES}, got {x.shape[2]}")
        motion = self.motion_pathway.statistics(x)
        return torch.cat([super().inter(x), motion.flatten(1)], dim=1)

    def frame_features(self, x: Tensor) -> Tensor:
        """Return (n, 4, c) of 4 frames of each normalised segment (n, 3, t, h, w), without their motion."""
        return self.map_statistics(x[:, :, chosen_frames(x.shape[2], _CONTENT_FRAMES)].transpose(1, 2))

    def of_frames(self, e: Tensor) -> Tensor:
        """Return (n, segments 4, c + 256) of successive frames: their statistics, then their motion."""
        n, num_segments, _ = e.shape
        num_content = self.frame_head.num_statistics - FAST_PATHWAY_DIM
        content, motion = e.flatten(0, 1).tensor_split([_CONTENT_FRAMES * num_content], dim=1)
        features = self.motion_pathway.from_statistics(
            motion.reshape(n * num_segments, NUM_MOTION_STATISTICS, -1)
        )
        return _beside(content.reshape(n * num_segments, _CONTENT_FRAMES, -1), features).view(
            n, num_segments * _CONTENT_FRAMES, -1
        )


class HvsMotion(VsfaMotion):
    """HVS-5M at small cost: `VsfaMotion` on content and edges, both weighted by saliency as in `Hvs5m`."""

    def __init__(self, backbone: EfficientNetLite) -> None:
        super().__init__(backbone, num_pictures=2)

    def _of_frames(self, frames: Tensor) -> Tensor:
        return _salient_statistics(self.frame_backbone, frames)


class Hvs5m(FrameModel):
    """Content and edges, both weighted by saliency, through ConvNeXt-XL, and motion by the fast pathway.

    Two modules of the publication are replaced by formulas, because they bring networks or thresholds of
    their own: saliency is the distance from the mean colour, not SAMNet's, and edges are the length of the
    Sobel gradient. Its temporal hysteresis is VSFA's pooling.

    Args:
        convnext: of both pictures; None: ConvNeXt-XL.
    """

    def __init__(self, convnext: ConvNext | None = None) -> None:
        content = convnext or ConvNext()
        super().__init__(4 * content.out_dim + _MOTION_DIM)
        self.content_backbone = content
        self.inter_backbone = FastPathway()

    @property
    def inter_branch(self) -> InterBranch:
        """What is left as it is where only the head is trained."""
        return InterBranch(self, [self.content_backbone, self.inter_backbone])

    def frame_features(self, x: Tensor) -> Tensor:
        """Return (n, 1, 8704) of the first frame of each normalised segment (n, 3, t, h, w)."""
        frames = x[:, :, chosen_frames(x.shape[2], _CONVNEXT_FRAMES)].transpose(1, 2)
        features = by_chunks(self._of_frames, frames.flatten(0, 1)).view(*frames.shape[:2], -1)
        return _with_motion(features, self.inter_backbone, x)

    def _of_frames(self, frames: Tensor) -> Tensor:
        return _salient_statistics(self.content_backbone, frames)


def chosen_frames(num_frames: int, num_chosen: int) -> list[int]:
    """Return which frames of a segment are looked at one by one: every n-th from the first, all if few."""
    count = min(num_frames, num_chosen)
    return [place * num_frames // count for place in range(count)]


def _salient_statistics(network: nn.Module, frames: Tensor) -> Tensor:
    """Return statistics of maps of frames (k, 3, h, w), weighted by saliency: of content, then of edges."""
    maps = [network(seen).float() for seen in (frames, edge_pictures(frames))]
    weights = saliency_maps(frames, *maps[0].shape[2:])
    return torch.cat([frame_statistics(weights * one) for one in maps], dim=1)


def _with_motion(statistics: Tensor, fast_pathway: FastPathway, x: Tensor) -> Tensor:
    """Return statistics (n, k, c) of frames with those (512) of the motion in their segment behind them."""
    return _beside(statistics, frame_statistics(fast_pathway.maps(x).float().flatten(2, 3)))


def _beside(statistics: Tensor, motion: Tensor) -> Tensor:
    """Return statistics (n, k, c) of frames with (n, d) of their segment behind each."""
    return torch.cat([statistics, motion[:, None].expand(-1, statistics.shape[1], -1)], dim=2)
