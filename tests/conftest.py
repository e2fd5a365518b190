"""What several packages' tests share: a real S3 server, small real videos, and marks of what takes long."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import media
import pytest
from s3server import S3Server, running_s3_server

NO_RAY = "no-ray-in-a-test-without-the-mark:1"
RAY_ADDRESS = os.environ.get("RAY_ADDRESS", "local")  # so that few videos are scored on Ray too


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the S3 server, and begin with files that start Ray: begun last, they ran alone."""
    for item in items:
        if "s3" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.s3)
    longest = {item.path for item in items if item.get_closest_marker("ray")}
    items.sort(key=lambda item: item.path not in longest)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let Ray start only where a test is marked `ray`, so that what `make test-fast` runs stays fast."""
    os.environ["RAY_ADDRESS"] = RAY_ADDRESS if item.get_closest_marker("ray") else NO_RAY


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Bring back the variables that a command forgot: some run in the process of the tests."""
    before = dict(os.environ)
    yield
    for name, value in before.items():
        os.environ.setdefault(name, value)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running S3 server with one bucket, named by the AWS_* variables until the session ends."""
    with (
        running_s3_server(tmp_path_factory.mktemp("s3")) as server,
        pytest.MonkeyPatch.context() as environment,
    ):
        for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL_S3"):
            environment.delenv(name, raising=False)
        for name, value in server.environment.items():
            environment.setenv(name, value)
        yield server


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small real videos and hostile files, by file name (see `tests/support/media.py`)."""
    folder = tmp_path_factory.mktemp("media")
    return media.make_videos(folder) | media.make_hostile_files(folder)
