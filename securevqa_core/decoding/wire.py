"""Owns what passes between a worker and a cell: a pickle inwards, plain data outwards.

A cell that a hostile file has taken over can answer what it likes, so nothing it sends is unpickled, and
what it sends is taken for nothing but what it is checked to be. An answer is one JSON header of numbers in
range and of short printable text, and the bytes of arrays whose shapes follow from it and the request.
Before it come the whole frames, where any were asked for, each with a header of its own; where nothing else
was asked for, the frame rate ends them.
"""

from __future__ import annotations

import json
import math
import pickle
import struct
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import IO, Any, NoReturn, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from securevqa_core.decoding.allowlist import CODECS
from securevqa_core.decoding.backend import BackendName
from securevqa_core.decoding.extract import DecodedSample, DecodeRequest, patches_shape
from securevqa_core.decoding.frames import FrameSink, FramesRequest
from securevqa_core.decoding.glances import GLANCES_SHAPE
from securevqa_core.decoding.probe import MAX_DURATION_SECONDS
from securevqa_core.doubts import MORE_WARNINGS
from securevqa_core.errors import ERROR_CODES, DecodeError, an
from securevqa_core.types import VideoInfo
from securevqa_core.whole_frames import Planes, WholeSink, whole_plan

__all__ = [
    "BadAnswerError",
    "FrameWriter",
    "PictureWriter",
    "Request",
    "Source",
    "read_answer",
    "read_frames_answer",
    "read_request",
    "request_bytes",
    "write_error",
    "write_rate",
    "write_sample",
]

_LENGTH = struct.Struct("<Q")
_MAX_HEADER_BYTES = 1 << 20
_MAX_TEXT_LENGTH = 500
_MAX_WARNINGS = 64
_MAX_SIDE = 1 << 30  # pixels; of a frame of one row
_MAX_FRAMES = 1 << 50
_MAX_FPS = float(1 << 32)
# Of whole frames: for each of two decoders, and again where packets are fields or pictures repeat.
_MAX_BEGINNINGS = 5
_CELLS_ERRORS = frozenset(code for code, meaning in ERROR_CODES.items() if meaning.stage == "decode")


Request = DecodeRequest | FramesRequest


class BadAnswerError(Exception):
    """The cell answered something that no honest one does."""


class Source(Protocol):
    """What bytes are read from."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill the buffer, or its beginning, and return how far; 0 at the end."""


def request_bytes(request: Request) -> bytes:
    """Return what a cell is asked; the worker is trusted, so a pickle will do."""
    return _block(pickle.dumps(request))


def read_request(stream: Source) -> Request:
    """Return what the worker asks.

    Raises:
        EOFError: the worker ended before it had asked.
    """
    request: Request = pickle.loads(_read_block(stream))  # noqa: S301 - from the worker, and before the file
    return request


def write_sample(stream: IO[bytes], sample: DecodedSample) -> None:
    """Answer with pixels."""
    warnings = [_plain(warning) for warning in sample.warnings]
    if len(warnings) > _MAX_WARNINGS:
        num_more = len(warnings) - _MAX_WARNINGS + 1
        warnings = [*warnings[: _MAX_WARNINGS - 1], f"{MORE_WARNINGS} {num_more} are left out"]
    header = {
        "info": asdict(sample.info),
        "decoder": sample.decoder,
        "warnings": warnings,
        "num_frames": len(sample.frames),
    }
    stream.write(_block(json.dumps(header).encode()))
    glances = () if sample.glances is None else (sample.glances,)
    for array in (sample.patches, sample.frames, sample.segments, *glances):
        stream.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    stream.flush()


