"""Frames that another process decodes are the same, and what that process does wrong costs one video."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest

from securevqa_core.attacks import apart
from securevqa_core.attacks.apart import read_frames_apart
from securevqa_core.attacks.frames import WholeFrames, read_frames
from securevqa_core.errors import DecodeError
from securevqa_core.types import DecodeLimits


def read(path: Path, *, limits: DecodeLimits | None = None) -> WholeFrames:
    with path.open("rb") as file:
        return read_frames_apart(file.fileno(), max_seconds=0.5, max_height=64, limits=limits)


def failure(path: Path, *, limits: DecodeLimits | None = None) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        read(path, limits=limits)
    return caught.value


@pytest.fixture
def in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script that runs in place of the decoding process."""
    script = tmp_path / "decoder"
    script.touch(mode=0o755)
    monkeypatch.setattr(apart.sys, "executable", str(script))
    return script


def test_the_frames_are_those_of_this_process(videos: dict[str, Path]) -> None:
    path = videos["bikes_h264.mp4"]
    here, there = read_frames(path, max_seconds=0.5, max_height=64), read(path)
    assert np.array_equal(here.pixels, there.pixels)
    assert here.fps == there.fps


@pytest.mark.parametrize(
    ("name", "code"), [("text.mp4", "not_a_video"), ("audio_only.mp4", "no_video_stream")]
)
def test_a_file_that_cannot_be_decoded_says_why(videos: dict[str, Path], name: str, code: str) -> None:
    error = failure(videos[name])
    assert error.code == code
    assert str(error)


def test_the_limits_are_in_force(videos: dict[str, Path], in_its_place: Path) -> None:
    in_its_place.write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apart, "START_SECONDS", 0.0)
        error = failure(videos["text.mp4"], limits=DecodeLimits(timeout_seconds=0.2))
    assert (error.code, "0.2 s" in str(error)) == ("decode_timeout", True)


def test_pixels_above_the_limit_are_refused_there(videos: dict[str, Path]) -> None:
    assert failure(videos["bikes_h264.mp4"], limits=DecodeLimits(max_pixels=100)).code == "too_many_pixels"


def test_the_process_sees_no_credential(
    videos: dict[str, Path], in_its_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = in_its_place.with_name("seen")
    for name in ("AWS_SECRET_ACCESS_KEY", "SECUREVQA_KEY", "SOME_TOKEN"):
        monkeypatch.setenv(name, "canary")
    in_its_place.write_text(f"#!/bin/sh\nenv > {seen}\nexit 9\n")
    assert failure(videos["bikes_h264.mp4"]).code == "decode_crashed"
    shown = seen.read_text()
    assert "canary" not in shown
    assert f"PATH={os.environ['PATH']}" in shown


def answer(**arrays: object) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()


PIXELS = np.zeros((2, 4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an archive",
        answer(pixels=PIXELS),
        answer(pixels=PIXELS.astype(np.float32), fps=25.0),
        answer(pixels=PIXELS[..., 0], fps=25.0),
        answer(pixels=PIXELS[:0], fps=25.0),
        answer(pixels=PIXELS, fps=-1.0),
        answer(pixels=PIXELS, fps=np.inf),
        answer(pixels=np.array([{"any": "object"}]), fps=25.0),
    ],
    ids=range(9),
)
def test_an_answer_that_is_no_video_is_a_crash_of_that_process(
    videos: dict[str, Path], in_its_place: Path, content: bytes
) -> None:
    in_its_place.with_name("answer").write_bytes(content)
    in_its_place.write_text(f"#!/bin/sh\nexec cat {in_its_place.with_name('answer')}\n")
    assert failure(videos["text.mp4"]).code == "decode_crashed"


@pytest.mark.parametrize("said", ["fetch_denied no", "nonsense", "", "not_a_video \\033[31mred\\351"])
def test_what_a_process_says_of_its_failure_is_checked(
    videos: dict[str, Path], in_its_place: Path, said: str
) -> None:
    in_its_place.write_text(f"#!/bin/sh\nprintf '{said}' >&2\nexit 1\n")
    error = failure(videos["text.mp4"])
    assert error.code == ("not_a_video" if said.startswith("not_a_video") else "decode_crashed")
    assert str(error).isascii()
    assert str(error).isprintable()
