"""Owns the likeness of sources: difference hashes of their pictures, and groups of the same footage."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from securevqa_core.datasets.sources import LIMITS, Source, open_photo, take_frames
from securevqa_core.decoding.frames import FramesRequest

__all__ = ["HASH_BITS", "Bits", "group_sources", "hash_pictures", "picture_hash"]

# A frame every half second, of whose luma a hash is made, and no more of it is kept: other colours would
# depend on what the file says of them, which a copy may say otherwise.
_LOOK = FramesRequest(every_seconds=0.5, max_height=144, takes_luma=True, limits=LIMITS)
HASH_BITS = 128
MAX_DISTANCE = 24  # bits in which two hashes may differ where several pictures of both sources agree
MAX_DISTANCE_ALONE = 8  # and where one of the sources has one picture only
MIN_SHARE = 0.3  # of the shorter source's pictures; more of them in the other make both one
MIN_CONTRAST = 8.0  # 8-bit levels, standard deviation of the shrunk picture; below it a hash says nothing
MIN_STEP = 1.0  # 8-bit levels, median step between neighbours; likewise

_SIDES = ((9, 8), (8, 9))  # columns and rows; the steps are those along the longer side

Bits = NDArray[np.bool_]  # (k, 128), one row for each picture


def picture_hash(picture: Image.Image) -> NDArray[np.bool_] | None:
    """Return the difference hash of a picture, (128,): where luma rises to the right, and where downwards.

    None for a picture so flat that rounding decides its bits.
    """
    luma = picture.convert("L")
    bits = []
    for axis, size in zip((1, 0), _SIDES, strict=True):
        small = np.asarray(luma.resize(size, Image.Resampling.BOX), dtype=np.float32)
        steps = np.diff(small, axis=axis)
        if small.std() < MIN_CONTRAST or np.median(np.abs(steps)) < MIN_STEP:
            return None
        bits.append((steps > 0).ravel())
    return np.concatenate(bits)


def hash_pictures(source: Source) -> Bits:
    """Return the hashes of a photograph, or of a video's frames every half second; flat ones are skipped.

    Of a damaged video those before the damage.

    Raises:
        DatasetError: nothing of it can be decoded.
    """
    hashes = _Hashes()
    if source.is_photo:
        hashes.look(open_photo(source.path))
    else:
        take_frames(source.path, _LOOK, hashes)
    return np.array(hashes.found, dtype=np.bool_).reshape(-1, HASH_BITS)


def group_sources(hashes: Mapping[str, Bits]) -> dict[str, str]:
    """Return the group of every source: the first id, in order, of those that show the same footage as it.

    Two sources are the same footage when more than `MIN_SHARE` of the hashes of the one with fewer have a
    match in the other: the same file encoded anew, cut or scaled, and another take in the same place. What is
    the same as a third is the same.

    Args:
        hashes: of each source by its id, (k, 128).
    """
    groups = {name: name for name in sorted(hashes)}
    names = [name for name in groups if len(hashes[name])]
    if not names:
        return groups
    signs = np.concatenate([_signs(hashes[name]) for name in names])
    counts = np.array([len(hashes[name]) for name in names])
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    for number, name in enumerate(names):
        own = _signs(hashes[name])
        furthest = MAX_DISTANCE if len(own) > 1 else MAX_DISTANCE_ALONE
        matches = (HASH_BITS - own @ signs.T) / 2 <= furthest  # (k, hashes of all sources)
        shares = np.logical_or.reduceat(matches, starts, axis=1).mean(axis=0)  # of the own, in each source
        for other in np.flatnonzero((shares > MIN_SHARE) & (counts >= counts[number])):
            _merge(groups, name, names[other])
    return groups


class _Hashes:
    """Makes a hash of each frame as it comes."""

    def __init__(self) -> None:
        self.found: list[NDArray[np.bool_]] = []

    def begin(self) -> None:
        self.found = []

    def add(self, pixels: NDArray[np.uint8]) -> None:
        self.look(Image.fromarray(pixels[..., 0]))

    def look(self, picture: Image.Image) -> None:
        if (one_hash := picture_hash(picture)) is not None:
            self.found.append(one_hash)


def _signs(hashes: Bits) -> NDArray[np.float32]:
    """Return -1 and 1, so that a product counts the bits that agree less those that differ."""
    return np.where(hashes, 1.0, -1.0).astype(np.float32)


def _merge(groups: dict[str, str], name: str, other: str) -> None:
    """Give both groups the id of the one that comes first."""
    stays, gone = sorted((groups[name], groups[other]))
    if stays != gone:
        groups.update({member: stays for member, group in groups.items() if group == gone})
