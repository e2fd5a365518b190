"""Owns the heads: from intra and inter features to one score for each temporal position (Eqs. 11-15)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor, nn

from securevqa_core.errors import ConfigurationError

__all__ = ["ConcatenationHead", "MapHead", "PaperFusionHead", "ReleasedFusionHead"]

_HIDDEN = 64  # channels between the two layers of Eq. 15


class ConcatenationHead(nn.Module):
    """Both branches side by side, FC -> GELU -> FC: what the paper's Table VIII compares its fusion with.

    The mean over positions and clips (Pool of Eq. 15) is left to the caller.
    """

    def __init__(self, *, intra_dim: int, inter_dim: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc_hid = nn.Linear(intra_dim + inter_dim, _HIDDEN)
        self.fc_last = nn.Linear(_HIDDEN, 1)

    def fuse(self, intra: Tensor, inter: Tensor) -> Tensor:
        """Return (n, t, intra_dim + inter_dim) from both branches (n, t, their channels)."""
        return torch.cat([intra, inter], dim=-1)

    def forward(self, f: Tensor, e: Tensor) -> Tensor:
        """Return (n, t) scores from f (n, c, t, h, w) and e (n, t', inter_dim)."""
        fused = self.fuse(_pool_space(f).transpose(1, 2), _match_positions(e, f))
        score: Tensor = self.fc_last(self.dropout(F.gelu(self.fc_hid(self.dropout(fused)))))
        return score.squeeze(-1)


class PaperFusionHead(ConcatenationHead):
    """Eqs. 11-15 as printed: each branch plus a Bottleneck of the other, concatenated, FC -> GELU -> FC."""

    def __init__(self, *, intra_dim: int, inter_dim: int, dropout: float) -> None:
        super().__init__(intra_dim=intra_dim, inter_dim=inter_dim, dropout=dropout)
        self.inter_to_intra = _fc_bottleneck(inter_dim, intra_dim)
        self.intra_to_inter = _fc_bottleneck(intra_dim, inter_dim)

    def fuse(self, intra: Tensor, inter: Tensor) -> Tensor:
        """Return both branches, each plus a Bottleneck of the other: Eqs. 11 and 12."""
        return super().fuse(intra + self.inter_to_intra(inter), inter + self.intra_to_inter(intra))


class ReleasedFusionHead(nn.Module):
    """The head of the authors' published code, under the key names of its checkpoints.

    It differs from the paper: the branches are mixed by a convolution first, and the Bottleneck's middle
    layer is depthwise, with ReLU6 and no biases.
    """

    def __init__(self, *, intra_dim: int, inter_dim: int, dropout: float) -> None:
        super().__init__()
        self.fc_hid = nn.Conv3d(intra_dim + inter_dim, _HIDDEN, kernel_size=1)
        self.fc_last = nn.Conv3d(_HIDDEN, 1, kernel_size=1)
        self.Embeddings_fusion = _EmbeddingsFusion(intra_dim, inter_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, f: Tensor, e: Tensor) -> Tensor:
        """Return (n, t) scores from f (n, c, t, h, w) and e (n, t', inter_dim)."""
        intra = _pool_space(f)[..., None, None]
        inter = _match_positions(e, f).transpose(1, 2)[..., None, None]
        fused = self.Embeddings_fusion(intra, inter)
        score: Tensor = self.fc_last(self.dropout(F.gelu(self.fc_hid(self.dropout(fused)))))
        return score.flatten(1)


class MapHead(nn.Module):
    """FAST-VQA's head: two 1x1x1 convolutions give every position of the map a score of its own."""

    def __init__(self, *, intra_dim: int, dropout: float) -> None:
        super().__init__()
        self.fc_hid = nn.Conv3d(intra_dim, _HIDDEN, kernel_size=1)
        self.fc_last = nn.Conv3d(_HIDDEN, 1, kernel_size=1)
        self.dropout = nn.Dropout(dropout)

    def quality_map(self, f: Tensor) -> Tensor:
        """Return (n, t, h, w) local scores from f (n, c, t, h, w)."""
        score: Tensor = self.fc_last(self.dropout(F.gelu(self.fc_hid(self.dropout(f)))))
        return score.squeeze(1)

    def forward(self, f: Tensor) -> Tensor:
        """Return (n, t) scores, the mean of the map over space, from f (n, c, t, h, w)."""
        return self.quality_map(f).mean(dim=(2, 3))


class _EmbeddingsFusion(nn.Module):
    """(n, c1, t, 1, 1), (n, c2, t, 1, 1) -> (n, c1 + c2, t, 1, 1), with the spelling of published keys."""

    def __init__(self, intra_dim: int, inter_dim: int) -> None:
        super().__init__()
        self.dims = (intra_dim, inter_dim)
        self.Inter = _ReleasedBottleneck(intra_dim, inter_dim)
        self.Intra = _ReleasedBottleneck(inter_dim, intra_dim)
        self.shffleconv = nn.Conv3d(intra_dim + inter_dim, intra_dim + inter_dim, kernel_size=1)

    def forward(self, intra: Tensor, inter: Tensor) -> Tensor:
        z1, z2 = self.shffleconv(torch.cat([intra, inter], dim=1)).split(self.dims, dim=1)
        return torch.cat([z1 + self.Intra(z2), z2 + self.Inter(z1)], dim=1)


class _ReleasedBottleneck(nn.Module):
    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        self.bottleneckBlock = nn.Sequential(
            nn.Conv3d(source, 2 * source, kernel_size=1, bias=False),
            nn.ReLU6(),
            nn.Conv3d(2 * source, 2 * source, kernel_size=1, groups=2 * source, bias=False),
            nn.ReLU6(),
            nn.Conv3d(2 * source, target, kernel_size=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bottleneckBlock(x)
        return out


def _fc_bottleneck(source: int, target: int) -> nn.Sequential:
    """Eq. 13: 256-512-512-768 and 768-1536-1536-256 at the paper's sizes."""
    return nn.Sequential(
        nn.Linear(source, 2 * source),
        nn.ReLU(),
        nn.Linear(2 * source, 2 * source),
        nn.ReLU(),
        nn.Linear(2 * source, target),
    )


def _pool_space(f: Tensor) -> Tensor:
    """Return (n, c, t), the mean over space of (n, c, t, h, w)."""
    if f.ndim != 5:
        raise ConfigurationError(f"f must be (n, c, t, h, w), got {tuple(f.shape)}")
    return f.mean(dim=(3, 4))


def _match_positions(e: Tensor, f: Tensor) -> Tensor:
    """Return e (n, t', c) with the temporal positions of f: the mean of its segments, or the nearest."""
    if e.ndim != 3 or e.shape[0] != f.shape[0]:
        raise ConfigurationError(f"e must be ({f.shape[0]}, segments, channels), got {tuple(e.shape)}")
    wanted = f.shape[2]
    if e.shape[1] == wanted:
        return e
    if e.shape[1] > wanted:
        return F.adaptive_avg_pool1d(e.transpose(1, 2), wanted).transpose(1, 2)
    return F.interpolate(e.transpose(1, 2), size=wanted, mode="nearest").transpose(1, 2)
