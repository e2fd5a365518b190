"""Owns the families of faults that uploads really have: what each does at each level, how it is labelled.

Labels. The label of a clip is VMAF NEG v0.6.1, 0..100, mean over frames, against the pristine clip, where
VMAF compares what people compare: detail lost or added, in frames of the same moment under the same light.
That holds for codecs, starved bitrates, generations, rescaling, blur, noise, banding and packet loss, and for
sharpening and contrast boosts, which plain VMAF scores near 100 at every level and NEG does not reward.

Where it does not hold, the clip is compared with the pristine clip to which the same fault was done. That
measures what the encoder took on top, and the family's factor, which stands for the fault, multiplies it.
Why, with what NEG says without the rule (five contents):

    underexposed  NEG takes dim for lost detail: 0-8 at 0.8 stops, 0 from 1.5 on, where people still see
                  everything. Factor 1 - 0.2 a stop: 0.84 at 0.8 stops, 0.4 at 3.
    overexposed   NEG 56-66 at half a stop, anything from 11 to 31 at one. Factor 1 - 0.3 a stop, steeper than
                  underexposed because highlights clip and do not come back: 0.85 at half a stop, 0.37 at 2.1.
    low_contrast  NEG 6-12 at contrast 0.6, 0 below, though no edge is lost. Factor 1 - 0.9 of the contrast
                  that is gone: 0.82 at 0.8, 0.37 at 0.3.
    desaturated   NEG reads luma alone: 96 for a grey picture. Factor 1 - 0.3 of the colour that is gone, of
                  which some is always left: a picture without any is meant so, and is a kind of view.
    frame_drop    NEG compares a repeated frame with another moment, so that it measures how far things moved:
                  a sixth of the frames gives 43-81. The factor looks at the share of frames kept alone, in
                  the exponential form of Ou, Ma and Wang's models of frame rate, with rate 3: half of them
                  keep 0.82, a sixth 0.41.
    judder        As frame_drop: the same share of frames, kept at irregular places.
    freeze        As frame_drop: NEG 34-50 with 70% of the clip frozen. The factor is the share of time that
                  moves.

The factors are choices, not fits: they order the levels of a family as people would and put families beside
each other plausibly, and no opinion scores stand behind them. VMAF is known to be lenient on banding; that
label is kept as it is. A mixture takes the rule of its first fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from securevqa_core.datasets.steps import Encode, Filter, Hold, Lose, Step

__all__ = ["FAMILIES", "TEMPORAL", "Family"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of fault."""

    levels: tuple[float, ...]  # the parameter of each level, mildest first
    steps: Callable[[float], Step | tuple[Step, ...]]  # parameter -> what is done
    factor: Callable[[float], float] | None = None  # parameter -> `Recipe.quality_factor`


def _x264(crf: float, preset: str = "veryfast") -> Encode:
    return Encode(arguments=("-c:v", "libx264", "-preset", preset, "-crf", f"{crf:g}"))


def _x265(crf: float, preset: str = "superfast") -> Encode:
    quiet = ("-x265-params", "log-level=none:pools=none:frame-threads=1")
    return Encode(arguments=("-c:v", "libx265", "-preset", preset, "-crf", f"{crf:g}", *quiet))


def _av1(crf: float) -> Encode:
    return Encode(
        arguments=("-c:v", "libsvtav1", "-preset", "11", "-crf", f"{crf:g}", "-svtav1-params", "lp=1")
    )


def _vp9(crf: float, speed: tuple[str, ...] = ("-deadline", "realtime", "-cpu-used", "7")) -> Encode:
    speed = (*speed, "-row-mt", "0")
    return Encode(arguments=("-c:v", "libvpx-vp9", "-b:v", "0", "-crf", f"{crf:g}", *speed))


def _starved(bits_per_pixel: float) -> Encode:
    rate = ("-b:v", "{bitrate}", "-maxrate", "{bitrate}", "-bufsize", "{bitrate}")
    return Encode(arguments=("-c:v", "libx264", "-preset", "veryfast", *rate), bits_per_pixel=bits_per_pixel)


def _generations(count: float) -> tuple[Encode, ...]:
    codecs = (_x264(25), _vp9(36), _x265(27), _x264(24))
    return tuple(codecs[i % len(codecs)] for i in range(int(count)))


def _rescaled(factor: float) -> Filter:
    small = f"scale=trunc({{width}}/{factor}/2)*2:trunc({{height}}/{factor}/2)*2:flags=area"
    return Filter(chain=f"{small},scale={{width}}:{{height}}:flags=bicubic")


def _regular(period: float) -> Hold:
    return Hold(kept=lambda n: sorted({*range(0, n, int(period)), n - 1}))


