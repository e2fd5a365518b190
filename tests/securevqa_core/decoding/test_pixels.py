"""Converting only what is kept gives what converting everything gives, in every format videos come in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import media
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation

from securevqa_core.decoding.pixels import Scaler, TileCutter
from securevqa_core.fragments import crop_patches, grid_corners
from securevqa_core.types import SamplingConfig

GRID = SamplingConfig(num_clips=1, grid_size=3, patch_side=32)
X265 = "-c:v libx265 -x265-params log-level=error"
X264 = "-c:v libx264 -preset ultrafast"
CUT = {
    "420.mp4": f"{X264} -pix_fmt yuv420p",
    "422.mp4": f"{X264} -pix_fmt yuv422p",
    "444.mp4": f"{X264} -pix_fmt yuv444p",
    "full_range.mp4": f"{X264} -pix_fmt yuvj420p",
    "bt709.mp4": f"{X264} -pix_fmt yuv420p -vf scale=out_color_matrix=bt709 -colorspace bt709",
    "bt2020.mp4": f"{X264} -pix_fmt yuv420p10le -vf scale=out_color_matrix=bt2020 -colorspace bt2020nc",
    "420_10.mp4": f"{X264} -pix_fmt yuv420p10le",
    "422_10.mov": "-c:v prores_ks -pix_fmt yuv422p10le",
    "444_12.mp4": f"{X265} -preset ultrafast -pix_fmt yuv444p12le",
    "vp9_444.webm": "-c:v libvpx-vp9 -deadline realtime -pix_fmt yuv444p",
    "mpeg2.ts": "-c:v mpeg2video -q:v 3",
    "mpeg4.avi": "-c:v mpeg4 -q:v 3",
    "mjpeg.avi": "-c:v mjpeg -q:v 3 -pix_fmt yuvj422p",
}


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("formats")
    source = media.bundled_clip("bikes")
    for name, options in CUT.items():
        media.run_ffmpeg(*f"-i {source} -frames:v 3 -s 480x320 {options} -an {folder / name}".split())
    return {name: folder / name for name in CUT}


def _pictures(path: Path) -> Iterator[VideoFrame]:
    with av.open(str(path)) as container:
        yield from container.decode(video=0)


def _corners(picture: VideoFrame) -> list[np.ndarray]:
    """Random places, the four corners and odd offsets."""
    height, width = picture.height, picture.width
    drawn = grid_corners(height, width, GRID, np.random.default_rng(picture.pts))[0, 0]
    extreme = drawn.copy()
    extreme[0, 0], extreme[-1, -1] = (0, 0), (height - 32, width - 32)
    extreme[0, -1], extreme[-1, 0], extreme[1, 1] = (0, width - 32), (height - 32, 0), (107, 163)
    return [drawn, extreme]


def _rgb24(picture: VideoFrame) -> np.ndarray:
    """The whole picture as FFmpeg's scaler converts it in one step."""
    flags = (
        Interpolation.BILINEAR
        | Interpolation.ACCURATE_RND
        | Interpolation.FULL_CHR_H_INT
        | Interpolation.BITEXACT
    )
    return picture.reformat(format="rgb24", interpolation=flags, threads=1).to_ndarray()


@pytest.mark.parametrize("name", CUT)
def test_patches_hold_the_bits_that_converting_the_whole_picture_in_one_step_gives(
    encoded: dict[str, Path], name: str
) -> None:
    """Models are trained on these."""
    cutter, scaler = TileCutter(3, 32), Scaler()
    for picture in _pictures(encoded[name]):
        expected = _rgb24(picture)
        assert (scaler.rgb(picture, height=picture.height, width=picture.width) == expected).all()
        for corners in _corners(picture):
            assert (cutter.patches(picture, corners) == crop_patches(expected, corners, 32)).all()


@pytest.mark.parametrize(
    "options", ["-c:v png -pix_fmt rgb24", "-c:v png -pix_fmt rgba", "-c:v png -pix_fmt gray"]
)
def test_pictures_that_are_no_yuv_keep_their_bits(tmp_path: Path, options: str) -> None:
    path = tmp_path / "video.mkv"
    media.run_ffmpeg(*f"-i {media.bundled_clip('bikes')} -frames:v 1 -s 67x49 {options} -an {path}".split())
    picture = next(_pictures(path))
    assert (Scaler().rgb(picture, height=49, width=67) == _rgb24(picture)).all()


@pytest.mark.parametrize("name", CUT)
def test_patches_cut_before_conversion_equal_patches_cut_after_it(
    encoded: dict[str, Path], name: str
) -> None:
    cutter, scaler = TileCutter(3, 32), Scaler()
    for picture in _pictures(encoded[name]):
        assert cutter.can_cut(picture)
        whole = scaler.rgb(picture, height=picture.height, width=picture.width)
        for corners in _corners(picture):
            assert (cutter.patches(picture, corners) == crop_patches(whole, corners, 32)).all()


