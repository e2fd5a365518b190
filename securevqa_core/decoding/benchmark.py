"""Owns the measurement of decoding: each backend and FFmpeg itself over the same packets, one thread each."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from securevqa_core import ffmpeg
from securevqa_core.decoding import pyav_backend
from securevqa_core.decoding.backend import OpenVideo
from securevqa_core.decoding.bench_config import BenchClip, BenchConfig
from securevqa_core.decoding.collect import wanted_frames
from securevqa_core.decoding.decord_backend import load_decord
from securevqa_core.decoding.extract import DecodeRequest, DrawSeeds, extract_sample
from securevqa_core.decoding.frame_index import index_frames
from securevqa_core.decoding.probe import check_stream, open_container, open_file, open_video
from securevqa_core.errors import DecodeError
from securevqa_core.randomness import generator
from securevqa_core.sampling import continuous_sample, skip_sample
from securevqa_core.types import DecodeLimits, SamplingConfig

__all__ = ["Timing", "benchmark", "make_clip"]

_FOOTAGE = (
    "-f lavfi -i mandelbrot=size=1280x720:rate=30:end_pts=300"  # where none is given: detail that moves
)
_WINDOW_STEP = 4  # every fourth window is read with decord, and counted fourfold: all take minutes
_ENCODED_SECONDS = 2  # one group of pictures; encoding more of 2160p takes longer than measuring it
_ENCODERS = {"h264": "libx264 -preset veryfast -crf 21", "av1": "libsvtav1 -preset 8 -crf 32"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Processor time on one clip, milliseconds a frame of it; None where decord cannot read it."""

    name: str
    num_frames: int
    ffmpeg: float  # `ffmpeg -f null`, without what it takes to start
    pyav: float  # every frame decoded, nothing converted
    pyav_fragments: float  # probe, decode and the patches of the intra branch
    pyav_both: float  # and the resized frames of the inter branch
    pyav_least: float  # the same frames decoded, nothing converted: no code of ours can take less
    pyav_scored: float  # `BenchConfig.scored`, all draws
    decord: float | None  # every full frame once, in order
    decord_fragments: float | None
    decord_windows: float | None  # every clip and segment of both branches as full frames, by `get_batch`

    @property
    def share(self) -> float:
        """Speed of decoding with fragments, by FFmpeg's own."""
        return self.ffmpeg / self.pyav_fragments

    @property
    def share_both(self) -> float:
        """Speed of decoding for both branches, by FFmpeg's own."""
        return self.ffmpeg / self.pyav_both

    @property
    def share_most(self) -> float:
        """The highest that `share_both` could be, were conversion free."""
        return self.ffmpeg / self.pyav_least

    @property
    def share_scored(self) -> float:
        """Speed of decoding for what is scored, by FFmpeg's own."""
        return self.ffmpeg / self.pyav_scored

    @property
    def by_decord(self) -> float | None:
        """Speed of decoding with fragments, by that of decord's full frames, each read once."""
        return None if self.decord is None else self.decord / self.pyav_fragments

    @property
    def by_decord_both(self) -> float | None:
        """Speed of decoding for both branches, by that of decord's full frames, each read once."""
        return None if self.decord is None else self.decord / self.pyav_both

    @property
    def by_decord_windows(self) -> float | None:
        """Likewise, by decord's `get_batch` over every window, which reads shared frames again."""
        return None if self.decord_windows is None else self.decord_windows / self.pyav_both


def make_clip(clip: BenchClip, config: BenchConfig, folder: Path) -> Path:
    """Encode a clip to measure: the first seconds of the footage, again and again.

    Raises:
        DatasetError: FFmpeg is missing or refuses the footage.
    """
    part, path = (folder / f"{clip.height}_{clip.codec}{kind}.mp4" for kind in ("_part", ""))
    source = _FOOTAGE.split()
    if config.footage is not None:
        source = ["-stream_loop", "-1", "-i", str(config.footage)]
    filters = f"scale={clip.width}:{clip.height}:out_color_matrix=bt709,setsar=1,fps=30"
    output = f"-an -vf {filters} -t {_ENCODED_SECONDS} -pix_fmt yuv420p -g {30 * _ENCODED_SECONDS}"
    ffmpeg.run([*source, *output.split(), "-c:v", *_ENCODERS[clip.codec].split(), str(part)])
    repeat = f"-stream_loop -1 -i {part.name} -frames:v {round(30 * config.clip_seconds)} -c copy {path.name}"
    ffmpeg.run(repeat.split(), folder=folder)
    return path


