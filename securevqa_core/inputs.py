"""Owns the one way from a file to what a model sees: where each draw looks, and its guardian maps.

    file --cell--> patches (draws, clips, d, G, G, S, S, 3) --splice--> + guardian map --> intra branch
               +-> frames (k, side, side, 3), segments ---------------> + guardian map --> inter branch

Stages on Ray, the cache of training and the close look go this way; so does an attack, on whole frames and
with gradients, in `attacks.differentiable`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from securevqa_core.decoding.backend import Decoder
from securevqa_core.decoding.extract import DecodedSample, DecodeRequest, DrawSeeds
from securevqa_core.guardian import add_guardian_map
from securevqa_core.randomness import VideoDraw, generator
from securevqa_core.rendition import Rendition
from securevqa_core.types import DecodeLimits, SamplingConfig
from securevqa_core.whole_frames import StatisticsSink

__all__ = ["Look", "Take", "decode_request", "guarded_draws", "look"]

Take = Callable[[DecodeRequest, StatisticsSink | None], DecodedSample]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Look:
    """What was taken of one video, an upload or a rendition of it."""

    sample: DecodedSample
    statistics: NDArray[np.float32] | None  # of whole frames; None: the model has none


def decode_request(
    sampling: SamplingConfig,
    draws: Sequence[VideoDraw],
    *,
    limits: DecodeLimits,
    decoder: Decoder = "auto",
    takes_glances: bool = False,
    rendition: Rendition | None = None,
) -> DecodeRequest:
    """Return what to ask the decoding process for: it is told where to look, never the guardian maps.

    Args:
        sampling: what the model looks at.
        draws: of the video.
        limits: of the decoding process.
        decoder: which backend reads the frames.
        takes_glances: take what `fingerprints.fingerprint` is made of, besides.
        rendition: of the file, that is sampled in its place.
    """
    seeds = (DrawSeeds(skip_sampling=draw.skip_sampling, grid_sampling=draw.grid_sampling) for draw in draws)
    return DecodeRequest(
        sampling=sampling,
        draws=tuple(seeds),
        limits=limits,
        decoder=decoder,
        takes_glances=takes_glances,
        rendition=rendition,
    )


def look(take: Take, request: DecodeRequest, sink: StatisticsSink | None) -> Look:
    """Take what a request asks for, with statistics of whole frames where there is a sink for them."""
    sample = take(request, sink)
    return Look(sample=sample, statistics=None if sink is None else sink.features())


def guarded_draws(spliced: NDArray[np.uint8], seeds: Sequence[bytes], *, amplitude: int) -> NDArray[np.uint8]:
    """Add to the fragments of each draw a guardian map of its own (Eq. 5).

    Args:
        spliced: (draws, clips, d, G S, G S, 3) uint8, RGB.
        seeds: 32 bytes a draw, `VideoDraw.guardian_intra`.
        amplitude: 8-bit levels.

    Returns:
        uint8 of the same shape: the fragments that the intra branch sees.
    """
    return np.stack(
        [
            add_guardian_map(draw, generator(seed), amplitude=amplitude)
            for draw, seed in zip(spliced, seeds, strict=True)
        ]
    )
