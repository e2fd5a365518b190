"""Owns the intra backbone: Video Swin with gated relative position bias (GRPB), Eq. 6 of the paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor, nn

from securevqa_core.errors import ConfigurationError
from securevqa_core.models.saturation import SaturatedNorm
from securevqa_core.models.scnn import Distortions
from securevqa_core.models.sensitivity import SENSITIVITY, TO_ALL, Sensitivity
from securevqa_core.models.statistics import NUM_STATISTICS, fragment_statistics
from securevqa_core.models.window_attention import WindowAttention, pad_end
from securevqa_core.models.windows import Size3

__all__ = ["Swin3dConfig", "VideoSwin3d"]

_BOUND = 5.0  # standard deviations: a statistic of a strange fragment says no more than this


@dataclass(frozen=True, slots=True, kw_only=True)
class Swin3dConfig:
    """The shape of a `VideoSwin3d`; defaults are Swin-T of FAST-VQA and SecureVQA.

    Raises:
        ConfigurationError: `depths` and `num_heads` differ in length, or heads do not divide the channels.
    """

    # pixels: a token for each patch_size; the others: one for each fragment of two frames
    stem: Literal["pixels", "statistics", "distortions"] = "pixels"
    patch_size: Size3 = (2, 4, 4)  # frames, rows, columns of one token; of the pixels stem
    embed_dim: int = 96  # channels of the first stage; each later stage has twice as many
    depths: tuple[int, ...] = (2, 2, 6, 2)  # blocks in each stage
    num_heads: tuple[int, ...] = (3, 6, 12, 24)  # attention heads in each stage
    window_size: Size3 = (8, 7, 7)  # tokens
    base_size: Size3 = (
        32,
        224,
        224,
    )  # frames, rows, columns; a smaller input shrinks the window in proportion
    mlp_ratio: int = 4  # hidden channels of a block's MLP per channel
    drop_path: float = 0.1  # 0..1, rate of the last block; rises linearly from 0; training only
    fragment_bias_stages: tuple[int, ...] = (0, 1, 2)  # stages with a fragment position bias
    fragment_grid: int = 7  # fragments along a side of the frame

    def __post_init__(self) -> None:
        if len(self.depths) != len(self.num_heads):
            raise ConfigurationError(
                f"num_heads must have one entry for each of depths {self.depths}, got {self.num_heads}"
            )
        for stage, heads in enumerate(self.num_heads):
            dim = self.embed_dim * 2**stage
            if dim % heads:
                raise ConfigurationError(
                    f"num_heads must divide the {dim} channels of stage {stage}, got {heads}"
                )

    @property
    def out_dim(self) -> int:
        """Channels of the feature map."""
        return self.embed_dim << (len(self.depths) - 1)


class VideoSwin3d(nn.Module):
    """Video Swin Transformer, (n, 3, t, h, w) normalised float -> (n, out_dim, t / 2, h / 32, w / 32).

    Parameter names are those of published FAST-VQA checkpoints without `fragments_backbone.`.
    """

    def __init__(self, config: Swin3dConfig) -> None:
        super().__init__()
        self.config = config
        rates = torch.linspace(0, config.drop_path, sum(config.depths), device="cpu").tolist()
        self.patch_embed = _STEMS[config.stem](config)
        self.layers = nn.ModuleList()
        for stage, depth in enumerate(config.depths):
            self.layers.append(_Stage(config, stage, rates[:depth]))
            rates = rates[depth:]
        self.norm = nn.LayerNorm(config.out_dim)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature map of normalised clips.

        Args:
            x: (n, 3, t, h, w) float, channels RGB.

        Returns:
            (n, out_dim, ceil(t / 2), ceil(h / 32), ceil(w / 32)) float.
        """
        if x.ndim != 5 or x.shape[1] != 3 or 0 in x.shape:
            raise ConfigurationError(f"x must be (n, 3, t, h, w) and not empty, got {tuple(x.shape)}")
        if self.has_statistics:
            return self.from_statistics(self.statistics(x))
        return self._transform(self.patch_embed(x), (x.shape[2], x.shape[3], x.shape[4]))

    @property
    def has_statistics(self) -> bool:
        """Whether the stem takes statistics, so that what comes before it can be computed once."""
        return self.config.stem != "pixels"

    def statistics(self, x: Tensor) -> Tensor:
        """Return what the rest of the stem is given, (n, s, t / 2, g, g) of (n, 3, t, h, w).

        Raises:
            ConfigurationError: the stem sees pixels.
        """
        if not isinstance(self.patch_embed, _StatisticsEmbed):
            raise ConfigurationError(f"stem must not be 'pixels' for that, got {self.config.stem!r}")
        return self.patch_embed.statistics(x)

    def from_statistics(self, statistics: Tensor) -> Tensor:
        """Return the feature map (n, out_dim, t / 2, g, g) of what `statistics` returned."""
        half, grid = statistics.shape[2:4]
        side = grid * self.config.base_size[1] // self.config.fragment_grid
        return self._transform(self.patch_embed(statistics), (2 * half, side, side))

    def _transform(self, tokens: Tensor, size: Size3) -> Tensor:
        """Return the feature map of the tokens (n, d, h', w', c) of a clip of (t, h, w)."""
        config = self.config
        shrunk = [
            max(1, w * min(s, b) // b)
            for w, s, b in zip(config.window_size, size, config.base_size, strict=True)
        ]
        window: Size3 = (shrunk[0], shrunk[1], shrunk[2])
        for stage in self.layers:
            tokens = stage(tokens, window)
        features: Tensor = self.norm(tokens)
        return features.permute(0, 4, 1, 2, 3)


class _PatchEmbed(nn.Module):
    """(n, 3, t, h, w) -> (n, d, h', w', c): one token for each patch, zeros where a patch leaves the clip."""

    def __init__(self, config: Swin3dConfig) -> None:
        super().__init__()
        self.proj = nn.Conv3d(3, config.embed_dim, kernel_size=config.patch_size, stride=config.patch_size)
        self.norm = nn.LayerNorm(config.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        x = pad_end(x, self.proj.kernel_size, first_axis=2)
        tokens: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 4, 1))
        return tokens


