"""Whole frames from the cell are those of this process, and what it answers wrongly costs one video."""

from __future__ import annotations

import io
import json
import math
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from securevqa_core.datasets.luma import luma_plane
from securevqa_core.decoding.frames import FramesRequest, WholeFrames, kept_frames, read_frames
from securevqa_core.decoding.sandbox import DecodeSandbox, sandbox_of_thread
from securevqa_core.decoding.wire import BadAnswerError, read_frames_answer
from securevqa_core.errors import ConfigurationError, DecodeError
from securevqa_core.types import DecodeLimits

LOW = FramesRequest(max_seconds=0.5, max_height=64, limits=DecodeLimits(timeout_seconds=20))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[DecodeSandbox]:
    with DecodeSandbox(LOW.limits) as sandbox:
        yield sandbox


def from_cell(sandbox: DecodeSandbox, path: str | Path, request: FramesRequest = LOW) -> WholeFrames:
    return kept_frames(lambda sink: sandbox.frames(str(path), request, sink))


@pytest.mark.parametrize("name", ["bikes_h264.mp4", "carphone_h264.mkv"])
@pytest.mark.parametrize(
    "request_",
    [LOW, FramesRequest(), FramesRequest(every_seconds=0.5, takes_luma=True), FramesRequest(max_frames=3)],
    ids=range(4),
)
def test_the_frames_are_those_of_this_process(
    sandbox: DecodeSandbox, videos: dict[str, Path], name: str, request_: FramesRequest
) -> None:
    here, there = read_frames(videos[name], request_), from_cell(sandbox, videos[name], request_)
    assert np.array_equal(here.pixels, there.pixels)
    assert here.fps == there.fps


def test_luma_is_what_is_stored(videos: dict[str, Path]) -> None:
    path = videos["bikes_h264.mp4"]
    with av.open(str(path)) as container:
        stored = [luma_plane(frame) for frame in container.decode(video=0)]
    found = read_frames(path, FramesRequest(takes_luma=True)).pixels
    np.testing.assert_array_equal(found, np.stack(stored)[..., None])


def test_frames_so_many_seconds_apart_are_some_of_all(videos: dict[str, Path]) -> None:
    path = videos["carphone_h264.mkv"]
    every = read_frames(path)
    assert every.fps is not None
    some = read_frames(path, FramesRequest(every_seconds=0.5, max_frames=4))
    assert np.array_equal(some.pixels, every.pixels[:: math.ceil(0.5 * every.fps)][:4])


@pytest.mark.parametrize(
    ("name", "code"), [("text.mp4", "not_a_video"), ("audio_only.mp4", "no_video_stream")]
)
def test_a_file_that_cannot_be_decoded_says_why(
    sandbox: DecodeSandbox, videos: dict[str, Path], name: str, code: str
) -> None:
    with pytest.raises(DecodeError) as caught:
        from_cell(sandbox, videos[name])
    assert caught.value.code == code
    assert str(caught.value)


def test_pixels_above_the_limit_are_refused_there(sandbox: DecodeSandbox, videos: dict[str, Path]) -> None:
    request = FramesRequest(limits=DecodeLimits(max_pixels=100))
    with pytest.raises(DecodeError) as caught:
        from_cell(sandbox, videos["bikes_h264.mp4"], request)
    assert caught.value.code == "too_many_pixels"


def test_frames_that_are_too_large_together_are_not_kept(
    sandbox: DecodeSandbox, videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("securevqa_core.decoding.frames.MAX_KEPT_BYTES", 100_000)
    with pytest.raises(DecodeError, match="more than 100000 bytes") as caught:
        from_cell(sandbox, videos["bikes_h264.mp4"])
    assert caught.value.code == "decode_memory"
    assert len(from_cell(sandbox, videos["bikes_h264.mp4"], FramesRequest(max_frames=1)).pixels) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_frames", 0),
        ("max_seconds", -1.0),
        ("every_seconds", 0.0),
        ("max_height", 1),
        ("start_seconds", -0.1),
        ("fps", 0.0),
    ],
)
def test_what_is_asked_for_is_in_range(field: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"{field} must be"):
        FramesRequest(**{field: value})  # type: ignore[arg-type]


