"""What is sampled is what players show, whatever the container and the stream order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fields
import media
import numpy as np
import pytest
import shown
from mp4boxes import add_to_entry, clap
from PIL import Image

from securevqa_core.decoding.extract import DecodeRequest, extract_sample
from securevqa_core.decoding.frames import read_frames
from securevqa_core.errors import DecodeError
from securevqa_core.types import SamplingConfig

RequestMaker = Callable[..., DecodeRequest]
EIGHT = SamplingConfig(
    num_clips=1, clip_frames=8, frame_interval=1, grid_size=2, num_segments=1, segment_frames=8
)
X264 = "-c:v libx264 -preset ultrafast -qp 12"
X265 = "-c:v libx265 -preset ultrafast -x265-params log-level=error:qp=12"
WHOLE = (0, 1)
CENTRED = clap((320, 1), (200, 1), WHOLE, WHOLE)
OFF_CENTRE = clap((320, 1), (200, 1), (-60, 1), (31, 1))
ODD = clap((301, 1), (187, 1), (7, 1), (-12, 1))
HALVES = clap((641, 2), (401, 2), (13, 4), (-7, 3))

# name: options of the encoder, boxes to add, options of a copy made after that, (height, width) shown
SHOWN: dict[str, tuple[str, bytes, str, tuple[int, int]]] = {
    "clean_aperture.mp4": (X264, CENTRED, "", (200, 320)),
    "clean_aperture_off_centre.mp4": (X264, OFF_CENTRE, "", (200, 320)),
    "clean_aperture_odd.mp4": (X264, ODD, "", (186, 300)),
    "clean_aperture_odd_444.mp4": (f"{X264} -pix_fmt yuv444p", ODD, "", (187, 301)),
    "clean_aperture_halves.mp4": (X264, HALVES, "", (200, 320)),
    "clean_aperture_10_bits.mov": (f"{X265} -pix_fmt yuv420p10le -tag:v hvc1", OFF_CENTRE, "", (200, 320)),
    "pixel_crop.mkv": (X264, OFF_CENTRE, "-c copy", (200, 320)),
    "pixel_crop_odd.mkv": (X264, ODD, "-c copy", (186, 300)),
    "cropped_and_turned.mp4": (X264, OFF_CENTRE, "-display_rotation 90", (320, 200)),
    "cropped_and_turned_back.mp4": (X264, OFF_CENTRE, "-display_rotation 270", (320, 200)),
    "cropped_and_mirrored.mp4": (X264, OFF_CENTRE, "-display_hflip", (200, 320)),
    "cropped_and_turned.mkv": (X264, OFF_CENTRE, "-display_rotation 180 -c copy", (200, 320)),
    "cropped_by_the_codec_too.mp4": (
        f"{X264} -bsf:v h264_metadata=crop_left=16:crop_right=4:crop_top=2:crop_bottom=6",
        b"",
        "",
        (360, 620),  # of 368 lines of macroblocks
    ),
    "film_grain.mkv": ("-c:v libsvtav1 -svtav1-params film-grain=50:preset=6", b"", "-c copy", (360, 640)),
    "plain.mp4": (X264, b"", "", (360, 640)),
    "interlaced.mp4": (f"{X264} -flags +ildct+ilme", b"", "", (360, 640)),
    "interlaced.ts": ("-c:v mpeg2video -q:v 2 -flags +ildct+ilme", b"", "-c copy", (360, 640)),
    "422.mp4": (f"{X264} -pix_fmt yuv422p", b"", "", (360, 640)),
    "444.mp4": (f"{X264} -pix_fmt yuv444p", b"", "", (360, 640)),
    "10_bits.mp4": (f"{X264} -pix_fmt yuv420p10le", b"", "", (360, 640)),
    "10_bits_422.mov": ("-c:v prores_ks -pix_fmt yuv422p10le", b"", "", (360, 640)),
    "12_bits_444.webm": (
        "-c:v libvpx-vp9 -deadline realtime -crf 10 -b:v 0 -pix_fmt yuv444p12le",
        b"",
        "-c copy",
        (360, 640),
    ),
    "full_range.mp4": (f"{X264} -vf scale=out_range=full -color_range pc", b"", "", (360, 640)),
    "full_range.avi": ("-c:v mjpeg -q:v 2 -pix_fmt yuvj422p", b"", "-c copy", (360, 640)),
    "bt709.mp4": (f"{X264} -vf scale=out_color_matrix=bt709 -colorspace bt709", b"", "", (360, 640)),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("display") / "source.mkv"
    options = "-frames:v 8 -vf scale=640:360,setsar=1 -c:v ffv1 -pix_fmt yuv420p -an"
    media.run_ffmpeg(*f"-i {media.bundled_clip('bikes')} {options} {path}".split())
    return path


def _made(source: Path, folder: Path, name: str) -> Path:
    encoder, extra, copy, _ = SHOWN[name]
    encoded, edited, made = folder / f"encoded{Path(name).suffix}", folder / "edited.mp4", folder / name
    if extra or not copy:
        encoded = encoded.with_suffix(".mov" if name.endswith("mov") else ".mp4")
    media.run_ffmpeg(*f"-i {source} {encoder} {encoded}".split())
    if extra:
        encoded = add_to_entry(encoded, edited, extra)
    if not copy:
        return encoded.rename(made)
    before, _, after = copy.partition("-c copy")
    media.run_ffmpeg(*f"{before} -i {encoded} -c copy {after} {made}".split())
    return made


@pytest.mark.parametrize("name", SHOWN)
def test_pictures_are_those_that_ffmpegs_program_shows(
    source: Path, make_request: RequestMaker, tmp_path: Path, name: str
) -> None:
    path, size = _made(source, tmp_path, name), SHOWN[name][-1]
    request = make_request(EIGHT, decoder="pyav")
    sample = extract_sample(str(path), request)
    frames = shown.by_ffmpeg(path, *size)
    assert (sample.info.height, sample.info.width) == size
    assert len(frames) == 8
    assert shown.psnr(sample.patches[0, 0], shown.expected_patches(frames, request)) >= 40
    assert shown.psnr(sample.frames, shown.by_ffmpeg(path, 224, 224, "scale=224:224")) >= 38
    assert shown.psnr(read_frames(path).pixels, frames) >= 40  # what attacks see


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_as_exif_says(
    make_request: RequestMaker, tmp_path: Path, orientation: int
) -> None:
    path = tmp_path / "still.jpg"
    media.run_ffmpeg(*f"-i {media.bundled_clip('bikes')} -frames:v 1 -q:v 2 {path}".split())
    with Image.open(path) as still:
        exif = still.getexif()
        exif[0x0112] = orientation
        still.save(path, quality=95, exif=exif)
    size = (272, 640) if orientation < 5 else (640, 272)
    sampling = SamplingConfig(num_clips=1, clip_frames=1, grid_size=2, num_segments=1, segment_frames=1)
    request = make_request(sampling, decoder="pyav")
    sample = extract_sample(str(path), request)
    assert (sample.info.height, sample.info.width) == size
    frames = shown.by_ffmpeg(path, *size)
    assert shown.psnr(sample.patches[0, 0], shown.expected_patches(frames, request)) >= 40


def test_a_window_of_rejected_content_is_all_that_is_seen(
    source: Path, make_request: RequestMaker, tmp_path: Path
) -> None:
    """The cheat itself: noise in the window, the clip around it."""
    noise = "nullsrc=320x200:r=25:d=1,geq=random(1)*255:128:128"
    whole = tmp_path / "whole.mp4"
    inlaid = f"-i {source} -f lavfi -i {noise} -filter_complex [0][1]overlay=160:80:shortest=1"
    media.run_ffmpeg(*f"{inlaid} -frames:v 8 {X264} {whole}".split())
    path = add_to_entry(whole, tmp_path / "cheat.mp4", CENTRED)
    request = make_request(EIGHT)
    patches, around = (extract_sample(str(file), request).patches for file in (path, whole))
    assert patches.std(axis=-2).mean() > 50  # noise everywhere
    assert around.std(axis=-2).mean() < 40


@pytest.mark.parametrize("pixel_format", ["rgb555le", "rgb565le", "rgb24"])
def test_colours_of_few_bits_are_filled_up(
    source: Path, make_request: RequestMaker, tmp_path: Path, pixel_format: str
) -> None:
    """FFmpeg's scaler itself does so where it changes no size."""
    path = tmp_path / "raw.avi"
    media.run_ffmpeg(*f"-i {source} -c:v rawvideo -pix_fmt {pixel_format} {path}".split())
    request = make_request(EIGHT, decoder="pyav")
    sample = extract_sample(str(path), request)
    frames = shown.by_ffmpeg(path, 360, 640, "format=rgb24")
    assert shown.psnr(sample.patches[0, 0], shown.expected_patches(frames, request)) >= 40
    small = shown.by_ffmpeg(path, 224, 224, "format=rgb24,scale=224:224")
    assert shown.psnr(sample.frames, small) >= 38