def benchmark(clip: BenchClip, config: BenchConfig, folder: Path) -> Timing:
    """Make a clip in `folder` and measure every way of reading it.

    Raises:
        DatasetError: FFmpeg is missing or fails.
        DecodeError: PyAV cannot read what FFmpeg wrote.
    """
    path = str(make_clip(clip, config, folder))
    num_frames = _decode_all(path)
    fragments = replace(config.sampling, num_segments=0)
    # Reading ends with the last frame that is wanted, so that is how many it is divided by.
    of_all = num_frames / (int(skip_sample(num_frames, fragments, generator(bytes(32))).max()) + 1)
    works: dict[str, Callable[[], object]] = {
        "start": lambda: _ffmpeg_null(path, "-frames:v 1"),  # what an executable costs before it decodes
        "ffmpeg": lambda: _ffmpeg_null(path),
        "pyav": lambda: _decode_all(path),
        "pyav_fragments": lambda: extract_sample(path, _request(fragments)),
        "pyav_both": lambda: extract_sample(path, _request(config.sampling)),
        "pyav_least": lambda: _decode_wanted(path, _request(config.sampling)),
        "pyav_scored": lambda: extract_sample(path, _request(config.scored, num_draws=config.num_draws)),
    }
    if _decord_reads(path):
        works["decord"] = lambda: _decord_all(path)
        works["decord_fragments"] = lambda: extract_sample(path, _request(fragments, is_decord=True))
    best = _best_of(works, config.num_repeats)
    if "decord" in works:
        windows = _best_of({"all": lambda: _decord_windows(path, num_frames, config.sampling)}, 1)
        best["windows"] = _WINDOW_STEP * windows["all"]
    of_one = {name: 1000 * seconds / num_frames for name, seconds in best.items()}
    by_decord = of_one.get("decord_fragments")
    return Timing(
        name=clip.name,
        num_frames=num_frames,
        ffmpeg=of_one["ffmpeg"] - of_one["start"],
        pyav=of_one["pyav"],
        pyav_fragments=of_all * of_one["pyav_fragments"],
        pyav_both=of_one["pyav_both"],
        pyav_least=of_one["pyav_least"],
        pyav_scored=of_one["pyav_scored"],
        decord=of_one.get("decord"),
        decord_fragments=None if by_decord is None else of_all * by_decord,
        decord_windows=of_one.get("windows"),
    )


def _best_of(works: dict[str, Callable[[], object]], num_repeats: int) -> dict[str, float]:
    """Return the least processor time of each, seconds; in turn, so that a busy minute hits all alike."""
    rounds = [{name: _processor_seconds(work) for name, work in works.items()} for _ in range(num_repeats)]
    return {name: min(seconds[name] for seconds in rounds) for name in works}


def _processor_seconds(work: Callable[[], object]) -> float:
    """Processor time of this process and of what it starts and waits for, whatever else the machine does."""
    before = _used_seconds()
    work()
    return _used_seconds() - before


def _used_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _ffmpeg_null(path: str, limit: str = "") -> None:
    ffmpeg.run(["-threads", "1", "-i", path, *limit.split(), "-map", "0:v:0", "-f", "null", os.devnull])


def _request(sampling: SamplingConfig, *, num_draws: int = 1, is_decord: bool = False) -> DecodeRequest:
    seeds = [number.to_bytes(32) for number in range(num_draws)]
    draws = tuple(DrawSeeds(skip_sampling=seed, grid_sampling=seed) for seed in seeds)
    decoder: Any = "auto" if is_decord else "pyav"
    # As a fallback decord works alone; asked for by name it has PyAV check every frame.
    return DecodeRequest(sampling=sampling, draws=draws, decoder=decoder, has_crashed_pyav=is_decord)


def _decode_all(path: str) -> int:
    with open_file(path) as descriptor, open_container(descriptor) as container:
        stream = check_stream(container, DecodeLimits())
        index_frames(container, stream)
        container.seek(0)
        return sum(1 for _ in container.decode(stream))


def _decode_wanted(path: str, request: DecodeRequest) -> int:
    with open_file(path) as descriptor, open_video(descriptor, request.limits) as (container, stream):
        index = index_frames(container, stream)
        video = OpenVideo(descriptor=descriptor, container=container, stream=stream, index=index)
        wanted = wanted_frames(index.moments, request.sampling, request.draws)
        return sum(1 for _ in pyav_backend.read_frames(video, wanted))


def _decord_reads(path: str) -> bool:
    try:
        extract_sample(path, _request(SamplingConfig(num_segments=0), is_decord=True))
    except DecodeError:
        return False
    return True


def _decord_all(path: str) -> None:
    reader = load_decord().VideoReader(path, num_threads=1)
    for _ in range(len(reader)):
        reader.next().asnumpy()


def _decord_windows(path: str, num_frames: int, sampling: SamplingConfig) -> None:
    """Read some windows of both branches one at a time, as more full frames would not fit into memory."""
    reader = load_decord().VideoReader(path, num_threads=1)
    clips = skip_sample(num_frames, sampling, np.random.default_rng(0))
    segments = continuous_sample(num_frames, sampling)
    for window in (*clips[::_WINDOW_STEP], *segments[::_WINDOW_STEP]):
        reader.get_batch(window).asnumpy()