class _StatisticsEmbed(nn.Module):
    """(n, s, d, g, g) -> (n, d, g, g, c): statistics of each fragment, standardised and mixed."""

    num_statistics = NUM_STATISTICS
    sensitivity: Tensor

    def __init__(self, config: Swin3dConfig) -> None:
        super().__init__()
        self.grid_size = config.fragment_grid
        self.standardise = SaturatedNorm(self.num_statistics, bound=_BOUND)
        self.register_buffer(SENSITIVITY, TO_ALL.buffer())
        self.mix = _Mlp(self.num_statistics, 2 * config.embed_dim, config.embed_dim)
        self.norm = nn.LayerNorm(config.embed_dim)

    def statistics(self, x: Tensor) -> Tensor:
        """Return natural scene statistics of the fragments of (n, 3, t, h, w); nothing is trained."""
        sensitivity = Sensitivity.of(self.sensitivity)
        parts = torch.split(x, 1) if x.device.type == "cpu" else (x,)  # its caches hold what is made of one
        return torch.cat(
            [fragment_statistics(part, grid_size=self.grid_size, sensitivity=sensitivity) for part in parts]
        )

    def forward(self, statistics: Tensor) -> Tensor:
        n, _, d, g, _ = statistics.shape
        standard = self.standardise(statistics.flatten(2))
        mixed: Tensor = self.norm(self.mix(standard.transpose(1, 2)))
        return mixed.view(n, d, g, g, -1)


class _DistortionsEmbed(_StatisticsEmbed):
    """The same of what S-CNN makes of each fragment, beside its statistics."""

    num_statistics = Distortions.out_dim + NUM_STATISTICS

    def __init__(self, config: Swin3dConfig) -> None:
        super().__init__(config)
        self.distortions = Distortions(grid_size=config.fragment_grid)

    def statistics(self, x: Tensor) -> Tensor:
        """Return what S-CNN makes of the fragments of (n, 3, t, h, w), then their statistics."""
        return torch.cat([self.distortions(x), super().statistics(x)], dim=1)


_STEMS = {"pixels": _PatchEmbed, "statistics": _StatisticsEmbed, "distortions": _DistortionsEmbed}


class _Stage(nn.Module):
    """Blocks at one resolution, every second one shifted, then a merge of 2 x 2 tokens (not in the last)."""

    def __init__(self, config: Swin3dConfig, stage: int, rates: list[float]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            _Block(config, stage, shifted=i % 2 == 1, drop_path=rate) for i, rate in enumerate(rates)
        )
        is_last = stage == len(config.depths) - 1
        self.downsample = None if is_last else _PatchMerging(config.embed_dim * 2**stage)

    def forward(self, x: Tensor, window: Size3) -> Tensor:
        for block in self.blocks:
            x = block(x, window)
        return x if self.downsample is None else self.downsample(x)


class _PatchMerging(nn.Module):
    """(n, d, h, w, c) -> (n, d, ceil(h / 2), ceil(w / 2), 2 c)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        x = pad_end(x, (1, 2, 2), first_axis=1)
        # Columns vary slowest: the order in which published reduction weights expect the four neighbours.
        corners = [x[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        merged: Tensor = self.reduction(self.norm(torch.cat(corners, dim=-1)))
        return merged


class _Block(nn.Module):
    """Window attention and an MLP, each behind a layer norm and added to its input; (n, d, h, w, c)."""

    def __init__(self, config: Swin3dConfig, stage: int, *, shifted: bool, drop_path: float) -> None:
        super().__init__()
        dim = config.embed_dim * 2**stage
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(
            dim,
            config.num_heads[stage],
            window=config.window_size,
            grid_size=config.fragment_grid if stage in config.fragment_bias_stages else 0,
            shifted=shifted,
        )
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = _Mlp(dim, config.mlp_ratio * dim, dim)

    def forward(self, x: Tensor, window: Size3) -> Tensor:
        x = x + self._drop(self.attn(self.norm1(x), window))
        return x + self._drop(self.mlp(self.norm2(x)))

    def _drop(self, x: Tensor) -> Tensor:
        """Leave the branch out for a random share of the clips while training, scaled to keep the mean."""
        if not self.training or self.drop_path == 0:
            return x
        keep = 1 - self.drop_path
        return x * (x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep) / keep)


class _Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int, out: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


def _initialise(module: nn.Module) -> None:
    """Give layers Swin's usual start: truncated normal of standard deviation 0.02, biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, WindowAttention):
        nn.init.trunc_normal_(module.relative_position_bias_table, std=0.02)
        if module.grid_size:
            nn.init.trunc_normal_(module.fragment_position_bias_table, std=0.02)
