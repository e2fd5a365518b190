"""What fetching promises: every byte or a typed error, in bounded time, space and number of attempts."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import pickle
import resource
import socket
import socketserver
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from webserver import CONTENT, Web

from operators.fetch import ABSENT, PIECE_BYTES, FetchAttemptError, content_versions, fetch
from securevqa_core.errors import ConfigurationError, may_pass

CLOSED_ENDPOINT = "http://127.0.0.1:1"


@pytest.fixture
def ranges() -> list[tuple[str, str | None]]:
    """Range and If-Range of what the web server was asked below /cut."""
    return []


@pytest.fixture
def web(ranges: list[tuple[str, str | None]]) -> Iterator[str]:
    handler = type("FreshWeb", (Web,), {"seen": {}, "ranges": ranges})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def fetch_failure(uri: str, target: BinaryIO | None = None, **limits: Any) -> FetchAttemptError:
    options = {"max_bytes": 10**8, "timeout_seconds": 30.0} | limits
    with pytest.raises(FetchAttemptError) as caught:
        fetch(uri, target or io.BytesIO(), **options)
    return caught.value


@pytest.mark.parametrize("buffering", [0, -1])
def test_local_bytes_and_digest_are_exact(tmp_path: Path, buffering: int) -> None:
    (tmp_path / "a #1?.mp4").write_bytes(CONTENT)
    with tempfile.TemporaryFile(buffering=buffering, dir=tmp_path) as target:
        target.write(b"left over from another video" * 10**6)
        done = fetch(str(tmp_path / "a #1?.mp4"), target, max_bytes=len(CONTENT), timeout_seconds=30)
        assert target.read() == CONTENT
    assert done.content_sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert (done.size_bytes, done.attempts) == (len(CONTENT), 1)
    assert 0 < done.seconds < 30


def test_s3_bytes_and_digest_are_exact(s3: Any) -> None:
    s3.fs.pipe_file(f"{s3.bucket}/clip one.mp4", CONTENT)
    target = io.BytesIO()
    done = fetch(f"{s3.bucket_uri}/clip one.mp4", target, max_bytes=10**8, timeout_seconds=30)
    assert target.getvalue() == CONTENT
    assert done.content_sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_an_empty_file_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert fetch(str(tmp_path / "empty"), io.BytesIO(), max_bytes=1, timeout_seconds=5).size_bytes == 0


@pytest.mark.parametrize("uri", ["/nowhere/a.mp4", "/etc/passwd/a.mp4", "/" + "n" * 300])
def test_a_missing_local_file_is_not_found(uri: str) -> None:
    error = fetch_failure(uri)
    assert (error.code, error.attempts) == ("fetch_not_found", 1)
    assert uri in str(error)


def test_a_name_no_file_can_have_is_a_failure() -> None:
    error = fetch_failure("/a\0b.mp4")
    assert error.code == "fetch_failed"
    assert "a\\x00b" in str(error)


@pytest.mark.parametrize("key", ["missing.mp4", "folder"])
def test_a_missing_s3_object_is_not_found(s3: Any, key: str) -> None:
    s3.fs.pipe_file(f"{s3.bucket}/folder/a", b"x")
    error = fetch_failure(f"{s3.bucket_uri}/{key}")
    assert (error.code, error.attempts) == ("fetch_not_found", 1)
    assert key in str(error)


def test_a_missing_bucket_is_not_found(s3: Any) -> None:
    assert fetch_failure("s3://no-such-bucket/a").code == "fetch_not_found"


def test_wrong_credentials_are_denied_at_once(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    error = fetch_failure(f"{s3.bucket_uri}/clip one.mp4")
    assert (error.code, error.attempts) == ("fetch_denied", 1)


def test_a_closed_endpoint_is_unreachable(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", CLOSED_ENDPOINT)
    error = fetch_failure("s3://bucket/a.mp4", max_attempts=2)
    assert (error.code, error.attempts) == ("fetch_unreachable", 2)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "odd.mp4")
    error = fetch_failure(str(tmp_path / "odd.mp4"))
    assert (error.code, may_pass(error.code)) == ("fetch_not_found", False)
    assert "not a regular file" in str(error)


def test_too_large_is_found_before_and_while_reading(tmp_path: Path, web: str) -> None:
    (tmp_path / "big").write_bytes(CONTENT)
    for uri in (str(tmp_path / "big"), f"{web}/plain", f"{web}/unannounced"):
        target = io.BytesIO()
        error = fetch_failure(uri, target, max_bytes=len(CONTENT) - 1)
        assert (error.code, error.attempts) == ("fetch_too_large", 1)
        assert str(len(CONTENT) - 1) in str(error)
        assert len(target.getvalue()) < len(CONTENT)


def test_a_full_disk_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    with Path("/dev/full").open("wb", buffering=0) as target:
        error = fetch_failure(str(tmp_path / "a"), target)
    assert (error.code, error.attempts) == ("scratch_full", 1)
    assert str(tmp_path / "a") in str(error)


def test_a_file_size_limit_is_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CONTENT)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with tempfile.TemporaryFile(buffering=0, dir=tmp_path) as target:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, hard))
        try:
            error = fetch_failure(str(tmp_path / "a"), target)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.code == "scratch_full"


def test_a_scratch_file_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with (tmp_path / "a").open("rb") as target:
        error = fetch_failure(str(tmp_path / "a"), target)
    assert error.code == "fetch_failed"
    assert "scratch" in str(error)


FROM_THE_START = ("", None)
FROM_THE_CUT = (f"bytes={PIECE_BYTES}-", '"one"')


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        ("same", [FROM_THE_START, FROM_THE_CUT]),
        ("ignored", [FROM_THE_START, FROM_THE_CUT]),  # a server that knows no ranges sends all of it
        ("elsewhere", [FROM_THE_START, FROM_THE_CUT, FROM_THE_START]),  # one that sends another range
        ("weak", [FROM_THE_START, FROM_THE_START]),  # a tag that may outlive the bytes
    ],
)
def test_a_web_fetch_that_is_cut_goes_on_where_it_ended(
    web: str, ranges: list[tuple[str, str | None]], kind: str, asked: list[tuple[str, str | None]]
) -> None:
    target = io.BytesIO()
    done = fetch(f"{web}/cut/{kind}", target, max_bytes=len(CONTENT), timeout_seconds=120)
    assert target.getvalue() == CONTENT
    assert done.content_sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert (done.attempts, done.size_bytes, ranges) == (2, len(CONTENT), asked)


def test_a_web_object_that_changed_meanwhile_is_fetched_anew(web: str) -> None:
    target = io.BytesIO()
    done = fetch(f"{web}/cut/changed", target, max_bytes=len(CONTENT), timeout_seconds=120)
    assert target.getvalue() == CONTENT[::-1]
    assert done.content_sha256 == hashlib.sha256(CONTENT[::-1]).hexdigest()


@contextlib.contextmanager
def cut_connections(endpoint: str, after_bytes: int, at_the_cut: Callable[[], object]) -> Iterator[list[int]]:
    """Pass connections on to `endpoint`, cutting the first in mid answer; yield [port, bytes answered...]."""
    seen: list[int] = []

    class Passage(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            host, port = endpoint.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port))) as server:
                threading.Thread(target=self.send_on, args=(server,), daemon=True).start()
                number, answered = len(seen), 0
                seen.append(0)
                while piece := server.recv(1 << 16):
                    answered += len(piece)
                    seen[number] = answered
                    if len(seen) == 2 and answered > after_bytes:
                        at_the_cut()
                        self.request.shutdown(socket.SHUT_RDWR)
                        return
                    self.request.sendall(piece)

        def send_on(self, server: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while piece := self.request.recv(1 << 16):
                    server.sendall(piece)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Passage) as passage:
        passage.daemon_threads = True
        seen.append(passage.server_address[1])
        thread = threading.Thread(target=passage.serve_forever, args=(0.02,))
        thread.start()
        yield seen
        passage.shutdown()
        thread.join()


@pytest.mark.parametrize("changes", [False, True])
def test_an_s3_fetch_that_is_cut_goes_on_where_it_ended_unless_the_object_changed(
    s3: Any, monkeypatch: pytest.MonkeyPatch, changes: bool
) -> None:
    key = f"{s3.bucket}/cut{changes}.mp4"
    s3.fs.pipe_file(key, CONTENT)
    other = CONTENT[::-1]
    change = functools.partial(s3.fs.pipe_file, key, other) if changes else lambda: None
    target = io.BytesIO()
    with cut_connections(s3.endpoint, 3 << 20, change) as seen:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{seen[0]}")
        done = fetch(f"s3://{key}", target, max_bytes=len(CONTENT), timeout_seconds=120)
    assert target.getvalue() == (other if changes else CONTENT)
    assert done.content_sha256 == hashlib.sha256(target.getvalue()).hexdigest()
    assert done.attempts == 2
    of_the_rest = sum(seen[2:])
    assert (of_the_rest > len(CONTENT)) == changes
    assert changes or of_the_rest < len(CONTENT) - PIECE_BYTES + 10_000  # with headers


@pytest.mark.slow
@pytest.mark.parametrize("code", [500, 503, 429])
def test_a_failure_that_passes_is_tried_again_from_the_start(web: str, code: int) -> None:
    target = io.BytesIO()
    done = fetch(f"{web}/fails/2/{code}", target, max_bytes=10**8, timeout_seconds=30)
    assert done.attempts == 3
    assert target.getvalue() == CONTENT


def test_a_body_that_ends_early_is_tried_again_not_believed(web: str) -> None:
    target = io.BytesIO()
    done = fetch(f"{web}/short", target, max_bytes=10**8, timeout_seconds=30)
    assert done.attempts == 2
    assert done.content_sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert target.getvalue() == CONTENT


@pytest.mark.parametrize(
    ("status", "code", "attempts"),
    [
        (404, "fetch_not_found", 1),
        (403, "fetch_denied", 1),
        (401, "fetch_denied", 1),
        (400, "fetch_failed", 1),
        (500, "fetch_failed", 3),
    ],
)
def test_web_errors_are_typed_and_hide_the_query(web: str, status: int, code: str, attempts: int) -> None:
    error = fetch_failure(f"{web}/fails/9/{status}?signature=secret")
    assert (error.code, error.attempts) == (code, attempts)
    assert f"{web}/fails/9/{status}" in str(error)
    assert f"HTTP {status}" in str(error)
    assert "secret" not in str(error)
    assert error.__cause__ is None  # its text repeats the query


@pytest.mark.slow
def test_a_trickling_body_ends_at_the_time_limit(web: str) -> None:
    started = time.monotonic()
    error = fetch_failure(f"{web}/slow", timeout_seconds=1.0)
    assert time.monotonic() - started < 4
    assert (error.code, error.attempts) == ("fetch_unreachable", 1)
    assert "timeout_seconds=1" in str(error)


def test_an_unknown_scheme_is_a_failure() -> None:
    error = fetch_failure("zip://a.mp4::s3://bucket/b.zip")
    assert error.code == "fetch_failed"
    assert "'zip'" in str(error)


def test_attempts_survive_a_journey_between_processes() -> None:
    error = pickle.loads(pickle.dumps(FetchAttemptError("fetch_denied", "no", 2)))
    assert (error.code, error.stage, str(error), error.attempts) == ("fetch_denied", "fetch", "no", 2)


@pytest.mark.parametrize(
    "limits",
    [{"max_bytes": 0}, {"timeout_seconds": -1.5}, {"timeout_seconds": float("nan")}, {"max_attempts": 0}],
)
def test_limits_outside_their_range_are_named(limits: dict[str, Any]) -> None:
    [(name, value)] = limits.items()
    with pytest.raises(ConfigurationError, match=rf"{name}.*{value}"):
        fetch("/a", io.BytesIO(), **({"max_bytes": 1, "timeout_seconds": 1.0} | limits))


def test_versions_change_with_the_content_and_only_then(s3: Any, tmp_path: Path) -> None:
    local = tmp_path / "a"
    local.write_bytes(b"one")
    s3.fs.pipe_file(f"{s3.bucket}/versioned", b"one")
    uris = [str(local), f"{s3.bucket_uri}/versioned"]
    first = content_versions(uris)
    assert content_versions(uris) == first
    assert None not in first
    os.utime(local, ns=(1, 1))
    s3.fs.pipe_file(f"{s3.bucket}/versioned", b"two")
    second = content_versions(uris)
    assert all(before != after for before, after in zip(first, second, strict=True))


@pytest.mark.parametrize(("quick_seconds", "is_alone"), [(60.0, True), (1e-4, False)])
def test_one_thread_asks_what_answers_at_once_and_many_what_does_not(
    monkeypatch: pytest.MonkeyPatch, quick_seconds: float, is_alone: bool
) -> None:
    threads = set()

    def version_parts(uri: str, **_: Any) -> tuple[str]:
        threads.add(threading.get_ident())
        time.sleep(1e-3)
        return (uri,)

    monkeypatch.setattr("operators.fetch.storage.version_parts", version_parts)
    monkeypatch.setattr("operators.fetch.QUICK_SECONDS", quick_seconds)
    uris = [f"/{number}" for number in range(300)]
    versions = content_versions(uris)
    assert (threads == {threading.get_ident()}) == is_alone
    assert len(set(versions)) == len(uris)
    assert versions[::100] == [version for uri in uris[::100] for version in content_versions([uri])]


def test_versions_that_cannot_be_known_are_none(s3: Any, tmp_path: Path, web: str) -> None:
    (tmp_path / "a").touch()
    uris = [
        str(tmp_path),
        "nosuch://a",
    ]
    versions = content_versions([*uris, str(tmp_path / "a"), f"{web}/tagged"])
    assert versions[: len(uris)] == [None] * len(uris)
    assert None not in versions[len(uris) :]


def test_what_is_not_there_has_a_version_of_its_own(s3: Any, web: str) -> None:
    uris = ["/nowhere", f"{s3.bucket_uri}/none", "s3://no-such-bucket/a", f"{web}/x"]
    assert content_versions(uris) == [ABSENT] * len(uris)


def test_versions_of_a_silent_endpoint_come_back_soon(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", CLOSED_ENDPOINT)
    started = time.monotonic()
    assert content_versions([f"s3://bucket/{n}" for n in range(2000)] + ["/etc/passwd"])[-1] is not None
    assert time.monotonic() - started < 30


def test_versions_need_a_worker() -> None:
    with pytest.raises(ConfigurationError, match=r"max_workers.*0"):
        content_versions([], max_workers=0)
