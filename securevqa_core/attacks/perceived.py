"""Owns what an attack costs to the eye, as VMAF sees it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from securevqa_core.attacks.codecs import write_lossless
from securevqa_core.datasets.steps import ClipFormat
from securevqa_core.datasets.vmaf import Vmaf, measure_vmaf
from securevqa_core.errors import UndefinedError

__all__ = ["perceived_loss"]

_FPS = 25.0  # VMAF compares frame by frame, whatever the rate


def perceived_loss(clean: NDArray[np.uint8], attacked: NDArray[np.uint8]) -> Vmaf:
    """Return VMAF and VMAF NEG v0.6.1 of an attacked video against the video it was made from.

    Args:
        clean: (t, h, w, 3) uint8 RGB.
        attacked: likewise.

    Raises:
        UndefinedError: their shapes differ: a frame is left out, say.
        DatasetError: there is no FFmpeg with libvmaf, or it failed.
    """
    if clean.shape != attacked.shape:
        raise UndefinedError(f"VMAF is of videos of one shape, got {clean.shape} and {attacked.shape}")
    num_frames, height, width, _ = clean.shape
    clip = ClipFormat(width=width, height=height, fps=_FPS, num_frames=num_frames)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, frames in (("clean.mkv", clean), ("attacked.mkv", attacked)):
            write_lossless(folder / file, frames, fps=_FPS)
        return measure_vmaf(folder / "attacked.mkv", folder / "clean.mkv", clip=clip, scratch=folder)
