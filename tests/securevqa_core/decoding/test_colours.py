"""Colours are the picture's tags, else the container's, else a guess, which is said where players differ."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import av
import media
import numpy as np
import pytest
import shown
from mp4boxes import add_to_entry, box

from securevqa_core.decoding.extract import DecodeRequest, extract_sample
from securevqa_core.errors import DecodeError
from securevqa_core.types import SamplingConfig

RequestMaker = Callable[..., DecodeRequest]
TWO = SamplingConfig(
    num_clips=1, clip_frames=2, frame_interval=1, grid_size=4, num_segments=1, segment_frames=2
)
X265 = "-c:v libx265 -preset ultrafast -x265-params log-level=error"
PQ = {"colour_primaries": 9, "transfer_characteristics": 16, "matrix_coefficients": 9}
HLG = PQ | {"transfer_characteristics": 18}
UNTAGGED = "colour_primaries=2:transfer_characteristics=2:matrix_coefficients=2:video_full_range_flag=0"
LIMITED = "limited range by pixel format"


def _saturated(path: Path, size: str, options: str) -> Path:
    """Two frames of strong colours, nowhere tagged."""
    source = f"-i {media.bundled_clip('bikes')} -frames:v 2 -an"
    strong = f"scale={size.replace('x', ':')},setsar=1,geq=lum=p(X\\,Y):cb=64+128*X/W:cr=192-128*Y/H"
    media.run_ffmpeg(*f"{source} -vf {strong} {options} {path}".split())
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.colorspace == 2
    return path


@pytest.mark.parametrize(
    ("size", "matrix", "warnings"),
    [
        ("720x576", "bt601", ()),
        ("960x704", "bt601", ("colours_guessed: matrix and primaries BT.601 by size",)),
        ("1280x536", "bt601", ("colours_guessed: matrix and primaries BT.601 by size",)),
        ("960x720", "bt709", ("colours_guessed: matrix and primaries BT.709 by size",)),
        ("720x1280", "bt709", ("colours_guessed: matrix and primaries BT.709 by size",)),
    ],
)
def test_untagged_colours_are_guessed_by_size(
    make_request: RequestMaker, tmp_path: Path, size: str, matrix: str, warnings: tuple[str, ...]
) -> None:
    path = _saturated(tmp_path / "untagged.mkv", size, "-c:v ffv1 -pix_fmt yuv420p")
    request = make_request(TWO)
    sample = extract_sample(str(path), request)
    width, height = map(int, size.split("x"))
    other = {"bt601": "bt709", "bt709": "bt601"}[matrix]
    right, wrong = (
        shown.expected_patches(shown.by_ffmpeg(path, height, width, f"scale=in_color_matrix={name}"), request)
        for name in (matrix, other)
    )
    assert shown.psnr(sample.patches[0, 0], right) >= 40
    assert shown.psnr(sample.patches[0, 0], wrong) < 32  # the measure tells them apart
    assert sample.warnings == warnings


def test_untagged_stills_are_of_one_matrix_at_every_size(make_request: RequestMaker, tmp_path: Path) -> None:
    options = "-frames:v 1 -c:v libaom-av1 -cpu-used 8 -crf 5 -still-picture 1 -pix_fmt yuv420p"
    path = _saturated(tmp_path / "still.avif", "960x720", options)
    sample = extract_sample(str(path), make_request(TWO))
    still = np.repeat(shown.by_ffmpeg(path, 720, 960, "scale=in_color_matrix=bt601"), 2, axis=0)
    assert shown.psnr(sample.patches[0, 0], shown.expected_patches(still, make_request(TWO))) >= 40
    assert sample.warnings == ()


def test_a_crop_does_not_change_the_guess(make_request: RequestMaker, tmp_path: Path) -> None:
    """Players guess by what comes out of the decoder."""
    whole = _saturated(tmp_path / "whole.mp4", "960x720", "-c:v libx264 -preset ultrafast -pix_fmt yuv420p")
    aperture = box(b"clap", struct.pack(">8i", 640, 1, 360, 1, 0, 1, 0, 1))
    path = add_to_entry(whole, tmp_path / "cropped.mp4", aperture)
    sample = extract_sample(str(path), make_request(TWO))
    assert (sample.info.height, sample.info.width) == (360, 640)
    assert sample.warnings == (f"colours_guessed: matrix and primaries BT.709 by size, {LIMITED}",)


@pytest.mark.parametrize("tags", [PQ, HLG], ids=["PQ", "HLG"])
@pytest.mark.parametrize("name", ["container.mp4", "container.mkv"])
def test_tags_that_stand_in_the_container_alone_count(
    make_request: RequestMaker, tmp_path: Path, name: str, tags: dict[str, int]
) -> None:
    encoded = tmp_path / "encoded.mp4"
    source = f"-i {media.bundled_clip('bikes')} -frames:v 2 -an -vf scale=320:180"
    ten_bits = f"-pix_fmt yuv420p10le {X265} -tag:v hvc1 -bsf:v hevc_metadata={UNTAGGED}"
    media.run_ffmpeg(*f"{source} {ten_bits} {encoded}".split())
    colours = box(b"colr", b"nclx", struct.pack(">3HB", *tags.values(), 0))
    container = add_to_entry(encoded, tmp_path / "edited.mp4", colours)
    media.run_ffmpeg(*f"-i {container} -c copy {tmp_path / name}".split())
    inside = ":".join(f"{key}={value}" for key, value in tags.items())
    stream = tmp_path / "stream.mkv"
    media.run_ffmpeg(*f"-i {encoded} -c copy -bsf:v hevc_metadata={inside} {stream}".split())
    request = make_request(TWO)
    of_container, of_stream, of_neither = (
        extract_sample(str(path), request) for path in (tmp_path / name, stream, encoded)
    )
    assert (of_container.patches == of_stream.patches).all()
    assert (of_container.frames == of_stream.frames).all()
    assert of_container.warnings == of_stream.warnings
    assert of_container.warnings[0].startswith("high_dynamic_range")
    assert shown.psnr(of_neither.patches, of_container.patches) < 40


@pytest.mark.parametrize(("inside", "outside"), [(16, 1), (1, 16), (18, 13)])
@pytest.mark.parametrize("name", ["contradicted.mp4", "contradicted.mkv"])
def test_a_range_that_container_and_stream_disagree_on_is_refused(
    make_request: RequestMaker, tmp_path: Path, name: str, inside: int, outside: int
) -> None:
    encoded = tmp_path / "encoded.mp4"
    source = f"-i {media.bundled_clip('bikes')} -frames:v 2 -an -vf scale=320:180"
    tags = f"colour_primaries=9:transfer_characteristics={inside}:matrix_coefficients=9"
    media.run_ffmpeg(*f"{source} {X265} -tag:v hvc1 -bsf:v hevc_metadata={tags} {encoded}".split())
    colours = box(b"colr", b"nclx", struct.pack(">3HB", 9, outside, 9, 0))
    add_to_entry(encoded, tmp_path / "edited.mp4", colours)
    media.run_ffmpeg(*f"-i {tmp_path / 'edited.mp4'} -c copy {tmp_path / name}".split())
    with pytest.raises(DecodeError, match="disagree on high dynamic range") as caught:
        extract_sample(str(tmp_path / name), make_request(TWO))
    assert caught.value.code == "display_not_understood"


def test_decord_refuses_what_it_guesses_otherwise(make_request: RequestMaker, tmp_path: Path) -> None:
    path = _saturated(tmp_path / "untagged.mp4", "960x720", "-c:v libx264 -preset ultrafast -pix_fmt yuv420p")
    with pytest.raises(DecodeError, match="untagged colours of 720 lines") as caught:
        extract_sample(str(path), make_request(decoder="decord"))
    assert caught.value.code == "decode_failed"


def test_grey_and_rgb_have_no_matrix_to_guess(make_request: RequestMaker, tmp_path: Path) -> None:
    for pixel_format in ("gray", "rgb24"):
        path = tmp_path / f"{pixel_format}.mkv"
        source = f"-f lavfi -i testsrc2=s=1280x720:d=0.08 -pix_fmt {pixel_format} -c:v png"
        media.run_ffmpeg(*f"{source} {path}".split())
        sample = extract_sample(str(path), make_request(TWO))
        assert sample.warnings == ()
        assert np.ptp(sample.frames) > 200
