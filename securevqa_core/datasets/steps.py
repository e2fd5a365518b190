"""Owns what can be done to a clip: filters, encodings, losses and held frames, in memory and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from securevqa_core.errors import DatasetError

__all__ = [
    "ClipFormat",
    "Encode",
    "Filter",
    "Hold",
    "Lose",
    "Step",
    "filter_chain",
    "steps_from_json",
    "steps_to_json",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFormat:
    """What every version of a clip has in common."""

    width: int  # pixels, even
    height: int  # pixels, even
    fps: float
    num_frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """An FFmpeg filter chain; `{width}` and `{height}` stand for the size of the clip."""

    chain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Encode:
    """A generation of encoding and decoding."""

    arguments: tuple[str, ...]  # FFmpeg's encoder options; `{bitrate}` is bits_per_pixel x pixels x fps
    bits_per_pixel: float | None = None  # of a starved encoding


@dataclass(frozen=True, slots=True, kw_only=True)
class Lose:
    """H.264 with one in `every` bytes of its predicted pictures damaged in transport, then concealed."""

    every: int  # bytes, on average


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Frames replaced by a repetition of the last one kept."""

    kept: Callable[[int], Sequence[int]]  # frames in the clip -> numbers of the kept ones, 0 among them


Step = Filter | Encode | Lose | Hold


def filter_chain(step: Filter | Hold, clip: ClipFormat) -> str:
    """Return FFmpeg's filters for a step; a hold repeats the last kept frame in place of the others."""
    if isinstance(step, Filter):
        return step.chain.format(width=clip.width, height=clip.height)
    chosen = "+".join(f"eq(n,{number})" for number in step.kept(clip.num_frames))
    return f"select='{chosen}',fps={clip.fps:.6f}:round=near"


def steps_to_json(steps: Sequence[Step], *, num_frames: int) -> str:
    """Return the steps as JSON, complete: held frames by their numbers in a clip of `num_frames`."""
    return json.dumps([_to_json(step, num_frames) for step in steps])


def steps_from_json(text: str) -> tuple[Step, ...]:
    """Return the steps that `steps_to_json` wrote.

    Raises:
        DatasetError: it is not such JSON.
    """
    try:
        return tuple(_from_json(item) for item in json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DatasetError(f"steps must be JSON of filter, encode, lose and hold, got {text!r}") from error


def _to_json(step: Step, num_frames: int) -> dict[str, Any]:
    match step:
        case Filter():
            return {"filter": step.chain}
        case Encode():
            return {"encode": list(step.arguments), "bits_per_pixel": step.bits_per_pixel}
        case Lose():
            return {"lose": step.every}
        case Hold():
            return {"hold": list(step.kept(num_frames))}


def _from_json(item: dict[str, Any]) -> Step:
    match item:
        case {"filter": str(chain)}:
            return Filter(chain=chain)
        case {"encode": list(arguments), "bits_per_pixel": bits}:
            return Encode(arguments=tuple(arguments), bits_per_pixel=bits)
        case {"lose": int(every)}:
            return Lose(every=every)
        case {"hold": list(numbers)}:
            return Hold(kept=lambda _num_frames: numbers)
        case _:
            raise ValueError(item)
