"""Owns the frozen values that cross module boundaries, with their shapes, units and ranges."""

from __future__ import annotations

import numbers
from dataclasses import asdict, dataclass, fields
from typing import Literal, get_args

from securevqa_core.errors import ConfigurationError

__all__ = [
    "NUM_RESAMPLES",
    "DecodeLimits",
    "Decoder",
    "EmbeddingConfig",
    "Feature",
    "Precision",
    "SamplingConfig",
    "Thresholds",
    "VideoInfo",
    "require_range",
]

Precision = Literal["float32", "bfloat16"]  # of the backbones' arithmetic
Decoder = Literal["auto", "pyav", "decord"]  # auto: PyAV, and decord where PyAV fails

Feature = Literal["intra", "inter", "fused"]
Pool = Literal["mean", "clip"]
DType = Literal["float16", "float32"]

NUM_RESAMPLES = 1000  # of a bootstrap, where nobody says how many

# Settings of `SamplingConfig` that are false until they are used.
_ADDED_LATER = frozenset(
    {
        "segments_span",
        *("statistics_interval", "statistics_rate", "statistics_lines", "statistics_tlvqm"),
        *("picture_rate", "picture_height", "picture_width"),
    }
)


def require_range(name: str, value: float, *, low: float, high: float, whole: bool = False) -> None:
    """Raise ConfigurationError unless `value` is a number, or a whole one, and low <= value <= high."""
    if not isinstance(value, numbers.Integral if whole else numbers.Real):
        raise ConfigurationError(f"{name} must be a {'whole ' if whole else ''}number, got {value!r}")
    if not low <= value <= high:
        raise ConfigurationError(f"{name} must be in {low:g}..{high:g}, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingConfig:
    """Which pixels of a video a model looks at (paper, section III; its settings are the defaults).

    Raises:
        ConfigurationError: a field is out of range.
    """

    num_clips: int = 4  # clips per draw, spread over the video
    clip_frames: int = 32  # d of Eq. 1
    frame_interval: int = 2  # n of Eq. 1
    grid_size: int = 7  # G of Eq. 2: G x G cells
    patch_side: int = 32  # S of Eq. 3, pixels
    num_temporal_fragments: int = 1  # runs of frames a clip is made of
    aligned_frames: int = 0  # frames that share patch offsets; 0: the whole clip
    num_segments: int = 16  # segments of the inter branch; 0: no inter branch
    segment_frames: int = 32  # d of Eq. 7
    segment_side: int = 224  # side of a resized frame, Eq. 8, pixels
    guardian_amplitude: int = 1  # of Eqs. 5 and 9, 8-bit levels; 0: no guardian map
    segments_span: bool = False  # True: a segment's frames are spread over its share of the video
    statistics_interval: int = 0  # frames from one that statistics are taken of, whole, to the next; 0: none
    statistics_rate: int = 0  # such frames a second, where no interval is set; 0: none
    statistics_lines: int = 0  # shorter side that such frames are shrunk to; 0: as they are
    picture_rate: int = 0  # whole frames a second, all of one size, that a network sees as they come; 0: none
    picture_height: int = 0  # of such a frame, pixels
    picture_width: int = 0
    statistics_tlvqm: bool = False  # True: they are TLVQM's; False: VIDEVAL's

    def __post_init__(self) -> None:
        zeros = ("aligned_frames", "num_segments", "guardian_amplitude", *_ADDED_LATER)
        lowest = dict.fromkeys(zeros, 0)
        highest = {"guardian_amplitude": 127, "segments_span": 1, "statistics_tlvqm": 1}
        for field in fields(self):
            high = highest.get(field.name, 4096)
            require_range(field.name, getattr(self, field.name), low=lowest.get(field.name, 1), high=high)
        if self.clip_frames % self.num_temporal_fragments:
            raise ConfigurationError(
                f"clip_frames must be a multiple of num_temporal_fragments={self.num_temporal_fragments}, "
                f"got {self.clip_frames}"
            )
        pictures = (self.picture_rate, self.picture_height, self.picture_width)
        if any(pictures) and not (all(pictures) and not (self.statistics_interval or self.statistics_rate)):
            raise ConfigurationError(
                "picture_rate, picture_height and picture_width go together, and with no statistics, "
                f"got {pictures}"
            )

    def as_dict(self) -> dict[str, int]:
        """Return the settings as plain numbers, for digests and JSON.

        A setting that was added later is there only where it is in use: digests made before it stay as they
        are.
        """
        settings = asdict(self)
        return {name: value for name, value in settings.items() if value or name not in _ADDED_LATER}

    @property
    def has_statistics(self) -> bool:
        """Whether statistics of whole frames, or a network's features, are taken as the video is decoded."""
        return bool(self.statistics_interval or self.statistics_rate or self.picture_rate)

    @property
    def fragment_side(self) -> int:
        """Side of a spliced fragment frame, G x S, in pixels."""
        return self.grid_size * self.patch_side

    @property
    def num_offset_groups(self) -> int:
        """Sets of patch offsets in a clip."""
        return -(-self.clip_frames // (self.aligned_frames or self.clip_frames))


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeLimits:
    """What one untrusted file may cost.

    Raises:
        ConfigurationError: a field is out of range.
    """

    timeout_seconds: float = 120.0  # wall clock for probe and decode
    memory_bytes: int = 3 << 30  # address space of the decoding process
    max_pixels: int = 8192 * 4320  # per frame

    def __post_init__(self) -> None:
        require_range("timeout_seconds", self.timeout_seconds, low=0.1, high=86_400)
        require_range("memory_bytes", self.memory_bytes, low=512 << 20, high=1 << 40, whole=True)
        require_range("max_pixels", self.max_pixels, low=1, high=1 << 30, whole=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Where verdicts change, on the calibrated range; compared with `score_lower`.

    Raises:
        ConfigurationError: out of 0..100, or reject_below above pass_at.
    """

    pass_at: float = 60.0  # pass from here up
    reject_below: float = 40.0  # reject below here

    def __post_init__(self) -> None:
        require_range("pass_at", self.pass_at, low=0, high=100)
        require_range("reject_below", self.reject_below, low=0, high=100)
        if self.reject_below > self.pass_at:
            raise ConfigurationError(
                f"reject_below must be <= pass_at, got {self.reject_below:g} above {self.pass_at:g}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingConfig:
    """Which embeddings are kept, and how.

    Raises:
        ConfigurationError: a field is not one of its choices, or `features` is empty or has one twice.
    """

    features: tuple[Feature, ...] = ("fused",)
    pool: Pool = "mean"  # mean: one vector a video; clip: one a clip (inter: one a segment) of every draw
    dtype: DType = "float32"

    def __post_init__(self) -> None:
        known = get_args(Feature)
        if not self.features or len(set(self.features)) < len(self.features):
            raise ConfigurationError(f"features must be some of {', '.join(known)}, got {self.features!r}")
        for name, value, choices in (
            *(("features", feature, known) for feature in self.features),
            ("pool", self.pool, get_args(Pool)),
            ("dtype", self.dtype, get_args(DType)),
        ):
            if value not in choices:
                raise ConfigurationError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """What the container and the packets say about the chosen video stream."""

    width: int  # pixels
    height: int  # pixels
    fps: float | None  # frames a second, None where the container does not say
    num_frames: int  # frames that can be addressed, counted from packets
    duration_seconds: float | None  # of the stream, None where unknown
    codec: str
