"""Ways to have one thing shown and another scored do not pass: they lead to a review or are refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import told
from mp4boxes import box
from told import IN_ORDER, X264, Made, ffmpeg

from securevqa_core.decoding.extract import DecodeRequest, extract_sample
from securevqa_core.doubts import (
    CLOCK_JUMPS,
    EDITS_HIDE,
    SEVERAL_VIDEO_STREAMS,
    SIZE_CHANGES,
    SUBTITLES_COVER,
    TRACK_CHANGES,
    doubts,
)
from securevqa_core.errors import DecodeError

RequestMaker = Callable[..., DecodeRequest]
# A red field over the whole picture, drawn by a line of text.
DRAWING = """[Script Info]
ScriptType: v4.00+
[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour
Style: Default,Arial,20,&H000000FF
[Events]
Format: Layer, Start, End, Style, Text
Dialogue: 0,0:00:00.00,0:00:09.00,Default,{\\pos(0,0)\\p1}m 0 0 l 999 0 999 999 0 999
"""
ENCODERS = {
    "H.264": "-c:v libx264 -bf 0 -bsf:v dump_extra=freq=keyframe",
    "HEVC": "-c:v libx265 -x265-params log-level=error:repeat-headers=1:bframes=0",
    "VP9": "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -lag-in-frames 0",
    "AV1": "-c:v libaom-av1 -cpu-used 8 -lag-in-frames 0",
}
FRAGMENTS = "-movflags frag_keyframe+empty_moov"
WORDS = "1\n00:00:00,000 --> 00:00:03,000\nwords\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return told.make(tmp_path_factory.mktemp("tricks"))


def _small_first(suffix: str) -> Callable[[Made], Path]:
    """Two small pictures, at whose size all others would look sharp."""

    def make(made: Made) -> Path:
        small = made.encode("small.ts", "-frames:v 2 -vf scale=80:-2 -c:v libx264 -bf 0")
        large = made.encode("large.ts", "-c copy -output_ts_offset 0.1", source=made.in_order)
        both = made.edited("both.ts", small.read_bytes() + large.read_bytes())
        return both if suffix == "ts" else made.encode(f"both.{suffix}", "-c copy", source=both)

    return make


def _small_later(suffix: str, encoder: str) -> Callable[[Made], Path]:
    """Packets of two sizes in one track, as whoever adapts to a slow network sends them."""

    def make(made: Made) -> Path:
        parts = [made.encode(f"{size}.mkv", f"-vf scale={size}:-2 {encoder}") for size in (320, 160)]
        path = made.folder / f"sizes.{suffix}"
        with (
            av.open(str(path), "w") as writer,
            av.open(str(parts[0])) as first,
            av.open(str(parts[1])) as second,
        ):
            stream = writer.add_stream_from_template(first.streams.video[0], opaque=True)
            for reader, start in ((first, 0), (second, 3000)):
                for packet in (packet for packet in reader.demux(video=0) if packet.size):
                    assert packet.pts is not None
                    packet.pts += start
                    packet.dts, packet.stream = packet.pts, stream
                    writer.mux(packet)
        return path

    return make


def _other_pixels_later(suffix: str) -> Callable[[Made], Path]:
    """Two seconds of square pixels, then a broadcaster's wide ones."""

    def make(made: Made) -> Path:
        parts = [
            made.encode(f"{place}.ts", f"-t 2 -vf setsar={aspect} {IN_ORDER} -output_ts_offset {2 * place}")
            for place, aspect in enumerate(["1", "64/45"])
        ]
        both = made.edited("pixels.ts", b"".join(part.read_bytes() for part in parts))
        return both if suffix == "ts" else made.encode(f"pixels.{suffix}", "-c copy", source=both)

    return make


def _other_codec_later(name: str, *, before: int = 0, after: int = 0) -> Callable[[Made], Path]:
    """The same packet id goes on in HEVC, as the table that is sent again says; packets lie in more bytes."""

    def make(made: Made) -> Path:
        hevc = "-c:v libx265 -x265-params log-level=error -output_ts_offset 3"
        parts = [made.encode("first.ts", "-c copy"), made.encode("second.ts", hevc)]
        content = b"".join(part.read_bytes() for part in parts)
        packets = (content[at : at + 188] for at in range(0, len(content), 188))
        return made.edited(name, b"".join(bytes(before) + packet + bytes(after) for packet in packets))

    return make


def _behind_junk(made: Made) -> Path:
    whole = _other_codec_later("codecs.ts")(made)
    return made.edited("junk.ts", b"junk" + whole.read_bytes())


def _stream_begins_late(made: Made) -> Path:
    """FLV has no list of streams; two minutes are more than FFmpeg looks at first."""
    path = made.folder / "long.flv"
    ffmpeg(f"-stream_loop 40 -i {made.plain} -c copy {path}")
    other = made.encode("other.flv", "-c:v flv -q:v 2 -output_ts_offset 123")
    return made.edited("late.flv", path.read_bytes() + other.read_bytes()[13:])  # less its header


def _held_by_a_jump(made: Made) -> Path:
    """One good picture, five hours by the clock, then the rest."""
    first = made.encode("one.ts", "-frames:v 1 -c:v libx264 -bf 0")
    rest = made.encode("rest.ts", "-c copy -output_ts_offset 18000")
    return made.edited("jump.ts", first.read_bytes() + rest.read_bytes())


def _put_together(suffix: str, options: str = "") -> Callable[[Made], Path]:
    """Two files of which the second begins at time zero again, with other pictures."""

    def make(made: Made) -> Path:
        parts = [
            made.encode(f"{place}.{suffix}", f"{filters} {options}")
            for place, filters in enumerate(["-c copy", f"-vf negate {X264}"])
        ]
        return made.edited(f"both.{suffix}", b"".join(part.read_bytes() for part in parts))

    return make


def _called_chapters(made: Made) -> Path:
    """The first track is called pictures of the second one's chapters."""
    two = made.folder / "two.mp4"
    ffmpeg(f"-i {made.plain} -i {made.in_order} -map 0 -map 1 -c copy {two}")
    content = bytearray(two.read_bytes())
    movie = content.rindex(b"moov") - 4
    second = content.index(b"trak", content.index(b"trak", movie) + 4) - 4
    reference = box(b"tref", box(b"chap", struct.pack(">I", 1)))
    after_head = second + 8 + int.from_bytes(content[second + 8 : second + 12])
    content[after_head:after_head] = reference
    for place in (movie, second):
        grown = int.from_bytes(content[place : place + 4]) + len(reference)
        content[place : place + 4] = grown.to_bytes(4)
    return made.edited("chapters.mp4", bytes(content))


def _subtitled(text: str, suffix: str, disposition: str) -> Callable[[Made], Path]:
    def make(made: Made) -> Path:
        subtitles = made.folder / f"text.{suffix}"
        subtitles.write_text(text)
        path = made.folder / f"{suffix}_{disposition}.mkv"
        ffmpeg(f"-i {made.plain} -i {subtitles} -map 0 -map 1 -c copy -disposition:s:0 {disposition} {path}")
        return path

    return make


def _cut_out(made: Made) -> Path:
    """A second is shown, and two more by players that pass over edit lists."""
    source = made.encode("groups.mp4", f"{IN_ORDER} -g 25")
    return told.with_edits(source, made.folder / "cut_out.mp4", (1, 1, 1))


DOUBTED: dict[str, tuple[Callable[[Made], Path], str]] = {
    "small pictures first, TS": (_small_first("ts"), SIZE_CHANGES),
    "small pictures first, MP4": (_small_first("mp4"), SIZE_CHANGES),
    "small pictures first, Matroska": (_small_first("mkv"), SIZE_CHANGES),
    **{
        f"small pictures later, {name}, {suffix}": (_small_later(suffix, encoder), SIZE_CHANGES)
        for name, encoder in ENCODERS.items()
        for suffix in ("mp4", "mkv")
    },
    "small pictures that are predicted from large ones, AV1": (
        lambda made: made.encode("resized.mkv", f"{ENCODERS['AV1']} -aom-params resize-mode=2"),
        SIZE_CHANGES,
    ),
    "pixels of another shape later, TS": (_other_pixels_later("ts"), SIZE_CHANGES),
    "pixels of another shape later, Matroska": (_other_pixels_later("mkv"), SIZE_CHANGES),
    "another codec later, TS": (_other_codec_later("codecs.ts"), TRACK_CHANGES),
    "another codec later, Blu-ray": (_other_codec_later("codecs.m2ts", before=4), TRACK_CHANGES),
    "another codec later, with parity": (_other_codec_later("codecs.ts", after=16), TRACK_CHANGES),
    "another codec later, behind junk": (_behind_junk, TRACK_CHANGES),
    "another stream later, FLV": (_stream_begins_late, TRACK_CHANGES),
    "a picture that a jump of the clock holds": (_held_by_a_jump, CLOCK_JUMPS),
    "two files put together, fragments": (_put_together("mp4", FRAGMENTS), CLOCK_JUMPS),
    "two files put together, Matroska": (_put_together("mkv"), CLOCK_JUMPS),
    "more is cut out than shown": (_cut_out, EDITS_HIDE),
    "a track that is called chapters": (_called_chapters, SEVERAL_VIDEO_STREAMS),
    "a drawing for subtitles": (_subtitled(DRAWING, "ass", "default"), SUBTITLES_COVER),
    "a drawing that is forced": (_subtitled(DRAWING, "ass", "forced"), SUBTITLES_COVER),
}


@pytest.mark.parametrize("trick", DOUBTED)
def test_a_trick_leads_to_a_review(made: Made, make_request: RequestMaker, trick: str) -> None:
    make, begins = DOUBTED[trick]
    found = doubts(extract_sample(str(make(made)), make_request()).warnings)
    assert [doubt for doubt in found if doubt.startswith(begins)]


@pytest.mark.parametrize(
    "make",
    [_subtitled(DRAWING, "ass", "0"), _subtitled(WORDS, "srt", "default")],
    ids=["a drawing that has to be asked for", "words"],
)
def test_subtitles_that_cover_nothing_unasked_are_no_doubt(
    made: Made, make_request: RequestMaker, make: Callable[[Made], Path]
) -> None:
    assert extract_sample(str(make(made)), make_request()).warnings == ()


@pytest.mark.parametrize("rate", [-1, 0, 0.5, 2], ids=["backwards", "held", "slow", "fast"])
def test_an_edit_list_of_another_pace_is_refused(made: Made, make_request: RequestMaker, rate: float) -> None:
    source = made.encode("groups.mp4", f"{IN_ORDER} -g 25")
    path = told.with_edits(source, made.folder / "pace.mp4", (1, 0, 1), (1, 1, rate))
    with pytest.raises(DecodeError, match="backwards, at another pace or holds") as caught:
        extract_sample(str(path), make_request())
    assert caught.value.code == "display_not_understood"


def test_chapters_in_an_order_of_their_own_are_refused(made: Made, make_request: RequestMaker) -> None:
    """mpv and VLC show what the chapters list, here one second, and browsers everything."""
    chapters = made.edited(
        "chapters.txt", b";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1\nSTART=1\nEND=2\ntitle=all there is\n"
    )
    path = made.folder / "chapters.mkv"
    ffmpeg(f"-i {made.plain} -i {chapters} -map 0 -map_chapters 1 -c copy {path}")
    assert extract_sample(str(path), make_request()).warnings == ()
    content, default_flag = path.read_bytes(), b"\x45\xdb\x81\x01"  # EditionFlagDefault
    assert content.count(default_flag) == 1
    path.write_bytes(content.replace(default_flag, b"\x45\xdd\x81\x01"))
    with pytest.raises(DecodeError, match="EditionFlagOrdered") as caught:
        extract_sample(str(path), make_request())
    assert caught.value.code == "display_not_understood"


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp"])
def test_pictures_behind_a_still_are_not_looked_at(
    made: Made, make_request: RequestMaker, suffix: str
) -> None:
    still = made.encode(f"still.{suffix}", "-frames:v 1")
    other = made.encode(f"other.{suffix}", "-frames:v 1 -vf negate")
    both = made.edited(f"both.{suffix}", still.read_bytes() + 9 * other.read_bytes())
    of_still, of_both = (extract_sample(str(path), make_request()) for path in (still, both))
    assert (of_both.info.num_frames, of_both.warnings) == (1, ())
    assert np.array_equal(of_both.patches, of_still.patches)


def test_recordings_put_together_last_as_long_as_both(made: Made, make_request: RequestMaker) -> None:
    first = made.encode("first.ts", f"{X264} -output_ts_offset 500")
    second = made.encode("second.ts", f"{X264}")
    for name, parts in {"same": (first, first), "back": (first, second), "ahead": (second, first)}.items():
        path = made.edited(f"{name}.ts", b"".join(part.read_bytes() for part in parts))
        sample = extract_sample(str(path), make_request())
        info = sample.info
        assert (info.num_frames, info.fps, info.duration_seconds) == (150, 25.0, pytest.approx(6, abs=0.01))
        assert not any(warning.startswith("stream_short") for warning in sample.warnings)
