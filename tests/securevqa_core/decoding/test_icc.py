"""A usual ICC profile is let pass; one that makes another picture is not, nor one that cannot be read."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from securevqa_core.decoding.extract import DecodeRequest, extract_sample
from securevqa_core.decoding.icc import is_ordinary
from securevqa_core.errors import DecodeError

RequestMaker = Callable[..., DecodeRequest]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _curve(*levels: int) -> bytes:
    return b"curv" + bytes(4) + struct.pack(f">I{len(levels)}H", len(levels), *levels)


def _profile(curve: bytes, primaries: tuple[tuple[float, ...], ...], space: bytes = b"RGB ") -> bytes:
    """As small as a profile may be."""
    names = (b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC", b"kTRC")
    points = [
        b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in point)) for point in primaries
    ]
    held = [*points, *[curve] * 4]
    at, table, body = 132 + 12 * len(names), b"", b""
    for name, tag in zip(names, held, strict=True):
        table += struct.pack(">4sII", name, at + len(body), len(tag))
        body += tag
    return (bytes(16) + space).ljust(128, b"\0") + struct.pack(">I", len(names)) + table + body


DISPLAY_P3 = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
PROPHOTO = ((0.7977, 0.2880, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249))
GAMMA = _curve(round(2.2 * 256))
TABLE = _curve(*(round(65535 * (level / 1023) ** 2.2) for level in range(1024)))


@pytest.mark.parametrize(
    "profile",
    [
        SRGB,
        _profile(GAMMA, DISPLAY_P3),
        _profile(TABLE, DISPLAY_P3),
        _profile(_curve(round(1.8 * 256)), PROPHOTO),
        _profile(GAMMA, ((0.0,) * 3,) * 3, space=b"GRAY"),
    ],
)
def test_usual_profiles_pass(profile: bytes) -> None:
    assert is_ordinary(profile)


@pytest.mark.parametrize(
    "profile",
    [
        b"",
        bytes(200),
        SRGB[:300],
        _profile(GAMMA, DISPLAY_P3[::-1]),  # red for blue
        _profile(GAMMA, (DISPLAY_P3[0],) * 3),  # all red
        _profile(_curve(256), DISPLAY_P3),  # linear
        _profile(_curve(), DISPLAY_P3),
        _profile(_curve(*range(65535, 0, -64)), DISPLAY_P3),  # a negative
        _profile(_curve(0, 14000, 14000, 14000, 14000), DISPLAY_P3),  # without lights
        _profile(_curve(0, 14000, 65535)[:-2], DISPLAY_P3),
        _profile(b"para" + bytes(4) + struct.pack(">HHi", 0, 0, 65536 // 2), DISPLAY_P3),
        _profile(GAMMA, DISPLAY_P3, space=b"Lab "),
        _profile(GAMMA, DISPLAY_P3).replace(b"kTRC", b"A2B0"),  # a table of colours
    ],
)
def test_profiles_that_make_another_picture_do_not(profile: bytes) -> None:
    assert not is_ordinary(profile)


def test_profiles_of_any_bytes_are_read_to_an_end() -> None:
    rng = np.random.default_rng(0)
    for _ in range(2_000):
        spoilt = np.frombuffer(SRGB, dtype=np.uint8).copy()
        spoilt[rng.integers(0, len(spoilt), 8)] = rng.integers(0, 256, 8)
        assert is_ordinary(spoilt[: rng.integers(1, len(spoilt))].tobytes()) in (True, False)


@pytest.mark.parametrize("name", ["still.png", "still.jpg"])
def test_a_picture_with_such_a_profile_is_refused(
    make_request: RequestMaker, tmp_path: Path, name: str
) -> None:
    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path = tmp_path / name
    pixels.save(path, icc_profile=SRGB)
    assert extract_sample(str(path), make_request()).warnings == ()
    pixels.save(path, icc_profile=_profile(GAMMA, DISPLAY_P3[::-1]))
    with pytest.raises(DecodeError, match="an ICC profile that is none of a usual") as caught:
        extract_sample(str(path), make_request())
    assert caught.value.code == "display_not_understood"