@pytest.mark.parametrize("name", CUT)
def test_the_faster_way_to_shrink_differs_by_rounding_alone(encoded: dict[str, Path], name: str) -> None:
    for picture in _pictures(encoded[name]):
        fast, exact = (
            shrink(picture, height=112, width=112).astype(int) for shrink in (Scaler().shrunk, Scaler().rgb)
        )
        assert np.abs(fast - exact).max() <= 1
        assert np.abs(fast - exact).mean() < 0.02


@pytest.mark.parametrize("side", [112, 223])
def test_shrunk_pictures_are_rounded_to_the_nearest_of_256_levels(tmp_path: Path, side: int) -> None:
    """White too, which has nothing above to be rounded to."""
    path = tmp_path / "video.mkv"
    source = "testsrc2=s=480x320:d=0.1,format=yuv420p,lutyuv=y='if(gt(val,150),255,val)'"
    media.run_ffmpeg(*f"-f lavfi -i {source} -c:v ffv1 -color_range tv {path}".split())
    picture, scaler = next(_pictures(path)), Scaler()
    flags = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
    deep = picture.reformat(
        format="gbrp16le", width=side, height=side, interpolation=flags | Interpolation.FULL_CHR_H_INT
    )
    green, blue, red = (
        np.frombuffer(plane, dtype="<u2").reshape(side, -1)[:, :side].astype(int) for plane in deep.planes
    )
    levels = np.stack([red, green, blue], axis=-1)
    assert levels.max() >= 0xFF80
    nearest = np.minimum((levels + 128) // 256, 255)
    for _ in range(2):  # what was made for one picture is used for the next
        assert (scaler.shrunk(picture, height=side, width=side) == nearest).all()


@pytest.mark.parametrize("name", CUT)
def test_colours_are_those_of_ffmpeg(encoded: dict[str, Path], name: str) -> None:
    """Matrix, range, depth and subsampling as the file says; against FFmpeg's program.

    Its scaler as it is, but for 4:4:4, of which it would otherwise use every other chroma sample.
    """
    pictures = list(_pictures(encoded[name]))
    scaler = "-sws_flags bicubic+full_chroma_int" if "444" in name else ""
    raw = media.run_ffmpeg(
        *f"-i {encoded[name]} {scaler} -f rawvideo -pix_fmt rgb24 -fps_mode passthrough -".split()
    )
    expected = np.frombuffer(raw, dtype=np.uint8).reshape(len(pictures), 320, 480, 3).astype(float)
    actual = np.stack([Scaler().rgb(picture, height=320, width=480) for picture in pictures])
    assert np.mean((actual - expected) ** 2) <= 255**2 / 1e4  # 40 dB


def test_the_matrix_and_the_range_matter(encoded: dict[str, Path]) -> None:
    """The same picture, told as BT.601, BT.709 and BT.2020, limited and full, comes out the same."""
    names = ("444.mp4", "bt709.mp4", "bt2020.mp4", "full_range.mp4")
    shown = [
        Scaler().rgb(next(_pictures(encoded[name])), height=320, width=480).astype(float) for name in names
    ]
    for other in shown[1:]:
        assert np.abs(other - shown[0]).mean(axis=(0, 1)).max() < 3


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ("481x321", "-c:v ffv1 -pix_fmt yuv420p"),
        ("64x64", "-c:v ffv1"),
        ("480x320", "-c:v png -pix_fmt rgb24"),
    ],
)
def test_what_cannot_be_cut_is_said(tmp_path: Path, size: str, options: str) -> None:
    path = tmp_path / "video.mkv"
    media.run_ffmpeg(*f"-i {media.bundled_clip('bikes')} -frames:v 1 -s {size} {options} -an {path}".split())
    assert not TileCutter(3, 32).can_cut(next(_pictures(path)))


def test_a_picture_as_large_as_the_sheet_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "video.mkv"
    cutter = TileCutter(1, 400)
    side = 400 + 12
    source = f"-i {media.bundled_clip('bikes')} -frames:v 1 -s {side}x{side} -c:v ffv1 -pix_fmt yuv420p -an"
    media.run_ffmpeg(*f"{source} {path}".split())
    picture = next(_pictures(path))
    before = picture.to_ndarray()
    corners = np.array([[[7, 5]]])
    whole = Scaler().rgb(picture, height=side, width=side)
    assert (cutter.patches(picture, corners) == crop_patches(whole, corners, 400)).all()
    assert (picture.to_ndarray() == before).all()
