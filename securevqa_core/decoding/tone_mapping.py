"""Owns bringing high dynamic range (PQ and HLG, ITU-R BT.2100) down to the range the models know."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorTrc
from numpy.typing import NDArray

__all__ = ["HDR_TRANSFERS", "is_hdr", "tone_map", "transfer_name"]

_REFERENCE_WHITE_NITS = 100.0  # of standard range, as BT.1886 displays are graded
_PEAK_NITS = 1000.0  # of the display HLG is defined for, and of most that PQ is graded on
_DISPLAY_GAMMA = 2.4  # ITU-R BT.1886
_BT2020_LUMA = np.array([0.2627, 0.6780, 0.0593], dtype=np.float32)
# Linear light from BT.2020 primaries to BT.709's (ITU-R BT.2087, section 4; its inverse).
_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], dtype=np.float32
)
_NAMES = {int(ColorTrc.SMPTE2084): "PQ", int(ColorTrc.ARIB_STD_B67): "HLG"}
HDR_TRANSFERS = frozenset(_NAMES)  # by ITU-T H.273, table 3


def is_hdr(picture: VideoFrame) -> bool:
    """Tell whether a picture is marked as high dynamic range."""
    return int(picture.color_trc) in _NAMES


def transfer_name(picture: VideoFrame) -> str | None:
    """Return PQ or HLG, None for standard dynamic range."""
    return _NAMES.get(int(picture.color_trc))


def tone_map(levels: NDArray[np.uint16], picture: VideoFrame) -> NDArray[np.uint8]:
    """Return 8-bit BT.709 RGB for a display of standard range.

    Linear light relative to reference white, BT.709 primaries, J. Hable's filmic curve on the largest of the
    three values so that hue stays, and BT.1886's gamma: what FFmpeg's `zscale` and `tonemap=hable` do.

    Args:
        levels: (..., 3) RGB of 16 bits, in the transfer and primaries that `picture` is marked with.
        picture: where they come from; one for which `is_hdr` holds.
    """
    is_pq = int(picture.color_trc) == ColorTrc.SMPTE2084
    light = _pq_light()[levels] if is_pq else _hlg_display_light(_hlg_scene_light()[levels])
    if int(picture.color_primaries) != ColorPrimaries.BT709:
        light = light @ _BT2020_TO_BT709.T
    largest = np.maximum(light.max(axis=-1, keepdims=True), np.float32(1e-6))
    light *= _filmic(largest) / (_filmic(np.float32(_PEAK_NITS / _REFERENCE_WHITE_NITS)) * largest)
    shown = np.clip(light, 0, 1, out=light) ** np.float32(1 / _DISPLAY_GAMMA)
    pixels: NDArray[np.uint8] = np.rint(shown * np.float32(255)).astype(np.uint8)
    return pixels


@functools.cache
def _pq_light() -> NDArray[np.float32]:
    """(65536,) light of every PQ level, 1 at reference white (SMPTE ST 2084)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = np.linspace(0, 1, 1 << 16) ** (1 / m2)
    nits = 10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    return (nits / _REFERENCE_WHITE_NITS).astype(np.float32)


@functools.cache
def _hlg_scene_light() -> NDArray[np.float32]:
    """(65536,) scene light of every HLG level, 0..1 (BT.2100, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    level = np.linspace(0, 1, 1 << 16)
    light = np.where(level <= 0.5, level**2 / 3, (np.exp((level - c) / a) + b) / 12)
    return light.astype(np.float32)


def _hlg_display_light(scene: NDArray[np.float32]) -> NDArray[np.float32]:
    """Apply HLG's system gamma of 1.2 (BT.2100, table 5), 1 at reference white."""
    luma = np.maximum(scene @ _BT2020_LUMA, np.float32(1e-6))[..., None]
    shown: NDArray[np.float32] = scene * luma ** np.float32(0.2)
    return shown * np.float32(_PEAK_NITS / _REFERENCE_WHITE_NITS)


def _filmic(light: Any) -> Any:
    """J. Hable's curve for Uncharted 2, not normalised."""
    a, b, c, d, e, f = (np.float32(value) for value in (0.15, 0.50, 0.10, 0.20, 0.02, 0.30))
    curve = (light * (light * a + c * b) + d * e) / (light * (light * a + b) + d * f)
    return curve - e / f
