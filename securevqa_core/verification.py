"""Owns the proof that a checkpoint works here as elsewhere: its digest, its scores of a fixed input."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from securevqa_core import weights, zoo
from securevqa_core.errors import CheckpointError, ConfigurationError, an
from securevqa_core.scoring import normalise
from securevqa_core.types import SamplingConfig

__all__ = ["FINGERPRINT", "TOLERANCE", "Verification", "fingerprint", "verify"]

FINGERPRINT = "fingerprint"  # where a card keeps the scores
TOLERANCE = 1e-4  # between machines, relative to the largest score
_DIGITS = 6  # significant ones of a score: more would differ from processor to processor
_ID_DIGITS = 16  # hexadecimal digits of a digest in a checkpoint's id


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Verification:
    """What a checkpoint was found to be; everything else was an error."""

    checkpoint: weights.Checkpoint
    sha256: str  # of the file
    scores: tuple[float, ...]  # raw, of the fixed input, here
    difference: float | None  # from those in the card, relative to the largest; None where it has none


def verify(content: bytes, *, name: str, digest: str | None = None) -> Verification:
    """Read a checkpoint, build its model and compare what can be compared.

    Args:
        content: of the file.
        name: what messages call it.
        digest: expected SHA-256, its first 16 digits or more, or a `checkpoint_id` as reports have it.

    Raises:
        ConfigurationError: `digest` is none of those.
        CheckpointError: the file is damaged or of another digest, its weights do not fit or are not finite,
            or its scores differ from those in its card by more than `TOLERANCE`.
    """
    checkpoint = weights.read(content, name=name)
    sha256 = hashlib.sha256(content).hexdigest()
    if digest is not None and not sha256.startswith(_hexadecimal(digest, checkpoint.architecture)):
        raise CheckpointError(f"{name} has SHA-256 {sha256}, not {digest}")
    scores = fingerprint(weights.build(checkpoint), zoo.spec(checkpoint.architecture).sampling)
    recorded = checkpoint.card.get(FINGERPRINT)
    return Verification(
        checkpoint=checkpoint,
        sha256=sha256,
        scores=scores,
        difference=None if recorded is None else _difference(scores, recorded, name),
    )


def fingerprint(model: nn.Module, sampling: SamplingConfig) -> tuple[float, ...]:
    """Return the raw scores, one for each temporal position, of one fixed clip and one fixed segment.

    The pixels are SHAKE-256's output, the same on every machine; scores have 6 significant digits.

    Args:
        model: of the zoo, in eval mode, on the CPU.
        sampling: the size of its clips and segments.

    Raises:
        CheckpointError: a score is not finite.
    """
    scored: Any = model
    with torch.inference_mode():
        intra = scored.intra(_pixels("clip", sampling.clip_frames, sampling.fragment_side))
        inter = None
        if sampling.num_segments:
            features = _features(scored, sampling)
            inter = features.expand(sampling.num_segments, -1)[None]
        scores = scored.head(intra, inter).flatten().tolist()
    if not all(map(math.isfinite, scores)):
        raise CheckpointError(f"scores of the fixed input must be finite, got {scores}")
    return tuple(float(f"{score:.{_DIGITS}g}") for score in scores)


def _features(model: Any, sampling: SamplingConfig) -> torch.Tensor:
    """Return (1, channels) of one fixed segment; of a model of statistics its usual ones, which need none."""
    if sampling.picture_rate:
        picture = _pixels("picture", 1, sampling.picture_height, sampling.picture_width)
        made: torch.Tensor = model.inter(picture)
        return made
    if sampling.has_statistics:
        usual: torch.Tensor = model.usual[None]
        return usual
    found: torch.Tensor = model.inter(_pixels("segment", sampling.segment_frames, sampling.segment_side))
    return found


def _pixels(name: str, num_frames: int, height: int, width: int | None = None) -> torch.Tensor:
    """Return normalised noise (1, 3, num_frames, height, width); squares where no width is given."""
    shape = (1, num_frames, height, width or height, 3)
    noise = hashlib.shake_256(name.encode()).digest(math.prod(shape))
    pixels: NDArray[np.uint8] = np.frombuffer(noise, dtype=np.uint8).reshape(shape)
    return normalise(torch.from_numpy(pixels.copy()))


def _hexadecimal(digest: str, architecture: str) -> str:
    """Return the digits of a digest or of a checkpoint's id."""
    digits = digest.removeprefix(f"{architecture}-").lower()
    if not _ID_DIGITS <= len(digits) <= 64 or set(digits) - set("0123456789abcdef"):
        raise ConfigurationError(
            f"sha256 must be {_ID_DIGITS} to 64 hexadecimal digits or the id of {an(architecture)}, "
            f"got {digest!r}"
        )
    return digits


def _difference(scores: tuple[float, ...], recorded: object, name: str) -> float:
    numbers = recorded if isinstance(recorded, list) else []
    sound = all(isinstance(number, float) and math.isfinite(number) for number in numbers)
    if len(numbers) != len(scores) or not sound:
        raise CheckpointError(f"{name} has {FINGERPRINT} {recorded!r} in its card, not {len(scores)} numbers")
    largest = max(map(abs, numbers))
    apart = max(abs(a - b) for a, b in zip(scores, numbers, strict=True))
    if apart > TOLERANCE * largest:
        raise CheckpointError(
            f"{name} scores a fixed input {list(scores)} here, and {numbers} where it was made: "
            f"they may differ by {TOLERANCE:g} of the largest"
        )
    return apart / largest if largest else 0.0
