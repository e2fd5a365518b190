"""What storage promises: names are literal, schemes are never chained, messages hold no secret."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import NoCredentialsError, ReadTimeoutError

from operators import storage

ODD_NAMES = [
    "with space.mp4",
    "quote'\"<x>.mp4",
    "zip::s3:.mp4",
    "hash#question?percent%20.mp4",
    "glob*[ab]{c}.mp4",
    "line\nfeed.mp4",
    "é☃.mp4",
    "v?versionId=3",
    " trailing dot .",
    "~home",
]


def read(uri: str) -> bytes:
    with storage.open_reader(uri, timeout_seconds=20) as reader:
        content = b""
        while piece := reader.read(4, timeout_seconds=20):
            content += piece
        return content


@pytest.mark.parametrize(
    ("uri", "scheme"),
    [
        ("/data/a.mp4", "file"),
        ("a.mp4", "file"),
        ("file:///a.mp4", "file"),
        ("S3://bucket/a", "s3"),
        ("https://host/a", "https"),
        ("zip://a.mp4::s3://bucket/b.zip", "zip"),
        ("a::s3://bucket/b", "file"),
        ("simplecache::s3://bucket/b", "file"),
        ("/data/s3://x", "file"),
        ("", "file"),
    ],
)
def test_scheme_is_what_stands_before_the_first_separator(uri: str, scheme: str) -> None:
    assert storage.scheme_of(uri) == scheme


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://user:secret@host/a.mp4?sig=secret#secret", "https://host/a.mp4"),
        ("https://host?sig=secret@b/c", "https://..."),
        ("https://user:se?cret@host/a", "https://..."),
        ("s3://key:secret@bucket/a#b.mp4", "s3://bucket/a#b.mp4"),
        ("https://host/@name/a.mp4", "https://host/@name/a.mp4"),
        ("/data/a?b#c@d.mp4", "/data/a?b#c@d.mp4"),
    ],
)
def test_redacted_uri_holds_no_secret(uri: str, shown: str) -> None:
    assert storage.redact(uri) == shown


@pytest.mark.parametrize(
    ("base", "name", "joined"),
    [
        ("/data", "a b.mp4", "/data/a b.mp4"),
        ("/data/lists", "../a.mp4", "/data/a.mp4"),
        ("/data", "/other/a.mp4", "/other/a.mp4"),
        ("s3://bucket", "a.mp4", "s3://bucket/a.mp4"),
        ("s3://bucket/lists/", "../clips/./a?b.mp4", "s3://bucket/clips/a?b.mp4"),
        ("s3://bucket/lists", "../../../a.mp4", "s3://bucket/a.mp4"),
    ],
)
def test_relative_names_resolve_against_their_folder(base: str, name: str, joined: str) -> None:
    assert storage.join(base, name) == joined


@pytest.mark.parametrize("name", ODD_NAMES)
def test_local_names_open_as_they_are(tmp_path: Path, name: str) -> None:
    content = name.encode() * 3
    (tmp_path / name).write_bytes(content)
    assert read(f"{tmp_path}/{name}") == content
    assert read(f"file://{tmp_path}/{name}") == content


@pytest.mark.parametrize("name", ODD_NAMES)
def test_s3_keys_open_as_they_are(s3: Any, name: str) -> None:
    content = name.encode() * 3
    fs, _ = storage.open_filesystem(s3.bucket_uri)
    fs.call_s3("put_object", Bucket=s3.bucket, Key=f"odd/{name}", Body=content)
    assert read(f"{s3.bucket_uri}/odd/{name}") == content


def test_listings_are_never_stale(s3: Any) -> None:
    fs, path = storage.open_filesystem(f"{s3.bucket_uri}/fresh")
    for number in range(3):
        s3.fs.pipe_file(f"{path}/{number}", b"x")
        assert len(fs.find(path)) == number + 1


def test_credentials_in_a_uri_are_never_used(s3: Any) -> None:
    s3.fs.pipe_file(f"{s3.bucket}/plain", b"x")
    assert read(f"s3://wrong:secret@{s3.bucket}/plain") == b"x"


def test_a_change_of_environment_is_seen(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.fs.pipe_file(f"{s3.bucket}/guarded", b"x")
    assert read(f"{s3.bucket_uri}/guarded") == b"x"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    with pytest.raises(storage.StorageError) as caught:
        read(f"{s3.bucket_uri}/guarded")
    assert caught.value.kind == "denied"
    assert "wrong-secret" not in str(caught.value)


def test_threads_share_one_client(s3: Any) -> None:
    assert storage.open_filesystem("s3://a/b")[0] is storage.open_filesystem("s3://c/d")[0]


@pytest.mark.parametrize("scheme", ["nosuch", "simplecache", "zip"])
def test_schemes_that_cannot_stand_alone_are_refused_by_name(scheme: str) -> None:
    with pytest.raises(storage.StorageError, match=repr(scheme)):
        storage.open_filesystem(f"{scheme}://a::s3://b/c")


@pytest.mark.timeout(20)
def test_what_is_not_a_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for path, kind in [
            (tmp_path, "a directory"),
            (tmp_path / "fifo", "a FIFO"),
            (tmp_path / "socket", "a socket"),
            (Path("/dev/zero"), "a device"),
        ]:
            with pytest.raises(storage.StorageError, match=kind):
                read(str(path))


@pytest.mark.parametrize(
    ("error", "kind", "transient"),
    [
        (PermissionError(errno.EACCES, "no"), "denied", False),
        (FileNotFoundError("no"), "not_found", False),
        (NotADirectoryError(errno.ENOTDIR, "no"), "not_found", False),
        (ConnectionResetError(errno.ECONNRESET, "no"), "unreachable", True),
        (TimeoutError(), "unreachable", True),
        (OSError(errno.EBUSY, "no"), "failed", True),
        (OSError(errno.EINVAL, "no"), "failed", False),
        (ValueError("secret"), "failed", False),
        (NoCredentialsError(), "denied", False),
        (ReadTimeoutError(endpoint_url="http://secret"), "unreachable", True),
    ],
    ids=repr,
)
def test_foreign_errors_are_sorted_and_not_quoted(error: Exception, kind: str, transient: bool) -> None:
    with pytest.raises(storage.StorageError) as caught, storage.translated():
        raise error
    assert (caught.value.kind, caught.value.transient) == (kind, transient)
    assert caught.value.__cause__ is error
    assert "secret" not in str(caught.value)
    number = getattr(error, "errno", None)  # its words are said, and else the name of the class
    assert str(caught.value).startswith(type(error).__name__ if number is None else os.strerror(number))


def test_missing_credentials_are_named_by_their_variables() -> None:
    with (
        pytest.raises(
            storage.StorageError, match=r"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_"
        ),
        storage.translated(),
    ):
        raise NoCredentialsError


def test_a_whole_bucket_is_refused() -> None:
    with pytest.raises(storage.StorageError, match="a whole bucket"):
        read("s3://bucket")


def test_a_scheme_without_a_reader_of_its_own_is_read_through_fsspec() -> None:
    fs, path = storage.open_filesystem("memory://box/a b?c.mp4")
    fs.pipe_file(path, b"0123456789")
    assert read("memory://box/a b?c.mp4") == b"0123456789"
    assert storage.version_parts("memory://box/a b?c.mp4", timeout_seconds=5)
