"""What alters the shown picture and is not understood is refused by name; what only resembles it is not."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import dovi
import media
import numpy as np
import obus
import pytest
from mp4boxes import add_to_entry, box, dolby_vision, find, full_box
from PIL import Image

from securevqa_core.decoding.extract import DecodeRequest, extract_sample
from securevqa_core.errors import DecodeError

RequestMaker = Callable[..., DecodeRequest]
Make = Callable[[Path, Path], Path]  # from a plain MP4, in a folder
COPY = "-c copy -strict unofficial"


def _copied(name: str, options: str, before: str = "") -> Make:
    def make(plain: Path, folder: Path) -> Path:
        path = folder / name
        media.run_ffmpeg(*f"{before} -i {plain} -an {options} {path}".split())
        return path

    return make


def _boxed(extra: bytes, *, kind: bytes | None = None, name: str = "made.mp4", options: str = "") -> Make:
    """Add boxes to the sample entry, then copy to another container if `options` say so."""

    def make(plain: Path, folder: Path) -> Path:
        edited = add_to_entry(plain, folder / "edited.mp4", extra, kind=kind)
        return _copied(name, options)(edited, folder) if options else edited

    return make


def _hevc(make: Make) -> Make:
    def of_hevc(plain: Path, folder: Path) -> Path:
        hevc = folder / "hevc.mp4"
        encoder = "-c:v libx265 -preset ultrafast -x265-params log-level=error -tag:v hvc1"
        media.run_ffmpeg(*f"-i {plain} {encoder} {hevc}".split())
        return make(hevc, folder)

    return of_hevc


def _still(name: str, alpha: int, **options: object) -> Make:
    """A picture whose upper left corner has so much alpha."""

    def make(_: Path, folder: Path) -> Path:
        pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 4), dtype=np.uint8)
        pixels[..., 3] = 255
        pixels[:16, :16, 3] = alpha
        Image.fromarray(pixels).save(folder / name, **options)
        return folder / name

    return make


def _sliced(name: str, options: str, unit: bytes) -> Make:
    """A raw stream with one more NAL unit after its first slice."""

    def make(plain: Path, folder: Path) -> Path:
        raw = _copied(name, options)(plain, folder)
        pieces = raw.read_bytes().split(b"\0\0\1")
        raw.write_bytes(b"\0\0\1".join([*pieces, unit]))
        return raw

    return make


def _av1(change: Callable[[list[bytes]], list[bytes]]) -> Make:
    """Thirty-two pictures in one group, whose packets are put together anew."""

    def make(plain: Path, folder: Path) -> Path:
        encoder = "-vf loop=3:8 -frames:v 32 -c:v libaom-av1 -cpu-used 8 -lag-in-frames 0 -g 99"
        return obus.rewritten(_copied("av1.mkv", encoder)(plain, folder), folder / "made.mkv", change)

    return make


def _vp9_pairs(plain: Path, folder: Path) -> Path:
    source = _copied("vp9.mkv", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -lag-in-frames 0")(
        plain, folder
    )
    return obus.rewritten(source, folder / "made.mkv", obus.in_superframes)


def _layers_late(packets: list[bytes]) -> list[bytes]:
    return packets[:20] + obus.in_pairs(packets[20:])


def _with_rpu(*, profile: int, is_full_range: bool) -> Make:
    def make(plain: Path, folder: Path) -> Path:
        encoder = (
            "-frames:v 1 -c:v libx265 -preset ultrafast -x265-params log-level=error -pix_fmt yuv420p10le"
        )
        raw = _copied("made.hevc", encoder)(plain, folder)
        return dovi.append(raw, dovi.rpu_unit(profile=profile, is_full_range=is_full_range))

    return make


def _matrix(*rows: float, keeps_aspect: bool = True) -> Make:
    """Say in the track's header how the picture is transformed (ISO/IEC 14496-12, section 8.3.2)."""

    def make(plain: Path, folder: Path) -> Path:
        content = bytearray(plain.read_bytes())
        head = find(bytes(content), b"moov", b"trak", b"tkhd")[-1]
        units = [1 << 30 if column == 2 else 1 << 16 for _ in range(3) for column in range(3)]
        numbers = [round(number * unit) for number, unit in zip(rows, units, strict=True)]
        struct.pack_into(">9i", content, head + 8 + 40, *numbers)
        made = folder / "made.mp4"
        made.write_bytes(content if keeps_aspect else content.replace(b"pasp", b"free"))
        return made

    return make


