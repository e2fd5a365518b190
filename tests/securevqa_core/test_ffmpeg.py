"""FFmpeg is the one that imageio-ffmpeg carries, and what goes wrong with it is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import pytest

from securevqa_core import ffmpeg
from securevqa_core.errors import DatasetError


def test_it_is_the_one_that_imageio_ffmpeg_carries() -> None:
    assert ffmpeg.executable() == imageio_ffmpeg.get_ffmpeg_exe()
    said = subprocess.run(
        [ffmpeg.executable(), "-version"], capture_output=True, text=True, check=True
    ).stdout
    assert said.startswith(f"ffmpeg version {ffmpeg.version()} ")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(DatasetError, match=r"install securevqa\[train\] \(import of imageio_ffmpeg halted"):
        ffmpeg.executable()


def test_a_program_that_tells_no_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/bin/true")
    with pytest.raises(DatasetError, match=r"/bin/true must tell its version, got 0: ''"):
        ffmpeg.version.__wrapped__()


def test_a_failure_says_what_was_asked_and_what_ffmpeg_answered(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"ffmpeg failed with \d+: -i nowhere\.mp4 .*No such file"):
        ffmpeg.run(["-i", "nowhere.mp4", "-f", "null", "-"], folder=tmp_path)


def test_a_call_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "TIMEOUT_SECONDS", 0.5)
    endless = ["-re", "-f", "lavfi", "-i", "color", "-f", "null", "-"]
    with pytest.raises(DatasetError, match=r"ffmpeg took more than 0\.5 s: -re -f lavfi -i color -f null -"):
        ffmpeg.run(endless)


def test_its_standard_input_is_what_it_is_given(tmp_path: Path) -> None:
    picture = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", "4x2", "-i", "-"]
    ffmpeg.run([*picture, "-f", "rawvideo", "copy.raw"], stdin=bytes(range(8)), folder=tmp_path)
    assert (tmp_path / "copy.raw").read_bytes() == bytes(range(8))
