"""What a decoding process may not do, and that it never outlives its worker."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cells import confined_cells, working_cell
from processes import descendants, is_alive

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


def test_a_cell_has_given_up_what_it_does_not_need(
    videos: dict[str, Path], make_request: RequestMaker, faults: Callable[[str], str]
) -> None:
    with DecodeSandbox(DecodeLimits()) as sandbox:
        sandbox.decode(str(videos["carphone_h264.mkv"]), make_request())
        assert sandbox.pid is not None
        request = make_request(decoder="pyav")
        gone = confined_cells(sandbox)
        with working_cell(sandbox, faults("import time; time.sleep(60)"), request) as cell:
            # Once the next is forked, what was handed over is closed.
            while len(set(descendants(sandbox.pid)) - gone) < 2:
                time.sleep(0.005)
            parent, child = _Facts(sandbox.pid), _Facts(cell)
    for facts in (parent, child):
        assert facts.status["NoNewPrivs"] == "1"
        assert facts.limits["Max address space"] == [str(3 << 30)] * 2
        assert facts.limits["Max file size"] == ["0", "0"]
        assert facts.limits["Max core file size"] == ["0", "0"]
        assert facts.limits["Max open files"] == ["64", "64"]
        assert facts.status["Seccomp"] == "2"  # a filter is in force
        assert facts.status["Threads"] == "1"  # a process of several is not safe to fork
        assert (facts.session, facts.terminal) == (int(parent.status["Pid"]), 0)
    assert int(child.status["Seccomp_filters"]) > int(parent.status["Seccomp_filters"])
    assert child.limits["Max cpu time"] == ["122", "123"]
    # Nothing, its two outputs, the channel to its worker and the file; nothing of the warm process.
    assert sorted(target.partition(":")[0] for target in child.open) == sorted(
        ["/dev/null", "pipe", "pipe", "socket", child.file]
    )
    assert not set(child.open) & (set(parent.open) - {"/dev/null"})
    assert not any(target.endswith((".mp4", ".mkv")) for target in parent.open)
    assert not [line for line in child.shared if "ws" in line.split()[1].replace("x", "-").replace("-", "")]


class _Facts:
    """What the kernel tells of a process."""

    def __init__(self, pid: int) -> None:
        folder = Path(f"/proc/{pid}")
        self.status = dict(line.split(":\t", 1) for line in (folder / "status").read_text().splitlines())
        table = (folder / "limits").read_text().splitlines()
        self.limits = {line[:25].strip(): line[25:].split()[:2] for line in table}
        self.open = [str(link.readlink()) for link in (folder / "fd").iterdir()]
        self.file = next((target for target in self.open if "fault" in target), "")
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        self.session, self.terminal = int(fields[3]), int(fields[4])
        self.shared = (folder / "maps").read_text().splitlines()


FORBIDDEN = {
    "read_a_file": "open('/etc/hostname', 'rb')",
    "write_a_file": "open('/tmp/x', 'wb')",
    "remove_a_file": "os.unlink('/tmp/x')",
    "rename_a_file": "os.rename('/tmp/x', '/tmp/y')",
    "make_a_folder": "os.mkdir('/tmp/x')",
    "make_a_socket": "socket.socket()",
    "make_a_local_socket": "socket.socketpair()",
    "fork": "os.fork()",
    "run_a_program": "os.execv('/bin/true', ['true'])",
    "signal_another_process": "os.kill(os.getppid(), 0)",
    "read_another_process": "libc_call(310, os.getppid())",
    "limit_another_process": "resource.prlimit(os.getppid(), resource.RLIMIT_CPU)",
    "trace": "libc_call(101, 0)",
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_confined_process_cannot(name: str) -> None:
    code = (
        "import ctypes, os, resource, socket\n"
        "from securevqa_core.decoding.child import confine\n"
        "from securevqa_core.decoding.seccomp import allow_only\n"
        "from securevqa_core.decoding.system_calls import cell_calls\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def libc_call(*arguments):\n"
        "    if libc.syscall(*arguments) < 0: raise OSError(ctypes.get_errno(), 'refused')\n"
        "confine(1 << 30)\n"
        "allow_only(cell_calls(os.getpid()))\n"
        f"try: {FORBIDDEN[name]}\n"
        "except OSError as error: os._exit(40 + error.errno)\n"
        "os._exit(1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert done.returncode == 40 + errno.EPERM


def test_a_confined_process_can_still_start_threads_and_end_itself() -> None:
    code = (
        "import os, threading; from securevqa_core.decoding.child import confine; confine(1 << 30)\n"
        "from securevqa_core.decoding.seccomp import allow_only\n"
        "from securevqa_core.decoding.system_calls import cell_calls; allow_only(cell_calls(os.getpid()))\n"
        "done = []; thread = threading.Thread(target=lambda: done.append(1)); thread.start(); thread.join()\n"
        "os.abort() if done else None"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert -done.returncode == signal.SIGABRT


def test_a_confined_process_cannot_widen_its_limits() -> None:
    code = (
        "import resource; from securevqa_core.decoding.child import confine; confine(1 << 30);"
        "import os; from securevqa_core.decoding.seccomp import allow_only;"
        "from securevqa_core.decoding.system_calls import cell_calls; allow_only(cell_calls(os.getpid()));"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert b"not allowed to raise maximum limit" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("is_busy", [False, True])
def test_the_process_dies_with_its_worker(
    videos: dict[str, Path], faults: Callable[[str], str], is_busy: bool
) -> None:
    fault = faults("import time; time.sleep(60)")
    site = str(Path(fault).parent)
    done = subprocess.run(
        [sys.executable, "-c", _WORKER, str(videos["carphone_h264.mkv"]), fault if is_busy else "", site],
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
sys.path.insert(0, sys.argv[3])
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
