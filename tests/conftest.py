"""Fixtures that several packages' tests share: a real S3 server and small real videos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import media
import pytest
from s3server import S3Server, running_s3_server


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
