"""Owns what passes between a worker and its decoding process: pickles inwards, plain data outwards.

A decoding process that a hostile file has taken over can answer what it likes, so nothing it sends is
unpickled. An answer is one JSON header, checked against what was asked, and the bytes of arrays whose shapes
follow from both.
"""

from __future__ import annotations

import json
import pickle
import socket
import struct
from dataclasses import asdict
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from securevqa_core.decoding.extract import DecodedSample, DecodeRequest, patches_shape
from securevqa_core.errors import ERROR_CODES, DecodeError
from securevqa_core.types import VideoInfo

__all__ = ["BadAnswerError", "read_answer", "read_request", "write_error", "write_request", "write_sample"]

_LENGTH = struct.Struct("<Q")
_MAX_HEADER_BYTES = 1 << 20
_MAX_MESSAGE_LENGTH = 500


class BadAnswerError(Exception):
    """The decoding process answered something that no honest one does."""


def write_request(connection: socket.socket, descriptor: int, request: DecodeRequest) -> None:
    """Ask for one open file; the worker is trusted, so a pickle will do."""
    content = pickle.dumps(request)
    socket.send_fds(connection, [_LENGTH.pack(len(content))], [descriptor])
    connection.sendall(content)


def read_request(connection: socket.socket) -> tuple[int, DecodeRequest] | None:
    """Return the next request and its file, None once the worker has closed its end."""
    header, descriptors, _, _ = socket.recv_fds(connection, _LENGTH.size, 1)
    if len(header) < _LENGTH.size or not descriptors:
        return None
    with connection.makefile("rb", buffering=0) as stream:
        content = _read_exactly(cast("IO[bytes]", stream), _LENGTH.unpack(header)[0])
    request: DecodeRequest = pickle.loads(content)  # noqa: S301 - from the worker that started this process
    return descriptors[0], request


def write_sample(stream: IO[bytes], sample: DecodedSample) -> None:
    """Answer with pixels."""
    header = {
        "info": asdict(sample.info),
        "decoder": sample.decoder,
        "warnings": list(sample.warnings),
        "num_frames": len(sample.frames),
    }
    _write_block(stream, json.dumps(header).encode())
    for array in (sample.patches, sample.frames, sample.segments):
        stream.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    stream.flush()


def write_error(stream: IO[bytes], error: DecodeError) -> None:
    """Answer with a failure."""
    _write_block(stream, json.dumps({"error_code": error.code, "message": str(error)}).encode())


def read_answer(stream: IO[bytes], request: DecodeRequest) -> DecodedSample:
    """Return the answer to `request`.

    Raises:
        DecodeError: the one the decoding process answered with.
        EOFError: the process ended before its answer did.
        BadAnswerError: the answer breaks the rules.
    """
    try:
        header = json.loads(_read_block(stream, max_bytes=_MAX_HEADER_BYTES))
        if "error_code" in header:
            raise _error(header)
        return _sample(stream, header, request)
    except (KeyError, TypeError, ValueError) as error:
        raise BadAnswerError(f"unreadable answer: {type(error).__name__}") from error


def _error(header: dict[str, Any]) -> DecodeError:
    code, message = header["error_code"], str(header["message"])
    if code not in ERROR_CODES or ERROR_CODES[code].stage != "decode":
        raise BadAnswerError(f"unknown error code {str(code)[:40]!r}")
    return DecodeError(code, message[:_MAX_MESSAGE_LENGTH])


def _sample(stream: IO[bytes], header: dict[str, Any], request: DecodeRequest) -> DecodedSample:
    config = request.sampling
    num_frames = int(header["num_frames"])
    if not 0 <= num_frames <= config.num_segments * config.segment_frames:
        raise BadAnswerError(f"num_frames is out of range: {num_frames}")
    patches = _read_array(stream, patches_shape(len(request.draws), config), np.uint8)
    frames = _read_array(stream, (num_frames, config.segment_side, config.segment_side, 3), np.uint8)
    segments = _read_array(stream, (config.num_segments, config.segment_frames), np.int64)
    if segments.size and not (segments.min() >= 0 and segments.max() < num_frames):
        raise BadAnswerError(f"segments point outside 0..{num_frames - 1}")
    return DecodedSample(
        info=VideoInfo(**header["info"]),
        patches=patches,
        frames=frames,
        segments=segments,
        decoder=str(header["decoder"]),
        warnings=tuple(str(warning)[:_MAX_MESSAGE_LENGTH] for warning in header["warnings"]),
    )


def _read_array(stream: IO[bytes], shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    array = np.empty(shape, dtype=dtype)
    _fill(stream, array.reshape(-1).view(np.uint8).data)
    return array


def _write_block(stream: IO[bytes], content: bytes) -> None:
    stream.write(_LENGTH.pack(len(content)) + content)
    stream.flush()


def _read_block(stream: IO[bytes], *, max_bytes: int | None = None) -> bytes:
    (length,) = _LENGTH.unpack(_read_exactly(stream, _LENGTH.size))
    if max_bytes is not None and length > max_bytes:
        raise BadAnswerError(f"a header may have at most {max_bytes} bytes, got {length}")
    return _read_exactly(stream, length)


def _read_exactly(stream: IO[bytes], length: int) -> bytes:
    content = bytearray(length)
    _fill(stream, memoryview(content))
    return bytes(content)


def _fill(stream: IO[bytes], view: memoryview) -> None:
    while view:
        count = stream.readinto(view)  # type: ignore[attr-defined]
        if not count:
            raise EOFError("the other process closed its end")
        view = view[count:]
