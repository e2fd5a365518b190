"""Owns filling the cache of pixels from anywhere, with every core of the cluster."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import ray

from operators.decode import FetchLimits
from operators.fetch import fetch
from operators.storage import local_path, scheme_of
from pipeline.events import Events
from securevqa_core.training.cache import (
    CacheConfig,
    CachedVideo,
    Failure,
    LabelledVideo,
    build_cache,
    open_in_place,
)

__all__ = ["fill_cache"]

VIDEOS_PER_TASK = 32  # a task starts a process for decoding, at the cost of several short clips
MAX_RETRIES = 2  # of a task whose worker died


def fill_cache(
    videos: Sequence[LabelledVideo],
    folder: Path,
    config: CacheConfig,
    *,
    fetch_limits: FetchLimits,
    events: Events,
) -> tuple[list[CachedVideo], list[Failure]]:
    """Cache videos with tasks all over the cluster, inside a Ray session.

    Args:
        videos: local or remote.
        folder: that every node can write to.
        config: what to keep.
        fetch_limits: for remote videos.
        events: say how far it is.

    Returns:
        What is cached now, and what failed, both in the order of `videos`.

    Raises:
        OutputError: the cache cannot be written.
    """
    task = ray.remote(_fill).options(num_cpus=1, max_retries=MAX_RETRIES)
    parts = [videos[start : start + VIDEOS_PER_TASK] for start in range(0, len(videos), VIDEOS_PER_TASK)]
    refs = [task.remote(part, folder, config, fetch_limits) for part in parts]
    sizes = {ref: len(part) for ref, part in zip(refs, parts, strict=True)}
    with events.counting("videos cached", total=len(videos)) as count:
        waiting, num_done, num_failed = list(refs), 0, 0
        while waiting:
            done, waiting = ray.wait(waiting)
            for ref in done:
                _, bad = ray.get(ref)  # a cache that cannot be written is said at once
                num_done, num_failed = num_done + sizes[ref], num_failed + len(bad)
                count(num_done, num_failed)
    outcomes = [ray.get(ref) for ref in refs]
    return [one for cached, _ in outcomes for one in cached], [one for _, bad in outcomes for one in bad]


def _fill(
    videos: Sequence[LabelledVideo], folder: Path, config: CacheConfig, fetch_limits: FetchLimits
) -> tuple[list[CachedVideo], list[Failure]]:
    @contextlib.contextmanager
    def opener(uri: str) -> Iterator[str]:
        if scheme_of(uri) == "file":
            with open_in_place(local_path(uri)) as path:
                yield path
            return
        with tempfile.TemporaryFile() as target:  # without a name: gone when this worker is
            fetch(
                uri,
                target,
                max_bytes=fetch_limits.max_bytes,
                timeout_seconds=fetch_limits.timeout_seconds,
                max_attempts=fetch_limits.max_attempts,
            )
            yield f"/proc/{os.getpid()}/fd/{target.fileno()}"

    return build_cache(videos, folder, config, num_workers=1, opener=opener)