def test_each_thread_has_one_sandbox_for_the_same_limits() -> None:
    limits = DecodeLimits(timeout_seconds=7)
    assert sandbox_of_thread(limits) is sandbox_of_thread(DecodeLimits(timeout_seconds=7))
    assert sandbox_of_thread(limits) is not sandbox_of_thread(DecodeLimits(timeout_seconds=8))


def test_a_process_that_its_file_took_over_can_neither_open_connect_nor_fork(
    faults: Callable[[str], str], tmp_path: Path
) -> None:
    """It is the cell that scoring decodes in, and its answer is a crash of that process alone."""
    owned = tmp_path / "owned"
    for attempt in (f"open({str(owned)!r}, 'w')", "__import__('socket').socket()", "__import__('os').fork()"):
        with DecodeSandbox(LOW.limits) as sandbox, pytest.raises(DecodeError) as caught:
            from_cell(sandbox, faults(attempt))
        assert caught.value.code in {"decode_failed", "decode_crashed"}
    assert not owned.exists()


def test_the_time_limit_is_in_force(faults: Callable[[str], str]) -> None:
    limits = DecodeLimits(timeout_seconds=0.5)
    with DecodeSandbox(limits) as sandbox, pytest.raises(DecodeError, match=r"0\.5 s") as caught:
        from_cell(sandbox, faults("import time; time.sleep(60)"), FramesRequest(limits=limits))
    assert caught.value.code == "decode_timeout"


def test_what_it_sees_of_the_environment_is_no_credential(
    faults: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "SECUREVQA_KEY", "SOME_TOKEN"):
        monkeypatch.setenv(name, "canary")
    tell = faults(
        "import os\n"
        "from securevqa_core.errors import DecodeError\n"
        "raise DecodeError('decode_failed', str('canary' in os.environ.values()))"
    )
    with DecodeSandbox(LOW.limits) as sandbox, pytest.raises(DecodeError, match="False"):
        from_cell(sandbox, tell)
    assert os.environ["SOME_TOKEN"] == "canary"


class _Nobody:
    def begin(self) -> None:
        pass

    def add(self, pixels: np.ndarray) -> None:
        pass


BEGIN, FRAME, END = {"frames": "begin"}, {"height": 4, "width": 6}, {"fps": 25.0}


def _answered(*parts: object) -> io.BytesIO:
    """Headers, each of a frame followed by its bytes."""
    content = b""
    for part in parts:
        header = json.dumps(part).encode()
        content += struct.pack("<Q", len(header)) + header
        if isinstance(part, dict) and "width" in part:
            content += bytes(min(part["height"] * part["width"] * 3, 10_000))
    return io.BytesIO(content)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([BEGIN, END], "no frames"),
        ([FRAME, END], "not asked for"),
        ([BEGIN, FRAME, FRAME | {"width": 7}, END], r"frame 2 of \(4, 7\) was not asked for"),
        ([BEGIN, *[FRAME] * 4, END], "frame 4 .* was not asked for"),
        ([*[BEGIN] * 9, FRAME, END], "not asked for"),
        ([BEGIN, {"height": 65, "width": 1}, END], "not asked for"),
        ([BEGIN, {"height": 64, "width": 1 << 29}, END], "not asked for"),
        ([BEGIN, FRAME | {"height": 0}, END], "height must be an integer"),
        ([BEGIN, FRAME | {"more": 1}, END], "must have the fields height, width"),
        ([BEGIN, FRAME, {"fps": -1.0}], "fps must be a number"),
        ([BEGIN, FRAME, {"fps": "25"}], "fps must be a number"),
        ([{"frames": "again"}, FRAME, END], "frames is none that there is"),
        ([[]], "the header is of type list"),
    ],
    ids=range(13),
)
def test_an_answer_that_breaks_the_rules_is_refused(parts: list[object], message: str) -> None:
    request = FramesRequest(max_frames=3, max_height=64)
    with pytest.raises(BadAnswerError, match=message):
        read_frames_answer(_answered(*parts), request, _Nobody())


@pytest.mark.parametrize("fps", [None, 0.0])
def test_what_came_before_a_new_beginning_does_not_count(fps: float | None) -> None:
    def take(sink: object) -> float | None:
        answer = _answered(BEGIN, FRAME, FRAME, BEGIN, FRAME, {"fps": fps})
        return read_frames_answer(answer, FramesRequest(max_frames=3), sink)  # type: ignore[arg-type]

    kept = kept_frames(take)
    assert (kept.pixels.shape, kept.fps) == ((1, 4, 6, 3), None)
