"""What a decoding process answers is data, and only the data that was asked for."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from securevqa_core.decoding import wire
from securevqa_core.decoding.extract import DecodedSample, DecodeRequest, extract_sample
from securevqa_core.decoding.wire import (
    BadAnswerError,
    read_answer,
    read_request,
    request_bytes,
    write_error,
    write_sample,
)
from securevqa_core.errors import DecodeError
from securevqa_core.types import VideoInfo

RequestMaker = Callable[..., DecodeRequest]


@pytest.fixture(scope="module")
def request_(make_request: RequestMaker) -> DecodeRequest:
    return make_request(num_draws=2)


@pytest.fixture(scope="module")
def sample(videos: dict[str, Path], request_: DecodeRequest) -> DecodedSample:
    return extract_sample(str(videos["carphone_h264.mkv"]), request_)


def _written(write: Callable[..., None], *arguments: Any) -> io.BytesIO:
    stream = io.BytesIO()
    write(stream, *arguments)
    stream.seek(0)
    return stream


def _answer(header: object, payload: bytes = b"") -> io.BytesIO:
    content = json.dumps(header).encode()
    return io.BytesIO(struct.pack("<Q", len(content)) + content + payload)


def test_a_request_arrives_as_it_was_sent(request_: DecodeRequest) -> None:
    content = request_bytes(request_)
    stream = io.BytesIO(content + b"more")
    assert read_request(stream) == request_
    assert stream.read() == b"more"
    for length in (0, 7, 8, len(content) - 1):
        with pytest.raises(EOFError, match="closed its end"):
            read_request(io.BytesIO(content[:length]))


def test_a_sample_arrives_as_it_was_sent(request_: DecodeRequest, sample: DecodedSample) -> None:
    sent = replace(sample, warnings=("a: 1", "b: 2"))
    stream = _written(write_sample, sent)
    received = read_answer(stream, request_)
    for name in ("patches", "frames", "segments"):
        assert (getattr(received, name) == getattr(sent, name)).all()
        assert getattr(received, name).dtype == getattr(sent, name).dtype
    assert (received.info, received.decoder, received.warnings) == (sent.info, "pyav", ("a: 1", "b: 2"))
    assert stream.read() == b""


def test_a_failure_arrives_with_its_code(request_: DecodeRequest) -> None:
    stream = _written(write_error, DecodeError("too_many_pixels", "got 9 x 9"))
    with pytest.raises(DecodeError, match=r"^got 9 x 9$") as caught:
        read_answer(stream, request_)
    assert caught.value.code == "too_many_pixels"


def test_an_answer_cut_short_anywhere_is_noticed(request_: DecodeRequest, sample: DecodedSample) -> None:
    whole = _written(write_sample, sample).getvalue()
    for length in (0, 4, 8, 50, 2000, len(whole) // 2, len(whole) - 1):
        with pytest.raises(EOFError, match="closed its end"):
            read_answer(io.BytesIO(whole[:length]), request_)


def test_an_answer_is_never_unpickled(request_: DecodeRequest, tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "owned"),)

    content = pickle.dumps(Attack())
    with pytest.raises(BadAnswerError, match="unreadable answer"):
        read_answer(io.BytesIO(struct.pack("<Q", len(content)) + content), request_)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ([], "the header is of type list"),
        (None, "the header is of type NoneType"),
        ({}, "must have the fields info, decoder, warnings, num_frames"),
        ({"error_code": "made_up", "message": ""}, "error_code is none that there is: 'made_up'"),
        ({"error_code": "fetch_denied", "message": ""}, "error_code is none that there is: 'fetch_denied'"),
        ({"error_code": ["x"], "message": ""}, "error_code is none that there is: a list"),
        ({"error_code": "decode_failed"}, "must have the fields error_code, message"),
        ({"error_code": "decode_failed", "message": "a\n"}, r"message must be .* printable .*'a\\n'"),
        ({"error_code": "decode_failed", "message": "x" * 501}, "message must be at most 500"),
        ({"error_code": "decode_failed", "message": 7}, "message must be at most 500 .*, got 7"),
        ({"error_code": "decode_failed", "message": "", "stage": "fetch"}, "must have the fields"),
    ],
)
def test_an_answer_that_breaks_the_rules_is_refused(
    request_: DecodeRequest, header: object, message: str
) -> None:
    with pytest.raises(BadAnswerError, match=message):
        read_answer(_answer(header), request_)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff", "UnicodeDecodeError"),
        (b"\x80\x04.", "UnicodeDecodeError"),
        (b"{", "JSONDecodeError"),
        (b"", "JSONDecodeError"),
        ('{"a": 1}'.encode("utf-16"), "UnicodeDecodeError"),
        (b"[" * 500_000, "RecursionError"),
        (b'{"a":' * 150_000, "RecursionError"),
        (b'{"a": ' + b"9" * 5000 + b"}", "ValueError"),
        (b'{"a": NaN}', "ValueError"),
        (b'{"a": -Infinity}', "ValueError"),
    ],
)
def test_a_header_that_is_no_plain_json_is_refused(
    request_: DecodeRequest, content: bytes, message: str
) -> None:
    with pytest.raises(BadAnswerError, match=f"unreadable answer: {message}"):
        read_answer(io.BytesIO(struct.pack("<Q", len(content)) + content), request_)


# Of the header of a sample: where, what a taken-over cell puts there, and what is said of it.
LIES: dict[tuple[str, str], tuple[object, ...]] = {
    ("num_frames", r"num_frames must be an integer in 0\.\.16"): (-1, 17, 10**12, "16", 16.0, True),
    ("info.width", "width must be an integer in 1"): (0, -5, 1 << 31, 10**400, None, "9", True),
    ("info.height", "height must be an integer in .*, got an integer of 81 bits"): (1 << 80,),
    ("info.num_frames", "num_frames must be an integer in 1"): (0, -1, 1 << 63, 1.5),
    ("info.fps", "fps must be a number in 0"): (-1.0, 1e300, 10**400, "25", True, [25]),
    ("info.duration_seconds", "duration_seconds must be a number in 0"): (-0.5, 1e9, 10**400, {}),
    ("info.codec", "codec is none that there is"): ("h265", "\ud800", "", None, 264),
    ("info.colour", "must have the fields width, height"): ("red",),
    ("decoder", "decoder is none that there is"): ("ffmpeg", "auto", None, ["pyav"]),
    ("warnings", "warnings must be a list of at most 64"): ("x", None, {}, ["x"] * 65),
    ("warnings.0", "warnings must be at most 500 printable"): (
        *("a\nb", "\0", "\x1b[2J", "\ud83d", "\udcff", "\u202e", "\ufffe", "\u2028", "x" * 501),
        *(7, None, ["x"]),
    ),
    ("score", "must have the fields info"): (100,),
}


@pytest.mark.parametrize(
    ("where", "message", "wrong"), [(*key, wrong) for key, values in LIES.items() for wrong in values]
)
def test_a_sample_that_lies_is_refused_before_its_pixels_are_read(
    request_: DecodeRequest, sample: DecodedSample, where: str, message: str, wrong: object
) -> None:
    header: dict[str, Any] = {
        "info": asdict(sample.info),
        "decoder": sample.decoder,
        "warnings": ["sound", "sound"],
        "num_frames": len(sample.frames),
    }
    place, _, name = where.rpartition(".")
    target = header[place] if place else header
    target[int(name) if name.isdigit() else name] = wrong
    stream = _answer(header, b"pixels")
    with pytest.raises(BadAnswerError, match=message) as caught:
        read_answer(stream, request_)
    assert stream.read() == b"pixels"
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_whatever_an_answer_holds_it_is_a_sample_or_one_of_three_errors(
    request_: DecodeRequest, sample: DecodedSample
) -> None:
    """Bytes and values of a sound answer are changed at random; what is taken all goes into Arrow."""
    rng = np.random.default_rng(5)
    sound = _written(write_sample, replace(sample, warnings=("odd: 1", "odd: 2"))).getvalue()
    end = 8 + struct.unpack("<Q", sound[:8])[0]
    header = json.loads(sound[8:end])
    outcomes: Counter[str] = Counter()
    for _ in range(4000):
        if rng.random() < 0.5:
            content = bytearray(sound[8:end])
            for place in rng.integers(len(content), size=rng.integers(1, 4)):
                content[place] = rng.integers(256)
        else:
            content = bytearray(json.dumps(_changed(header, rng)).encode())
        stream = io.BytesIO(struct.pack("<Q", len(content)) + content + sound[end:])
        try:
            taken = read_answer(stream, request_)
        except (BadAnswerError, DecodeError, EOFError) as error:
            outcomes[type(error).__name__ if str(error).isprintable() else "unprintable"] += 1
        else:
            outcomes["sample"] += 1
            row = asdict(taken.info) | {"decoder": taken.decoder, "decode_warnings": list(taken.warnings)}
            table = pa.table({name: pa.array([value], _COLUMNS[name]) for name, value in row.items()})
            table.validate(full=True)
    assert outcomes["sample"] > 100
    assert not outcomes["unprintable"]
    assert outcomes["BadAnswerError"] > 1000


_COLUMNS = {
    "width": pa.int32(),
    "height": pa.int32(),
    "fps": pa.float64(),
    "num_frames": pa.int64(),
    "duration_seconds": pa.float64(),
    "codec": pa.string(),
    "decoder": pa.string(),
    "decode_warnings": pa.list_(pa.string()),
}
_ODD = (
    None,
    True,
    -1,
    0,
    1,
    16,
    1 << 31,
    1 << 62,
    10**30,
    -0.0,
    1e-320,
    1e300,
    "",
    "h264",
    "\ud800",
    "\n",
    [],
    {},
    ["x"],
)


def _changed(value: Any, rng: np.random.Generator) -> Any:
    """Put something odd in one place of a tree."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = str(rng.choice(list(value)))
        changed = dict(value)
        if rng.random() < 0.1:
            changed.pop(name)
        else:
            changed[name] = _changed(value[name], rng)
        return changed
    if isinstance(value, list) and value and rng.random() < 0.9:
        return [*value[:-1], _changed(value[-1], rng)]
    return _ODD[rng.integers(len(_ODD))]