class PictureWriter:
    """Sends whole frames as they are decoded, before the answer."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def begin(self, num_moments: int, fps: float | None) -> None:
        """Say how long the video is, from which both sides know which frames will come."""
        self._stream.write(_block(json.dumps({"begin": num_moments, "fps": fps}).encode()))

    def add(self, number: int, planes: Planes) -> None:
        """Send one frame."""
        height, width = planes[0].shape
        header = {"picture": number, "height": height, "width": width}
        self._stream.write(_block(json.dumps(header).encode()))
        for plane in planes:
            self._stream.write(np.ascontiguousarray(plane).data)


class FrameWriter:
    """Sends frames that nothing but themselves is asked of."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def begin(self) -> None:
        """Say that they come from the first on."""
        self._stream.write(_block(json.dumps({"frames": "begin"}).encode()))

    def add(self, pixels: NDArray[np.uint8]) -> None:
        """Send one frame, (h, w, channels)."""
        height, width, _ = pixels.shape
        self._stream.write(_block(json.dumps({"height": height, "width": width}).encode()))
        self._stream.write(np.ascontiguousarray(pixels).data)


def write_rate(stream: IO[bytes], fps: float | None) -> None:
    """End the frames with their number a second."""
    stream.write(_block(json.dumps({"fps": fps}).encode()))
    stream.flush()


def write_error(stream: IO[bytes], error: DecodeError) -> None:
    """Answer with a failure."""
    header = {"error_code": error.code, "message": _plain(str(error))}
    stream.write(_block(json.dumps(header).encode()))
    stream.flush()


def _plain(text: str) -> str:
    """Return text that `_text` takes: what a file names may hold anything."""
    shown = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text[:_MAX_TEXT_LENGTH])
    return shown[:_MAX_TEXT_LENGTH]


def read_answer(stream: Source, request: DecodeRequest, sink: WholeSink | None = None) -> DecodedSample:
    """Return the answer to `request`.

    Args:
        stream: what the cell writes to.
        request: what it was asked.
        sink: takes the whole frames that come before the answer.

    Raises:
        DecodeError: the one the cell answered with.
        EOFError: the cell ended before its answer did.
        BadAnswerError: the answer breaks the rules.
    """
    pictures = None if sink is None else _PictureReader(sink, request)
    header = _read_header(stream)
    while pictures is not None and pictures.takes(header, stream):
        header = _read_header(stream)
    if "error_code" in header:
        raise _error(header)
    return _sample(stream, header, request)


def read_frames_answer(stream: Source, request: FramesRequest, sink: FrameSink) -> float | None:
    """Give `sink` the frames that answer `request`, and return how many a second the video has.

    Raises:
        DecodeError, EOFError, BadAnswerError: as `read_answer`.
    """
    num_begun, num_frames, size = 0, 0, None
    while "fps" not in (header := _read_header(stream)):
        if "error_code" in header:
            raise _error(header)
        if "frames" in header:
            _fields(header, {"frames": _one_of(frozenset({"begin"}))})
            num_begun, num_frames, size = num_begun + 1, 0, None
            sink.begin()
            continue
        fields = _fields(header, _SIZE_FIELDS)
        height, width = shape = (fields["height"], fields["width"])
        num_frames += 1
        is_small = height * width <= request.limits.max_pixels and height <= (request.max_height or height)
        is_due = 1 <= num_begun <= _MAX_BEGINNINGS and num_frames <= request.max_frames
        if not (is_small and is_due and size in (None, shape)):
            raise BadAnswerError(f"frame {num_frames} of {shape} was not asked for")
        size = shape
        sink.add(_read_array(stream, (height, width, request.channels), np.uint8))
    fps: float | None = _fields(header, {"fps": _number_or_null(0.0, _MAX_FPS)})["fps"]
    if not num_frames:
        raise BadAnswerError("there are no frames")
    return fps or None