def test_fields_with_a_packet_each_are_whole_to_attacks(tmp_path: Path) -> None:
    levels = np.linspace(20, 230, 256, dtype=np.uint8)
    pictures = [np.roll(np.tile(levels, (160, 1)), 9 * number, axis=1) for number in range(10)]
    frames = read_frames(fields.write_fields(tmp_path / "fields.mp4", pictures))
    assert (frames.fps, len(frames.pixels)) == (25.0, 10)
    assert (
        shown.psnr(
            frames.pixels[:, 10:-10, 10:-10],
            shown.by_ffmpeg(tmp_path / "fields.mp4", 160, 256)[:, 10:-10, 10:-10],
        )
        >= 40
    )


def test_decord_refuses_what_it_would_show_uncropped(
    source: Path, make_request: RequestMaker, tmp_path: Path
) -> None:
    path = _made(source, tmp_path, "clean_aperture.mp4")
    with pytest.raises(DecodeError, match="to be cropped, which decord does not do") as caught:
        extract_sample(str(path), make_request(decoder="decord"))
    assert caught.value.code == "decode_failed"


def test_a_crop_to_less_than_a_chroma_sample_is_refused(
    source: Path, make_request: RequestMaker, tmp_path: Path
) -> None:
    plain = tmp_path / "plain.mp4"
    media.run_ffmpeg(*f"-i {source} {X264} {plain}".split())
    path = add_to_entry(plain, tmp_path / "path.mp4", clap((1, 1), (1, 1), WHOLE, WHOLE))
    with pytest.raises(DecodeError, match="leaves nothing") as caught:
        extract_sample(str(path), make_request())
    assert caught.value.code == "display_not_understood"


def test_pictures_that_a_crop_leaves_nothing_of_are_refused(
    source: Path, make_request: RequestMaker, tmp_path: Path
) -> None:
    """The sample entry says 640x360; the codec's own window is smaller than what the aperture cuts off."""
    small, path = tmp_path / "small.mp4", tmp_path / "path.mp4"
    media.run_ffmpeg(*f"-i {source} -vf scale=128:64 {X264} {small}".split())
    add_to_entry(small, path, clap((16, 1), (16, 1), WHOLE, WHOLE))
    content = bytearray(path.read_bytes())
    at = content.find(b"avc1", content.find(b"stsd")) + 4 + 24
    assert content[at : at + 4] == bytes([0, 128, 0, 64])
    content[at : at + 4] = bytes([2, 128, 1, 104])
    path.write_bytes(content)
    with pytest.raises(DecodeError, match="leaves nothing of a picture of 128x64") as caught:
        extract_sample(str(path), make_request())
    assert caught.value.code == "display_not_understood"