def test_every_field_of_a_video_is_checked() -> None:
    assert set(wire._INFO_FIELDS) == {field.name for field in fields(VideoInfo)}


@pytest.mark.parametrize(
    ("said", "arrives"),
    [
        ("a\nb\0\x1b[2J", r"a\nb\x00\x1b[2J"),
        ("half \ud83d", r"half \ud83d"),
        ("turned \u202e", r"turned \u202e"),
        ("Vidéo 影片 🎬", "Vidéo 影片 🎬"),
        ("x" * 10_000, "x" * 500),
        ("\0" * 10_000, r"\x00" * 125),
    ],
)
def test_what_an_honest_cell_says_of_odd_names_arrives_as_printable_text(
    request_: DecodeRequest, sample: DecodedSample, said: str, arrives: str
) -> None:
    with pytest.raises(DecodeError) as caught:
        read_answer(_written(write_error, DecodeError("decode_failed", said)), request_)
    assert str(caught.value) == arrives
    sent = replace(sample, warnings=(said,))
    assert read_answer(_written(write_sample, sent), request_).warnings == (arrives,)


def test_of_very_many_warnings_the_first_arrive_with_the_number_of_the_others(
    request_: DecodeRequest, sample: DecodedSample
) -> None:
    sent = replace(sample, warnings=tuple(f"odd: {number}" for number in range(5000)))
    received = read_answer(_written(write_sample, sent), request_).warnings
    assert received[:63] == sent.warnings[:63]
    assert received[63:] == ("more_warnings: 4937 are left out",)


def test_a_header_that_never_ends_is_refused(request_: DecodeRequest) -> None:
    with pytest.raises(BadAnswerError, match="at most 1048576 bytes, got 1099511627776"):
        read_answer(io.BytesIO(struct.pack("<Q", 1 << 40)), request_)


def test_segments_that_point_outside_are_refused(request_: DecodeRequest, sample: DecodedSample) -> None:
    for wrong in (-1, len(sample.frames)):
        segments = sample.segments.copy()
        segments[0, 0] = wrong
        with pytest.raises(BadAnswerError, match=r"segments point outside 0\.\.15"):
            read_answer(_written(write_sample, replace(sample, segments=segments)), request_)
