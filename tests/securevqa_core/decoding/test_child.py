"""What a decoding process may not do, and that it never outlives its worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import is_alive

from securevqa_core.decoding.extract import DecodeRequest
from securevqa_core.decoding.sandbox import DecodeSandbox
from securevqa_core.types import DecodeLimits

RequestMaker = Callable[..., DecodeRequest]


def test_the_process_sees_no_secret(
    monkeypatch: pytest.MonkeyPatch, videos: dict[str, Path], make_request: RequestMaker
) -> None:
    secrets = {"SECUREVQA_KEY": "s3cr3t-key-value", "AWS_SECRET_ACCESS_KEY": "s3cr3t-aws-value"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    with DecodeSandbox(DecodeLimits()) as sandbox:
        sandbox.decode(str(videos["carphone_h264.mkv"]), make_request())
        environment = Path(f"/proc/{sandbox.pid}/environ").read_bytes().decode()
        command = Path(f"/proc/{sandbox.pid}/cmdline").read_bytes().decode()
        for name, value in secrets.items():
            assert name not in environment
            assert value not in environment + command
        assert "PATH=" in environment
    assert os.environ["SECUREVQA_KEY"] == "s3cr3t-key-value"


def test_the_process_has_given_up_what_it_does_not_need(
    videos: dict[str, Path], make_request: RequestMaker
) -> None:
    with DecodeSandbox(DecodeLimits()) as sandbox:
        sandbox.decode(str(videos["carphone_h264.mkv"]), make_request())
        folder = Path(f"/proc/{sandbox.pid}")
        status = dict(line.split(":\t", 1) for line in (folder / "status").read_text().splitlines())
        table = (folder / "limits").read_text().splitlines()
        inherited = [str(link.readlink()) for link in (folder / "fd").iterdir()]
    assert status["NoNewPrivs"] == "1"
    limits = {line[:25].strip(): line[25:].split()[:2] for line in table}
    assert limits["Max address space"] == [str(3 << 30)] * 2
    assert limits["Max file size"] == ["0", "0"]
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max open files"] == ["64", "64"]
    assert not any("socket" in target or target.endswith((".mp4", ".mkv")) for target in inherited)


def test_a_confined_process_cannot_write_a_file(tmp_path: Path) -> None:
    code = (
        "import sys; from securevqa_core.decoding.child import confine; confine(1 << 30);"
        "open(sys.argv[1], 'wb', buffering=0).write(b'x')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "written")], capture_output=True, timeout=60, check=False
    )
    assert b"File too large" in done.stderr or -done.returncode == signal.SIGXFSZ
    assert (tmp_path / "written").read_bytes() == b""


def test_a_confined_process_cannot_widen_its_limits() -> None:
    code = (
        "import resource; from securevqa_core.decoding.child import confine; confine(1 << 30);"
        "import os; os.setuid(65534) if os.getuid() == 0 else None;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert b"not allowed to raise maximum limit" in done.stderr


@pytest.mark.parametrize("is_busy", [False, True])
def test_the_process_dies_with_its_worker(tmp_path: Path, videos: dict[str, Path], is_busy: bool) -> None:
    fifo = tmp_path / "file"
    os.mkfifo(fifo)
    done = subprocess.run(
        [sys.executable, "-c", _WORKER, str(videos["carphone_h264.mkv"]), str(fifo) if is_busy else ""],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert -done.returncode == signal.SIGKILL, done.stderr
    pid = int(done.stdout)
    deadline = time.monotonic() + 5
    while is_alive(pid):
        assert time.monotonic() < deadline, "the decoding process outlived its worker"
        time.sleep(0.01)


_WORKER = """
import os, signal, sys, threading
from securevqa_core.decoding.extract import DecodeRequest, DrawSeeds
from securevqa_core.decoding.sandbox import DecodeSandbox
from securevqa_core.types import DecodeLimits, SamplingConfig

sampling = SamplingConfig(num_clips=1, clip_frames=1, num_segments=0)
draws = (DrawSeeds(skip_sampling=bytes(32), grid_sampling=bytes(32)),)
request = DecodeRequest(sampling=sampling, draws=draws)
sandbox = DecodeSandbox(DecodeLimits())
sandbox.decode(sys.argv[1], request)
print(sandbox.pid, flush=True)
if sys.argv[2]:
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
    sandbox.decode(sys.argv[2], request)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_process_outlives_the_thread_that_started_it(
    videos: dict[str, Path], make_request: RequestMaker
) -> None:
    pids = []
    with DecodeSandbox(DecodeLimits()) as sandbox:
        for _ in range(2):
            thread = threading.Thread(
                target=lambda: (
                    sandbox.decode(str(videos["carphone_h264.mkv"]), make_request()),
                    pids.append(sandbox.pid),
                )
            )
            thread.start()
            thread.join()
    assert len(pids) == 2
    assert pids[0] == pids[1]
