"""What a decoding process answers is data, and only the data that was asked for."""

from __future__ import annotations

import io
import json
import os
import pickle
import socket
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securevqa_core.decoding.extract import DecodedSample, DecodeRequest, extract_sample
from securevqa_core.decoding.wire import (
    BadAnswerError,
    read_answer,
    read_request,
    write_error,
    write_request,
    write_sample,
)
from securevqa_core.errors import DecodeError

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


def test_a_request_arrives_as_it_was_sent_with_its_file(request_: DecodeRequest, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    ours, theirs = socket.socketpair()
    with ours, theirs, (tmp_path / "file").open("rb") as file:
        write_request(ours, file.fileno(), request_)
        arrived = read_request(theirs)
        assert arrived is not None
        descriptor, request = arrived
        assert request == request_
        assert descriptor != file.fileno()
        assert os.pread(descriptor, 10, 0) == b"content"
        os.close(descriptor)
        ours.close()
        assert read_request(theirs) is None  # nothing follows


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
        ([], "unreadable answer"),
        ({}, "unreadable answer: KeyError"),
        ({"num_frames": "many"}, "unreadable answer: ValueError"),
        ({"num_frames": -1}, "num_frames is out of range: -1"),
        ({"num_frames": 17}, "num_frames is out of range: 17"),
        ({"num_frames": 10**12}, "num_frames is out of range: 1000000000000"),
        ({"error_code": "made_up", "message": ""}, "unknown error code 'made_up'"),
        ({"error_code": "fetch_denied", "message": ""}, "unknown error code 'fetch_denied'"),
        ({"error_code": ["x"], "message": ""}, "unreadable answer: TypeError"),
    ],
)
def test_an_answer_that_breaks_the_rules_is_refused(
    request_: DecodeRequest, header: object, message: str
) -> None:
    with pytest.raises(BadAnswerError, match=message):
        read_answer(_answer(header), request_)


def test_a_header_that_never_ends_is_refused(request_: DecodeRequest) -> None:
    with pytest.raises(BadAnswerError, match="at most 1048576 bytes, got 1099511627776"):
        read_answer(io.BytesIO(struct.pack("<Q", 1 << 40)), request_)


def test_segments_that_point_outside_are_refused(request_: DecodeRequest, sample: DecodedSample) -> None:
    for wrong in (-1, len(sample.frames)):
        segments = sample.segments.copy()
        segments[0, 0] = wrong
        with pytest.raises(BadAnswerError, match=r"segments point outside 0\.\.15"):
            read_answer(_written(write_sample, replace(sample, segments=segments)), request_)


def test_an_info_with_other_fields_is_refused(request_: DecodeRequest, sample: DecodedSample) -> None:
    header = {"info": {"widht": 1}, "decoder": "pyav", "warnings": [], "num_frames": len(sample.frames)}
    payload = b"".join(
        np.ascontiguousarray(a).tobytes() for a in (sample.patches, sample.frames, sample.segments)
    )
    with pytest.raises(BadAnswerError, match="unreadable answer: TypeError"):
        read_answer(_answer(header, payload), request_)


def test_a_message_without_end_is_cut(request_: DecodeRequest) -> None:
    with pytest.raises(DecodeError) as caught:
        read_answer(_answer({"error_code": "decode_failed", "message": "x" * 10_000}), request_)
    assert len(str(caught.value)) == 500