def _judder(share: float) -> Hold:
    """Drop `share` of the frames at places that follow no rhythm."""

    def kept(num_frames: int) -> list[int]:
        order = np.random.default_rng(7).permutation(np.arange(1, num_frames - 1))
        return sorted(set(range(num_frames)) - set(order[: round(share * num_frames)].tolist()))

    return Hold(kept=kept)


def _freeze(share: float) -> Hold:
    def kept(num_frames: int) -> list[int]:
        first = round(0.15 * num_frames)
        last = min(num_frames - 1, first + round(share * num_frames))
        return [*range(first + 1), *range(last, num_frames)]

    return Hold(kept=kept)


def _chain(template: str) -> Callable[[float], Filter]:
    return lambda value: Filter(chain=template.format(value))


def _smoothness(rate: float) -> float:
    """Return quality, 0..1, of the share of frames that is kept, 0..1 (see the head of this file)."""
    return float((1 - np.exp(-3 * rate)) / (1 - np.exp(-3)))


# FFmpeg's `noise` is triangular-ish over +-strength; `exposure` is in stops, in linear light.
FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "x264": Family(levels=(26, 31, 36, 41, 47), steps=_x264),
        "x265": Family(levels=(27, 32, 37, 42, 48), steps=_x265),
        "av1": Family(levels=(36, 47, 55, 60, 63), steps=_av1),
        "vp9": Family(levels=(30, 40, 48, 55, 63), steps=_vp9),
        # As people encode: slower, and what is lost looks otherwise.
        "x264_medium": Family(levels=(28, 34, 39, 44, 49), steps=lambda crf: _x264(crf, "medium")),
        "x265_medium": Family(levels=(30, 36, 41, 46, 50), steps=lambda crf: _x265(crf, "medium")),
        "vp9_good": Family(
            levels=(36, 46, 54, 63), steps=lambda crf: _vp9(crf, ("-deadline", "good", "-cpu-used", "4"))
        ),
        "starved": Family(levels=(0.12, 0.06, 0.035, 0.02, 0.012), steps=_starved),
        "generations": Family(levels=(1, 2, 4, 7), steps=_generations),
        "rescale": Family(levels=(1.4, 2, 2.8, 4, 6), steps=_rescaled),
        "blur": Family(levels=(0.5, 0.75, 1.1, 1.6, 2.4), steps=_chain("gblur=sigma={0}")),
        "motion_blur": Family(levels=(0.6, 1, 1.6, 2.5, 4), steps=_chain("dblur=angle=20:radius={0}")),
        "noise": Family(levels=(8, 16, 28, 44, 70), steps=_chain("noise=all_seed=1:alls={0}:allf=t")),
        "banding": Family(levels=(12, 20, 32, 48, 72), steps=_chain("lutyuv=y='round(val/{0})*{0}'")),
        "underexposed": Family(
            levels=(0.8, 1.5, 2.2, 3),
            steps=_chain("exposure=exposure=-{0},format=yuv420p"),
            factor=lambda stops: 1 - 0.2 * stops,
        ),
        "overexposed": Family(
            levels=(0.5, 1, 1.5, 2.1),
            steps=_chain("exposure=exposure={0},format=yuv420p"),
            factor=lambda stops: 1 - 0.3 * stops,
        ),
        "low_contrast": Family(
            levels=(0.8, 0.6, 0.45, 0.3),
            steps=_chain("eq=contrast={0}"),
            factor=lambda contrast: 1 - 0.9 * (1 - contrast),
        ),
        "desaturated": Family(
            levels=(0.6, 0.3, 0.1),
            steps=_chain("eq=saturation={0}"),
            factor=lambda saturation: 1 - 0.3 * (1 - saturation),
        ),
        "packet_loss": Family(levels=(8000, 2500, 800, 250), steps=lambda n: Lose(every=int(n))),
        "frame_drop": Family(
            levels=(2, 3, 4, 6), steps=_regular, factor=lambda period: _smoothness(1 / period)
        ),
        "judder": Family(
            levels=(0.2, 0.35, 0.5, 0.7), steps=_judder, factor=lambda share: _smoothness(1 - share)
        ),
        "freeze": Family(levels=(0.15, 0.3, 0.5, 0.7), steps=_freeze, factor=lambda share: 1 - share),
        "sharpen": Family(levels=(1, 2, 3.5, 5), steps=_chain("unsharp=5:5:{0}:5:5:0")),
        "contrast_boost": Family(levels=(1.2, 1.5, 1.9, 2.4), steps=_chain("eq=contrast={0}")),
    }
)
TEMPORAL = frozenset({"frame_drop", "judder", "freeze"})  # nothing to be seen without motion
