"""Owns attention inside shifted 3-D windows with gated relative position bias (GRPB)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor, nn

from securevqa_core.models.windows import (
    Size3,
    WindowGeometry,
    clip_window,
    join_windows,
    split_windows,
    window_geometry,
)

__all__ = ["WindowAttention", "pad_end"]

# Published Video Swin keeps shifted-in neighbours out with a finite penalty, and published weights expect it.
_MASK_PENALTY = -100.0
# A position bias is made for as many windows at a time as fit a processor's cache; a GPU takes all at once.
_CPU_BIAS_ELEMENTS = 1 << 21
_GPU_BIAS_ELEMENTS = 1 << 28


class WindowAttention(nn.Module):
    """Attention inside (shifted) windows, with bias = g RPB + (1 - g) FPB for pairs g fragments apart.

    g is an integer: 0 inside one fragment, 1 for fragments that touch on a side, more for the rest. Where
    `grid_size` is 0 there are no fragments, and the bias is RPB.
    """

    def __init__(self, dim: int, num_heads: int, *, window: Size3, grid_size: int, shifted: bool) -> None:
        super().__init__()
        self.num_heads, self.table_window, self.grid_size, self.shifted = (
            num_heads,
            window,
            grid_size,
            shifted,
        )
        rows = math.prod(2 * w - 1 for w in window)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, num_heads))
        if grid_size:
            self.fragment_position_bias_table = nn.Parameter(torch.zeros(rows, num_heads))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, window: Size3) -> Tensor:
        """Return attention over windows; x is (n, d, h, w, c)."""
        size: Size3 = (x.shape[1], x.shape[2], x.shape[3])
        shift = self._shift(size, window)
        window = clip_window(size, window)
        geometry = window_geometry(
            size=size,
            window=window,
            shift=shift,
            table_window=self.table_window,
            grid_size=self.grid_size,
            device=x.device,
        )
        x = pad_end(x, window, first_axis=1)
        x = torch.roll(x, tuple(-s for s in shift), dims=(1, 2, 3)) if any(shift) else x
        x = self.proj(self._attend(self.qkv(split_windows(x, window)), geometry))
        x = join_windows(x, window, geometry.padded)
        x = torch.roll(x, shift, dims=(1, 2, 3)) if any(shift) else x
        return x[:, : size[0], : size[1], : size[2]]

    def _shift(self, size: Size3, window: Size3) -> Size3:
        """Return half a window, or 0 on an axis that one window covers.

        Half of the window the table was made for, not of the one a small input shrank it to: so published
        weights were trained.
        """
        if not self.shifted:
            return (0, 0, 0)
        a, b, c = (0 if s <= w else t // 2 for s, w, t in zip(size, window, self.table_window, strict=True))
        return (a, b, c)

    def _attend(self, qkv: Tensor, geometry: WindowGeometry) -> Tensor:
        """Return (n, p, s, v, c) from (n, p, s, v, 3 c)."""
        n, p, s, v, _ = qkv.shape
        q, k, value = qkv.view(n, p, s, v, 3, self.num_heads, -1).permute(4, 0, 1, 2, 5, 3, 6).unbind(0)
        limit = _CPU_BIAS_ELEMENTS if qkv.device.type == "cpu" else _GPU_BIAS_ELEMENTS
        chunk = max(1, limit // (self.num_heads * v * v))
        tables = self._position_biases(geometry, v, q.dtype)
        parts = [slice(start, start + chunk) for start in range(0, s, chunk)]
        out: dict[tuple[int, int, int], Tensor] = {}
        for c, part in enumerate(parts):
            biases = self._window_biases(geometry, tables, part)
            for j in range(p):
                if biases[j].shape[0] == 1:  # the clips of a batch stand in for windows
                    alone = part.start
                    clips = _attention(q[:, j, alone], k[:, j, alone], value[:, j, alone], biases[j])
                    out.update({(i, j, c): clips[i : i + 1] for i in range(n)})
                    continue
                for i in range(n):
                    out[i, j, c] = _attention(q[i, j, part], k[i, j, part], value[i, j, part], biases[j])
        return torch.cat([out[key] for key in sorted(out)]).view(n, p, s, v, -1)

    def _position_biases(
        self, geometry: WindowGeometry, v: int, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor | None]:
        """Return RPB (heads, v, v) and None, or FPB and RPB - FPB where the stage has fragments."""
        index = geometry.index.flatten()
        relative = self.relative_position_bias_table.T.index_select(1, index).view(self.num_heads, v, v)
        if not self.grid_size:
            return relative.to(dtype), None
        fragment = self.fragment_position_bias_table.T.index_select(1, index).view(self.num_heads, v, v)
        return fragment.to(dtype), (relative - fragment).to(dtype)

    def _window_biases(
        self, geometry: WindowGeometry, tables: tuple[Tensor, Tensor | None], part: slice
    ) -> list[Tensor]:
        """Return, for each of the p windows along time, bias and mask (s', heads, v, v) of a slice."""
        gate, space, time = geometry.gate[part], geometry.spatial_mask[part], geometry.temporal_mask
        (s, a, _), d = gate.shape, time.shape[-1]
        base, slope = (None if x is None else x.view(1, self.num_heads, d, a, d, a) for x in tables)
        assert base is not None
        bias = base.expand(s, -1, -1, -1, -1, -1)
        if slope is not None:
            bias = torch.addcmul(base, gate.view(s, 1, 1, a, 1, a).to(base.dtype), slope)
        if geometry.masked_in_space:
            bias = bias + _MASK_PENALTY * space.view(s, 1, 1, a, 1, a).to(base.dtype)
        inner = bias.reshape(s, self.num_heads, d * a, d * a)
        return [
            self._mask_time(bias, time[j]) if masked else inner
            for j, masked in enumerate(geometry.masked_in_time)
        ]

    def _mask_time(self, bias: Tensor, mask: Tensor) -> Tensor:
        """Return (s', heads, v, v) from a bias (s', heads, d, a, d, a) and a mask (d, d)."""
        s, heads, d, a, _, _ = bias.shape
        masked = bias + _MASK_PENALTY * mask.view(1, 1, d, 1, d, 1).to(bias.dtype)
        return masked.reshape(s, heads, d * a, d * a)


def _attention(q: Tensor, k: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Return (b, v, c) from (b, heads, v, c / heads) and a bias (b or 1, heads, v, v)."""
    if q.dtype == torch.bfloat16 and q.device.type == "cpu" and not torch.is_grad_enabled():
        # PyTorch's fused kernel takes as long as in float32; products of matrices take a third of that.
        likeness = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2)).add_(bias).softmax(dim=-1)
        return torch.matmul(likeness, value).transpose(1, 2).flatten(2)
    return F.scaled_dot_product_attention(q, k, value, attn_mask=bias).transpose(1, 2).flatten(2)


def pad_end(x: Tensor, multiple: tuple[int, ...], *, first_axis: int) -> Tensor:
    """Append zeros to three axes from `first_axis` on, up to a multiple of each of `multiple`."""
    missing = [-x.shape[first_axis + i] % m for i, m in enumerate(multiple)]
    if not any(missing):
        return x
    after = [0, 0] * (x.ndim - first_axis - 3)
    return F.pad(x, after + [n for m in reversed(missing) for n in (0, m)])