def _mesh(plain: Path, folder: Path) -> Path:
    """A projection of Matroska that FFmpeg does not know."""
    path = _boxed(SPHERE, name="made.mkv", options=COPY)(plain, folder)
    content, equirectangular = path.read_bytes(), b"\x76\x71\x81\x01"
    assert content.count(equirectangular) == 1
    path.write_bytes(content.replace(equirectangular, b"\x76\x71\x81\x03"))
    return path


def _animated_png(_: Path, folder: Path) -> Path:
    """One that browsers move, and that begins with another picture and with many words."""
    first, second = (Image.new("RGB", (64, 64), colour) for colour in ("white", "red"))
    path = folder / "animated.png"
    first.save(path, save_all=True, append_images=[second, first], default_image=True)
    content, head = path.read_bytes(), 33  # signature and IHDR
    words = b"tEXtComment\0" + bytes([120]) * 100_000
    chunk = struct.pack(">I", len(words) - 4) + words + struct.pack(">I", zlib.crc32(words))
    path.write_bytes(content[:head] + chunk + content[head:])
    return path


def _png(**chunks: bytes) -> Make:
    """A still with chunks of these names ahead of its picture, which browsers heed and FFmpeg does not."""

    def make(_: Path, folder: Path) -> Path:
        path = folder / "coloured.png"
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
        content, head = path.read_bytes(), 33  # signature and IHDR
        for name, held in chunks.items():
            named = name.encode() + held
            content = (
                content[:head]
                + struct.pack(">I", len(held))
                + named
                + (struct.pack(">I", zlib.crc32(named)) + content[head:])
            )
        path.write_bytes(content)
        return path

    return make


def _points(*numbers: float) -> bytes:
    return struct.pack(">8I", *(round(number * 100_000) for number in numbers))


def _jpeg(mark: bytes) -> Make:
    def make(_: Path, folder: Path) -> Path:
        file = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
            file, "jpeg"
        )
        held = b"http://ns.adobe.com/xap/1.0/\0" + mark
        segment = b"\xff\xe1" + struct.pack(">H", len(held) + 2) + held
        (folder / "still.jpg").write_bytes(file.getvalue()[:2] + segment + file.getvalue()[2:])
        return folder / "still.jpg"

    return make


