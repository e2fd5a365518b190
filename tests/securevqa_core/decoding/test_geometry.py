"""What is sampled is what a player shows: turned, mirrored and with square pixels."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import media
import numpy as np
import pytest
import shown

from securevqa_core.decoding.extract import DecodeRequest, extract_sample
from securevqa_core.decoding.geometry import Geometry, square_pixels
from securevqa_core.fragments import crop_patches
from securevqa_core.types import SamplingConfig

RequestMaker = Callable[..., DecodeRequest]
LIMIT = 8192 * 4320
SHOWN = {
    "turned_90": "-display_rotation 90",
    "turned_180": "-display_rotation 180",
    "turned_270": "-display_rotation 270",
    "mirrored": "-display_hflip",
    "flipped": "-display_vflip",
    "turned_and_mirrored": "-display_rotation 90 -display_hflip",
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("geometry") / "plain.mp4"
    options = "-frames:v 8 -vf scale=640:360,setsar=1 -c:v libx264 -preset ultrafast -pix_fmt yuv420p -an"
    media.run_ffmpeg(*f"-i {media.bundled_clip('bikes')} {options} {path}".split())
    return path


@pytest.mark.parametrize(
    ("name", "decoder"),
    [*((name, "pyav") for name in SHOWN), *((f"turned_{angle}", "decord") for angle in (90, 180, 270))],
)
def test_turned_and_mirrored_videos_are_sampled_as_they_are_shown(
    plain: Path, make_request: RequestMaker, tmp_path: Path, name: str, decoder: str
) -> None:
    path = tmp_path / "shown.mp4"
    media.run_ffmpeg(*f"{SHOWN[name]} -i {plain} -c copy {path}".split())
    sampling = SamplingConfig(
        num_clips=1, clip_frames=8, frame_interval=1, grid_size=2, num_segments=1, segment_frames=8
    )
    request = make_request(sampling, decoder=decoder)
    sample = extract_sample(str(path), request)
    height, width = (640, 360) if name in {"turned_90", "turned_270", "turned_and_mirrored"} else (360, 640)
    assert (sample.info.height, sample.info.width, sample.decoder) == (height, width, decoder)
    frames = shown.by_ffmpeg(path, height, width)
    assert shown.psnr(sample.patches[0, 0], shown.expected_patches(frames, request)) >= 40
    whole = shown.by_ffmpeg(path, 224, 224, "scale=224:224")
    assert shown.psnr(sample.frames, whole) >= 38
    upside_down = shown.psnr(sample.frames[:, ::-1], whole)
    assert upside_down < 30  # the measure tells ways up apart


def test_pixels_that_are_not_square_are_made_so(
    plain: Path, make_request: RequestMaker, tmp_path: Path
) -> None:
    path = tmp_path / "anamorphic.mp4"
    media.run_ffmpeg(*f"-i {plain} -frames:v 8 -vf setsar=4/3 -c:v libx264 {path}".split())
    sampling = SamplingConfig(num_clips=1, clip_frames=8, frame_interval=1, grid_size=2, num_segments=0)
    request = make_request(sampling)
    sample = extract_sample(str(path), request)
    assert (sample.info.height, sample.info.width) == (360, 853)
    frames = shown.by_ffmpeg(path, 360, 853, "scale=853:360")
    assert shown.psnr(sample.patches[0, 0], shown.expected_patches(frames, request)) >= 40


@pytest.mark.parametrize(
    ("aspect", "size"),
    [
        (None, (360, 640)),
        (Fraction(0), (360, 640)),
        (Fraction(1), (360, 640)),
        (Fraction(640, 639), (360, 640)),  # what rounding to even sizes leaves
        (Fraction(4, 3), (360, 853)),
        (Fraction(8, 9), (360, 569)),
        (Fraction(9), (360, 640)),  # no one means that
        (Fraction(1, 65535), (360, 640)),
    ],
)
def test_the_aspect_of_a_pixel_widens_the_picture_where_it_can_be_meant(
    aspect: Fraction | None, size: tuple[int, int]
) -> None:
    assert square_pixels(360, 640, aspect, max_pixels=LIMIT) == size


def test_a_picture_at_the_limit_is_made_lower_not_wider() -> None:
    assert square_pixels(4320, 8192, Fraction(4, 3), max_pixels=LIMIT) == (3240, 8192)


@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize("quarter_turns", range(4))
def test_squares_are_found_where_turning_puts_them(is_mirrored: bool, quarter_turns: int) -> None:
    geometry = Geometry(is_mirrored=is_mirrored, quarter_turns=quarter_turns)
    decoded = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    upright = geometry.upright(decoded)
    assert geometry.swapped(30, 50) == upright.shape[:2]
    corners = np.array([[[0, 0], [3, 11]], [[17, 2], [22, 22]]])
    cut = crop_patches(decoded, geometry.decoded_corners(corners, 8, size=(30, 50)), 8)
    assert (geometry.upright(cut) == crop_patches(upright, corners, 8)).all()