class _PictureReader:
    """Hands on whole frames, and refuses what nobody asked for: no size and no number is taken on trust."""

    def __init__(self, sink: WholeSink, request: DecodeRequest) -> None:
        self._sink, self._request = sink, request
        self._awaited: set[int] = set()
        self._size: tuple[int, int] | None = None
        self._num_begun = 0

    def takes(self, header: Mapping[str, object], stream: Source) -> bool:
        """Tell whether `header` is of a frame or of their beginning, having read what belongs to it."""
        if "begin" in header:
            self._begin(_fields(header, _BEGIN_FIELDS))
        elif "picture" in header:
            self._picture(_fields(header, _PICTURE_FIELDS), stream)
        else:
            return False
        return True

    def _begin(self, fields: Mapping[str, Any]) -> None:
        num_moments, fps = fields["begin"], fields["fps"]
        plan = whole_plan(num_moments, fps, self._request.sampling)
        self._num_begun += 1
        if plan is None or self._num_begun > _MAX_BEGINNINGS:
            raise BadAnswerError(f"whole frames begin {self._num_begun} times")
        self._awaited, self._size = set(plan.wanted.tolist()), None
        self._sink.begin(num_moments, fps)

    def _picture(self, fields: Mapping[str, Any], stream: Source) -> None:
        number, size = fields["picture"], (fields["height"], fields["width"])
        sampling = self._request.sampling
        is_small = size[0] * size[1] <= self._request.limits.max_pixels
        if sampling.picture_rate:  # all of one size, and so much is held of a video
            is_small = size == (sampling.picture_height, sampling.picture_width)
        if number not in self._awaited or not is_small or self._size not in (None, size):
            raise BadAnswerError(f"frame {number} of {size} was not asked for")
        self._awaited.remove(number)
        self._size = size
        other = size if sampling.picture_rate else tuple(-(-side // 2) for side in size)
        first, second, third = (_read_array(stream, shape, np.uint8) for shape in (size, other, other))
        self._sink.add(number, (first, second, third))


def _read_header(stream: Source) -> dict[str, Any]:
    return _header(_read_block(stream, max_bytes=_MAX_HEADER_BYTES))


def _header(content: bytes) -> dict[str, Any]:
    try:
        header = json.loads(content.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadAnswerError(f"unreadable answer: {type(error).__name__}") from error
    if not isinstance(header, dict):
        raise BadAnswerError(f"the header is of type {type(header).__name__}")
    return header


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _error(header: Mapping[str, object]) -> DecodeError:
    fields = _fields(header, {"error_code": _one_of(_CELLS_ERRORS), "message": _text})
    return DecodeError(fields["error_code"], fields["message"])


def _sample(stream: Source, header: Mapping[str, object], request: DecodeRequest) -> DecodedSample:
    config = request.sampling
    max_frames = config.num_segments * config.segment_frames
    fields = _fields(header, _SAMPLE_FIELDS | {"num_frames": _integer(0, max_frames)})
    num_frames, side = fields["num_frames"], config.segment_side
    patches = _read_array(stream, patches_shape(len(request.draws), config), np.uint8)
    frames = _read_array(stream, (num_frames, side, side, 3), np.uint8)
    segments = _read_array(stream, (config.num_segments, config.segment_frames), np.int64)
    if segments.size and not (segments.min() >= 0 and segments.max() < num_frames):
        raise BadAnswerError(f"segments point outside 0..{num_frames - 1}")
    glances = _read_array(stream, GLANCES_SHAPE, np.uint8) if request.takes_glances else None
    return DecodedSample(
        info=fields["info"],
        patches=patches,
        frames=frames,
        segments=segments,
        decoder=fields["decoder"],
        warnings=fields["warnings"],
        glances=glances,
    )


_Parser = Callable[[str, object], Any]  # (name, value) -> the value that was checked, or BadAnswerError


def _fields(value: object, parsers: Mapping[str, _Parser]) -> dict[str, Any]:
    """Return the fields of an object that has these and no others."""
    if not isinstance(value, dict) or value.keys() != parsers.keys():
        raise BadAnswerError(f"an object must have the fields {', '.join(parsers)}")
    return {name: parse(name, value[name]) for name, parse in parsers.items()}


def _integer(low: int, high: int) -> _Parser:
    def parse(name: str, value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise BadAnswerError(f"{name} must be an integer in {low}..{high}, got {_shown(value)}")
        return value

    return parse


def _number_or_null(low: float, high: float) -> _Parser:
    def parse(name: str, value: object) -> float | None:
        if value is None:
            return None
        # Compared before it is converted: an integer may be too large for a float.
        if type(value) not in (int, float) or not low <= value <= high or not math.isfinite(value):  # type: ignore[operator, arg-type]
            raise BadAnswerError(f"{name} must be a number in {low:g}..{high:g}, got {_shown(value)}")
        return float(value)  # type: ignore[arg-type]

    return parse


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT_LENGTH or not value.isprintable():
        raise BadAnswerError(
            f"{name} must be at most {_MAX_TEXT_LENGTH} printable characters, got {_shown(value)}"
        )
    return value


def _one_of(allowed: frozenset[str]) -> _Parser:
    def parse(name: str, value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise BadAnswerError(f"{name} is none that there is: {_shown(value)}")
        return value

    return parse


def _texts(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _MAX_WARNINGS:
        raise BadAnswerError(f"{name} must be a list of at most {_MAX_WARNINGS}, got {_shown(value)}")
    return tuple(_text(name, one) for one in value)


def _info(_: str, value: object) -> VideoInfo:
    return VideoInfo(**_fields(value, _INFO_FIELDS))


def _shown(value: object) -> str:
    """Say what was got, in a few characters that print."""
    if isinstance(value, (bool, float, type(None))):
        return str(value)
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 64 else f"an integer of {value.bit_length()} bits"
    return ascii(value[:40]) if isinstance(value, str) else an(type(value).__name__)


_INFO_FIELDS: dict[str, _Parser] = {
    "width": _integer(1, _MAX_SIDE),
    "height": _integer(1, _MAX_SIDE),
    "fps": _number_or_null(0.0, _MAX_FPS),
    "num_frames": _integer(1, _MAX_FRAMES),
    "duration_seconds": _number_or_null(0.0, MAX_DURATION_SECONDS),
    "codec": _one_of(CODECS),
}
_SAMPLE_FIELDS: dict[str, _Parser] = {
    "info": _info,
    "decoder": _one_of(frozenset(get_args(BackendName))),
    "warnings": _texts,
}


_BEGIN_FIELDS: dict[str, _Parser] = {
    "begin": _integer(1, _MAX_FRAMES),
    "fps": _number_or_null(0.0, _MAX_FPS),
}
_SIZE_FIELDS: dict[str, _Parser] = {"height": _integer(1, _MAX_SIDE), "width": _integer(1, _MAX_SIDE)}
_PICTURE_FIELDS: dict[str, _Parser] = {"picture": _integer(0, _MAX_FRAMES), **_SIZE_FIELDS}


def _read_array(stream: Source, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    array = np.empty(shape, dtype=dtype)
    _fill(stream, array.reshape(-1).view(np.uint8).data)
    return array


def _block(content: bytes) -> bytes:
    return _LENGTH.pack(len(content)) + content


def _read_block(stream: Source, *, max_bytes: int | None = None) -> bytes:
    (length,) = _LENGTH.unpack(_read_exactly(stream, _LENGTH.size))
    if max_bytes is not None and length > max_bytes:
        raise BadAnswerError(f"a header may have at most {max_bytes} bytes, got {length}")
    return _read_exactly(stream, length)


def _read_exactly(stream: Source, length: int) -> bytes:
    content = bytearray(length)
    _fill(stream, memoryview(content))
    return bytes(content)


def _fill(stream: Source, view: memoryview) -> None:
    while view:
        count = stream.readinto(view)
        if not count:
            raise EOFError("the other process closed its end")
        view = view[count:]
