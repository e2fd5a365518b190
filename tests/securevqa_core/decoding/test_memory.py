"""The decoding process stays small: whatever the size of a frame, and however long the video."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import media
import pytest
from cells import confined_cell
from processes import peak_megabytes

from securevqa_core.decoding.extract import DecodeRequest
from securevqa_core.decoding.sandbox import DecodeSandbox
from securevqa_core.types import DecodeLimits, SamplingConfig

MAX_MEGABYTES = 700
MAX_GROWTH_MEGABYTES = 60  # of which 30 are what a longer clip has more of to hand over


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """2160p by its number of seconds: one second of a real clip, encoded once."""
    folder = tmp_path_factory.mktemp("2160p")
    made = {seconds: folder / f"{seconds}.mp4" for seconds in (1, 4, 12)}
    options = "-frames:v 24 -r 24 -s 3840x2160 -c:v libx264 -preset superfast -g 24 -pix_fmt yuv420p -an"
    media.run_ffmpeg(*f"-i {media.bundled_clip('bikes')} {options} {made[1]}".split(), timeout_seconds=280)
    for seconds in (4, 12):
        media.run_ffmpeg(*f"-stream_loop {seconds - 1} -i {made[1]} -c copy {made[seconds]}".split())
    return made


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_2160p_decodes_within_700_megabytes_whatever_its_length(
    clips: dict[int, Path], make_request: Callable[..., DecodeRequest]
) -> None:
    peaks = {}
    limits = DecodeLimits(timeout_seconds=600)
    for seconds in (4, 12):
        with DecodeSandbox(limits) as sandbox:
            with ThreadPoolExecutor(1) as pool:
                request = make_request(SamplingConfig(), limits=limits)
                decoding = pool.submit(sandbox.decode, str(clips[seconds]), request)
                cell = confined_cell(sandbox, other_than=set())
                peaks[seconds] = 0.0
                while not decoding.done():  # what it has held at most is gone when it has answered
                    peaks[seconds] = max(peaks[seconds], peak_megabytes(cell))
                    time.sleep(0.001)
            sample = decoding.result()
            assert (sample.info.num_frames, sample.info.height) == (24 * seconds, 2160)
    print({f"{seconds} s": f"{peak:.0f} MB" for seconds, peak in peaks.items()})  # noqa: T201 - pytest -s
    assert max(peaks.values()) < MAX_MEGABYTES
    assert peaks[12] < peaks[4] + MAX_GROWTH_MEGABYTES