BRIGHT = struct.pack(">I", 25_000)
USUAL = struct.pack(">I", 45_455)
SRGB = _points(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
ADOBE = _points(0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
SWAPPED = _points(0.3127, 0.329, 0.3, 0.6, 0.64, 0.33, 0.15, 0.06)
YELLOWISH = _points(0.45, 0.41, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
PROJECTION = box(b"proj", full_box(b"prhd", bytes(12)), full_box(b"equi", bytes(16)))
SPHERE = box(b"sv3d", full_box(b"svhd", b"x\0"), PROJECTION)
TRANSLUCENT = "format=yuva420p,geq=lum=p(X\\,Y):cb=p(X\\,Y):cr=p(X\\,Y):a=100"
HEVC_ALPHA = f"-vf {TRANSLUCENT} -c:v libx265 -preset ultrafast -x265-params log-level=error"
OPAQUE = "format=yuva420p"
REFUSED: dict[str, tuple[Make, str]] = {
    "Dolby Vision 5": (
        _hevc(_boxed(dolby_vision(b"dvcC", profile=5, compatibility=0))),
        "Dolby Vision profile 5",
    ),
    "Dolby Vision 8.0": (
        _hevc(_boxed(dolby_vision(b"dvvC", profile=8, compatibility=0))),
        "profile 8 .*0",
    ),
    "Dolby Vision 20": (_hevc(_boxed(dolby_vision(b"dvwC", profile=20, compatibility=0))), "profile 20"),
    "Dolby Vision in Matroska": (
        _hevc(_boxed(dolby_vision(b"dvcC", profile=5, compatibility=0), name="made.mkv", options=COPY)),
        "Dolby Vision profile 5",
    ),
    "Dolby Vision by name": (_hevc(_boxed(b"", kind=b"dvh1")), "Dolby Vision without a record"),
    "Dolby Vision by its data": (_with_rpu(profile=0, is_full_range=True), "base layer is not Y'CbCr"),
    "PNG": (_still("still.png", 0), "not opaque"),
    "WebP": (_still("still.webp", 100, lossless=True), "not opaque"),
    "GIF": (_still("still.gif", 0), "not opaque"),
    "ProRes": (_copied("made.mov", f"-vf {TRANSLUCENT} -c:v prores_ks -pix_fmt yuva444p10le"), "not opaque"),
    "VP9": (_copied("made.webm", f"-vf {TRANSLUCENT} -c:v libvpx-vp9 -deadline realtime"), "AlphaMode"),
    "HEVC alpha": (_copied("made.mp4", HEVC_ALPHA), "further layers, views or alpha"),
    "HEVC alpha in a transport stream": (_copied("made.ts", HEVC_ALPHA), "further layers, views or alpha"),
    "stereo, Matroska": (_copied("made.mkv", f"-metadata:s:v stereo_mode=left_right {COPY}"), "stereoscopic"),
    "stereo, MP4": (_boxed(full_box(b"st3d", b"\2")), "stereoscopic"),
    "stereo, H.264": (_copied("made.ts", "-c:v libx264 -x264-params frame-packing=3"), "stereoscopic"),
    "sphere, MP4": (_boxed(SPHERE), "spherical"),
    "sphere, Matroska": (_boxed(SPHERE, name="made.mkv", options=COPY), "spherical"),
    "sphere of an unknown kind, MP4": (
        _boxed(box(b"sv3d", box(b"proj", full_box(b"prhd", bytes(12)), full_box(b"mshp", bytes(16))))),
        "spherical",
    ),
    "sphere of an unknown kind, Matroska": (_mesh, "spherical"),
    "stereo, anaglyph": (
        _copied("made.mkv", f"-metadata:s:v stereo_mode=anaglyph_cyan_red {COPY}"),
        "stereoscopic",
    ),
    "views, Apple": (_hevc(_boxed(box(b"vexu", box(b"eyes", full_box(b"stri", b"\3"))))), "vexu"),
    "layers, H.264": (_sliced("made.h264", "-c copy", b"\x74\x80\x01\x02\x03"), "further layers"),
    "layers, AV1": (_av1(obus.in_pairs), "further layers"),
    "layers from the middle on, AV1": (_av1(_layers_late), "further layers"),
    "two pictures a packet, AV1": (_av1(obus.together), "several pictures in a packet"),
    "two pictures a packet, VP9": (_vp9_pairs, "several pictures in a packet"),
    "an animated PNG": (_animated_png, "an animated PNG"),
    "PNG of another gamma": (_png(gAMA=BRIGHT), "gAMA, cHRM"),
    "PNG of swapped primaries": (_png(gAMA=USUAL, cHRM=SWAPPED), "gAMA, cHRM"),
    "PNG of another white": (_png(cHRM=YELLOWISH), "gAMA, cHRM"),
    "gain map, Adobe": (_jpeg(b'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"'), "a gain map"),
    "gain map, Apple": (_jpeg(b"urn:com:apple:photo:2020:aux:hdrgainmap"), "a gain map"),
    "a slanted picture": (_copied("made.mp4", "-c copy", "-display_rotation 30"), "no quarter turn"),
    "a picture in perspective": (_matrix(1, 0, 0.001, 0, 1, 0, 0, 0, 1), "no quarter turn"),
    "a picture without height": (_matrix(1, 0, 0, 0, 0, 0, 0, 0, 1), "no quarter turn"),
    "a stretched picture of square pixels": (_matrix(3, 0, 0, 0, 1, 0, 0, 0, 1), "stretches"),
    "a picture that is turned and stretched": (
        _matrix(0, 1, 0, -2, 0, 0, 0, 0, 1, keeps_aspect=False),
        "stretches",
    ),
    "needles for pixels": (_copied("made.mkv", "-c copy -aspect 30:1"), "as wide as high"),
    "YCgCo": (_copied("made.mp4", "-c copy -bsf:v h264_metadata=matrix_coefficients=8"), "colour matrix .*8"),
    "linear light": (
        _copied("made.mp4", "-c copy -bsf:v h264_metadata=transfer_characteristics=8"),
        "transfer characteristic .*8",
    ),
}
SCORED: dict[str, Make] = {
    "Dolby Vision 8.1": _hevc(_boxed(dolby_vision(b"dvvC", profile=8, compatibility=1))),
    "Dolby Vision 8.1 in Matroska": _hevc(
        _boxed(dolby_vision(b"dvvC", profile=8, compatibility=1), name="made.mkv", options=COPY)
    ),
    "Dolby Vision by its data": _with_rpu(profile=1, is_full_range=False),
    "PNG": _still("still.png", 255),
    "WebP": _still("still.webp", 255, lossless=True),
    "GIF of a video": _copied("made.gif", "-frames:v 4"),
    "ProRes": _copied("made.mov", f"-vf {OPAQUE} -c:v prores_ks -pix_fmt yuva444p10le"),
    "mono, Matroska": _copied("made.mkv", f"-metadata:s:v stereo_mode=mono {COPY}"),
    "mono, MP4": _boxed(full_box(b"st3d", b"\0")),
    "PNG of a usual gamma": _png(gAMA=USUAL, cHRM=SRGB),
    "PNG of usual primaries": _png(cHRM=ADOBE),
    "PNG that is sRGB whatever its gamma": _png(gAMA=BRIGHT, sRGB=bytes(1)),
    "JPEG": _jpeg(b"http://ns.adobe.com/photoshop/1.0/"),
    "AVIF": _copied("made.avif", "-frames:v 1 -c:v libaom-av1 -cpu-used 8 -still-picture 1"),
    "temporal layers, AV1": _av1(obus.temporal_layers),
    "a large picture": _matrix(2, 0, 0, 0, 2, 0, 40, 30, 1),
    "a stretch for the shape of pixels": _matrix(2, 0, 0, 0, 1, 0, 0, 0, 1, keeps_aspect=False),
    "a terminator": _boxed(bytes(4)),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("not_understood") / "plain.mp4"
    options = "-frames:v 8 -vf scale=192:108,setsar=1 -c:v libx264 -preset ultrafast -pix_fmt yuv420p -an"
    media.run_ffmpeg(*f"-i {media.bundled_clip('bikes')} {options} {path}".split())
    return path


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_understood_is_refused_by_its_name(
    plain: Path, make_request: RequestMaker, tmp_path: Path, name: str
) -> None:
    make, words = REFUSED[name]
    path = make(plain, tmp_path)
    with pytest.raises(DecodeError, match=words) as caught:
        extract_sample(str(path), make_request())
    assert caught.value.code == "display_not_understood"


@pytest.mark.parametrize("name", SCORED)
def test_what_only_resembles_it_is_scored(
    plain: Path, make_request: RequestMaker, tmp_path: Path, name: str
) -> None:
    sample = extract_sample(str(SCORED[name](plain, tmp_path)), make_request())
    assert sample.patches.std() > 10
