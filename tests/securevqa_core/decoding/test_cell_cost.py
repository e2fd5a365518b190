"""What it costs to decode each video in a process of its own: `pytest -s` prints it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from securevqa_core.decoding.extract import DecodeRequest, extract_sample
from securevqa_core.decoding.sandbox import DecodeSandbox
from securevqa_core.types import DecodeLimits

NUM_TIMES = 60
# The bar is 5 ms beyond what asking a process that stays costs, 1 ms, on a machine with nothing else to do.
# The test is held to four times as much, as on a busy machine a page fault alone takes that much longer.
MAX_SECONDS = 0.024


@pytest.mark.slow
def test_a_process_of_its_own_costs_a_video_milliseconds(
    videos: dict[str, Path], make_request: Callable[..., DecodeRequest]
) -> None:
    path, request = str(videos["carphone_h264.mkv"]), make_request()
    with DecodeSandbox(DecodeLimits()) as sandbox:
        sandbox.decode(path, request)
        extract_sample(path, request)
        assert sandbox.pid is not None
        before = time.process_time() + _used(sandbox.pid)
        there = min(_seconds(lambda: sandbox.decode(path, request)) for _ in range(NUM_TIMES))
        there_used = (time.process_time() + _used(sandbox.pid) - before) / NUM_TIMES
    before = time.process_time()
    here = min(_seconds(lambda: extract_sample(path, request)) for _ in range(NUM_TIMES))
    used = there_used - (time.process_time() - before) / NUM_TIMES
    cost = f"{1e3 * used:.1f} ms of processor time on average, {1e3 * (there - here):.1f} ms at best"
    print(f"a cell costs a video {cost}")  # noqa: T201 - pytest -s
    assert min(used, there - here) < MAX_SECONDS


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _used(warm_process: int) -> float:
    """Return the processor time of the warm process and of the cells that have ended, in seconds."""
    fields = Path(f"/proc/{warm_process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
