"""Fixtures of the pipeline's tests: places to write to, on a disk, in a real store, in one that is silent."""

from __future__ import annotations

from pathlib import Path

import pytest
from nightly import Nights
from s3server import S3Server


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty folder on a disk, and one in object storage."""
    if request.param == "local":
        return str(tmp_path)
    server: S3Server = request.getfixturevalue("s3")
    return f"{server.bucket_uri}/{tmp_path.name}"


@pytest.fixture
def silent_store(monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder in a store that nobody answers for."""
    for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    return "s3://bucket/run"


@pytest.fixture
def nights(place: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Nights:
    """Nights that are scored without Ray, on a disk and in object storage."""
    return Nights(folder=tmp_path_factory.mktemp("uploads"), place=place, patch=monkeypatch)
