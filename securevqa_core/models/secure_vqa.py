"""Owns the assembled models: SecureVQA (two branches, fused) and FAST-VQA (the intra branch alone)."""

from __future__ import annotations

from torch import Tensor, nn

from securevqa_core.errors import ConfigurationError
from securevqa_core.models.fast_pathway import FastPathway
from securevqa_core.models.fusion import ConcatenationHead, MapHead, ReleasedFusionHead
from securevqa_core.models.motion_pathway import MotionPathway
from securevqa_core.models.swin3d import Swin3dConfig, VideoSwin3d

__all__ = ["FastVqa", "SecureVqa"]


class SecureVqa(nn.Module):
    """Intra and inter branch and the head that fuses them; section III of the paper."""

    has_inter = True

    def __init__(
        self,
        swin: Swin3dConfig,
        head: ConcatenationHead | ReleasedFusionHead,
        *,
        inter: type[FastPathway] | type[MotionPathway] = FastPathway,
    ) -> None:
        super().__init__()
        self.fragments_backbone = VideoSwin3d(swin)
        self.inter_backbone = inter()
        self.vqa_head = head

    def intra(self, x: Tensor) -> Tensor:
        """Return (n, c, t / 2, h / 32, w / 32) from normalised fragments (n, 3, t, h, w), Eq. 6."""
        features: Tensor = self.fragments_backbone(x)
        return features

    def inter(self, x: Tensor) -> Tensor:
        """Return (n, 256) from normalised segments (n, 3, t, h, w), Eq. 10."""
        features: Tensor = self.inter_backbone(x)
        return features

    def head(self, f: Tensor, e: Tensor) -> Tensor:
        """Return (n, t) raw scores, one for each temporal position, Eqs. 11-15 without the last mean.

        Args:
            f: (n, c, t, h, w) from `intra`.
            e: (n, segments, 256) from `inter`; brought to t positions.
        """
        scores: Tensor = self.vqa_head(f, e)
        return scores

    def forward(self, fragments: Tensor, segments: Tensor) -> Tensor:
        """Return (n, t) raw scores of clips.

        Args:
            fragments: (n, 3, t, h, w) normalised float.
            segments: (n, segments, 3, t', h', w') normalised float.
        """
        e = self.inter(segments.flatten(0, 1))
        return self.head(self.intra(fragments), e.view(*segments.shape[:2], -1))


class FastVqa(nn.Module):
    """The intra branch and a head on its map: FAST-VQA, FAST-VQA-M and FasterVQA."""

    has_inter = False

    def __init__(self, swin: Swin3dConfig, head: MapHead) -> None:
        super().__init__()
        self.fragments_backbone = VideoSwin3d(swin)
        self.vqa_head = head

    def intra(self, x: Tensor) -> Tensor:
        """Return (n, c, t / 2, h / 32, w / 32) from normalised fragments (n, 3, t, h, w)."""
        features: Tensor = self.fragments_backbone(x)
        return features

    def head(self, f: Tensor, e: Tensor | None = None) -> Tensor:
        """Return (n, t) raw scores from f (n, c, t, h, w); there is no inter branch, so `e` must be None."""
        if e is not None:
            raise ConfigurationError(f"e must be None for a model without inter branch, got {tuple(e.shape)}")
        scores: Tensor = self.vqa_head(f)
        return scores

    def forward(self, fragments: Tensor) -> Tensor:
        """Return (n, t) raw scores from fragments (n, 3, t, h, w)."""
        return self.head(self.intra(fragments))
