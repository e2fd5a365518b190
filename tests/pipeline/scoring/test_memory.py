"""What a run holds in memory: bounded for a long full-HD video, with the largest model."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cli import finish, read_report, start
from media import bundled_clip, run_ffmpeg
from processes import descendants, peak_megabytes, title

pytestmark = pytest.mark.ray

MAX_DECODER_MEGABYTES = 1000
MAX_MEGABYTES = 3000


def full_hd_video(folder: Path) -> Path:
    """Two minutes of 1080p H.264: four seconds of a real clip, again and again."""
    short, long = folder / "short.mp4", folder / "long.mp4"
    scaled = ("-t", "4", "-vf", "scale=1920:1080,fps=30", "-c:v", "libx264", "-preset", "ultrafast", "-an")
    run_ffmpeg("-i", str(bundled_clip("bigbuckbunny")), *scaled, str(short))
    run_ffmpeg("-stream_loop", "29", "-i", str(short), "-c", "copy", str(long))
    return long


def test_two_minutes_of_1080p_fit_into_a_gigabyte_to_decode_and_three_to_score(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(f"uri\n{full_hd_video(tmp_path)}\n")
    run = str(tmp_path / "run")
    driver = start("score", str(manifest), "--output", run, "--seed", "1", "--model", "secure-vqa")
    peaks: dict[str, float] = {}
    while driver.poll() is None:
        for pid in (driver.pid, *descendants(driver.pid)):
            name = title(pid)
            peaks[name] = max(peaks.get(name, 0.0), peak_megabytes(pid))
        time.sleep(0.2)
    finish(driver)
    (row,) = read_report(run).to_pylist()
    assert (row["status"], row["height"], row["num_frames"]) == ("scored", 1080, 3600)
    decoders = {name: peak for name, peak in peaks.items() if "decoding.child" in name or "(Decode)" in name}
    assert len(decoders) >= 2, f"the worker that decodes and its confined process, of {sorted(peaks)}"
    assert max(decoders.values()) < MAX_DECODER_MEGABYTES, decoders
    assert max(peaks.values()) < MAX_MEGABYTES, peaks
    print({name[:80]: round(peak) for name, peak in peaks.items() if peak > 300})  # noqa: T201 - pytest -s
