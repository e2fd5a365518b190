"""Owns telling ICC profiles of usual colour spaces from those that make another picture."""

from __future__ import annotations

import functools
import itertools
import struct

__all__ = ["is_ordinary"]

# ICC.1:2022, sections 7 and 10. Colours are XYZ under D50, light is 0..1.
_HEADER_BYTES, _TAG_BYTES, _MAX_TAGS = 132, 12, 200
_COLOUR_SPACE = slice(16, 20)
# Of each primary, which of X, Y and Z tells it and between what that lies, from sRGB to ProPhoto.
_PRIMARIES = {b"rXYZ": (0, 0.35, 0.85), b"gXYZ": (1, 0.55, 0.80), b"bXYZ": (2, 0.50, 0.95)}
_CURVES = {b"RGB ": (b"rTRC", b"gTRC", b"bTRC"), b"GRAY": (b"kTRC",)}
_MIDDLE_LIGHT = (0.12, 0.36)  # at half a signal: a gamma between 1.5 and 3


@functools.lru_cache(maxsize=64)
def is_ordinary(profile: bytes) -> bool:
    """Tell whether a profile is that of a usual space: three primaries, or grey, and a gamma.

    FFmpeg's programs show pictures without it, browsers with it; of usual spaces the two differ a little.
    """
    tags = _tags(profile)
    space = profile[_COLOUR_SPACE]
    if space not in _CURVES or b"A2B0" in tags:
        return False
    has_primaries = space == b"GRAY" or all(
        _is_primary(tags.get(name), *rule) for name, rule in _PRIMARIES.items()
    )
    return has_primaries and all(_is_gamma(tags.get(name)) for name in _CURVES[space])


def _tags(profile: bytes) -> dict[bytes, bytes]:
    count = min(int.from_bytes(profile[128:_HEADER_BYTES]), _MAX_TAGS)
    table = profile[_HEADER_BYTES : _HEADER_BYTES + count * _TAG_BYTES]
    rows = struct.iter_unpack(">4sII", table[: len(table) // _TAG_BYTES * _TAG_BYTES])
    return {name: profile[start : start + size] for name, start, size in rows}


def _is_primary(tag: bytes | None, axis: int, low: float, high: float) -> bool:
    if tag is None or len(tag) < 20:
        return False
    point: tuple[int, int, int] = struct.unpack_from(">3i", tag, 8)
    return low <= point[axis] / 65536 <= high


def _is_gamma(tag: bytes | None) -> bool:
    light = None if tag is None or len(tag) < 12 else _light_in_the_middle(tag)
    return light is not None and _MIDDLE_LIGHT[0] <= light <= _MIDDLE_LIGHT[1]


def _light_in_the_middle(tag: bytes) -> float | None:
    """Return what half a signal gives, None for a curve that falls or of a kind not known here."""
    if tag[:4] == b"para":
        kind, count = int.from_bytes(tag[8:10]), (len(tag) - 12) // 4
        numbers = [number / 65536 for number in struct.unpack_from(f">{count}i", tag, 12)]
        if kind > 4 or count < (1, 3, 4, 5, 7)[kind]:
            return None
        gamma, scale, offset = (numbers[0], 1.0, 0.0) if kind == 0 else numbers[:3]
        return max(scale * 0.5 + offset, 0.0) ** gamma if 0 < gamma < 8 else None
    count = int.from_bytes(tag[8:12])
    if tag[:4] != b"curv" or len(tag) < 12 + 2 * count:
        return None
    levels = struct.unpack_from(f">{count}H", tag, 12)
    if count < 2:
        return 0.5 ** (levels[0] / 256) if count else 0.5
    is_rising = all(one <= next_one for one, next_one in itertools.pairwise(levels))
    is_whole = levels[0] < 0x1000 and levels[-1] > 0xF000
    return levels[count // 2] / 65535 if is_rising and is_whole else None
