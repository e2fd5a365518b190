"""What a file that has taken its cell over may try, harmlessly, on a process and files of the test's own.

Each attempt is run in the real cell, in place of decoding, and, as a proof that it means something, in a
process that is not confined.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from processes import is_alive

from securevqa_core.decoding.extract import DecodeRequest
from securevqa_core.decoding.sandbox import DecodeSandbox
from securevqa_core.errors import DecodeError
from securevqa_core.types import DecodeLimits

RequestMaker = Callable[..., DecodeRequest]


@dataclass(frozen=True, slots=True)
class Target:
    """What is attacked."""

    pid: int  # of a process that sleeps
    file: str  # that holds "untouched"
    port: int  # on which somebody listens
    shared_memory: int  # key of a segment of System V


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    file = tmp_path_factory.mktemp("target") / "file"
    file.write_text("untouched")
    libc, key = ctypes.CDLL(None, use_errno=True), 0x5EC0 + os.getpid()
    segment = libc.shmget(key, 4096, 0o1600)  # IPC_CREAT
    assert segment >= 0
    with socket.create_server(("127.0.0.1", 0)) as server:
        victim = subprocess.Popen(["/bin/sleep", "600"])
        yield Target(pid=victim.pid, file=str(file), port=server.getsockname()[1], shared_memory=key)
        assert is_alive(victim.pid)
        victim.kill()
        victim.wait()
    libc.shmctl(segment, 0, None)  # IPC_RMID


@pytest.fixture(scope="module")
def sandbox(faults: Callable[[str], str]) -> Iterator[DecodeSandbox]:
    with DecodeSandbox(DecodeLimits(timeout_seconds=60)) as sandbox:
        yield sandbox


# Calls that Python has no name for go by their numbers on x86-64; `call` raises as Python's own functions do.
_PRELUDE = """
import ctypes, mmap, os, resource, signal, socket, time
from ctypes import byref, c_char_p, c_int, c_long, c_size_t, c_void_p, create_string_buffer
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    checked = [one.encode() if isinstance(one, str) else one for one in arguments]
    checked = [c_char_p(one) if isinstance(one, bytes) else c_long(one) if isinstance(one, int) else one
               for one in checked]
    result = libc.syscall(c_long(number), *checked)
    if result < 0: raise OSError(ctypes.get_errno(), 'refused')
    return result
buffer = create_string_buffer(256)
queued = create_string_buffer(b'\\0' * 8 + b'\\xff' * 4 + b'\\0' * 116)  # siginfo_t with SI_QUEUE
PID, FILE, PORT, KEY = {pid}, {file!r}, {port}, {key}
def attempt():
    {code}
"""
ATTEMPTS = {
    "read a file": "open(FILE).read()",
    "write a file": "open(FILE, 'w').write('changed')",
    "open from a folder": "call(437, -100, FILE, create_string_buffer(24), 24)",  # openat2
    "make a file": "os.close(os.open(FILE + '.made', os.O_CREAT | os.O_WRONLY))",
    "make a file without a name": "os.open(os.path.dirname(FILE), os.O_TMPFILE | os.O_WRONLY)",
    "remove a file": "os.unlink(FILE + '.made')",
    "rename a file": "os.rename(FILE + '.gone', FILE)",
    "link a file": "os.link(FILE, FILE + '.link')",
    "link to a name": "os.symlink(FILE, FILE + '.symlink')",
    "make a folder": "os.mkdir(FILE + '.folder')",
    "list a folder": "os.listdir('/')",
    "follow a link": "os.readlink('/proc/self/exe')",
    "cut a file": "os.truncate(FILE, 9)",
    "change a mode": "os.chmod(FILE, 0o644)",
    "change an owner": "os.chown(FILE, -1, -1)",
    "change times": "os.utime(FILE, (1, 1))",
    "set an attribute": "os.setxattr(FILE, 'user.taken', b'over')",
    "look at attributes": "os.listxattr(FILE)",
    "change the upload's mode": "[os.fchmod(one, 0o600) for one in range(3, 9)]",
    "lock the upload": "import fcntl; [fcntl.flock(one, 2 | 4) for one in range(3, 9)]",
    "leave its folder": "os.chdir('/')",
    "change its root": "os.chroot('/')",
    "make a socket": "socket.socket()",
    "connect": "socket.socket().connect(('127.0.0.1', PORT))",
    "connect what is open": "call(42, 4, buffer, 16)",
    "make a pair of sockets": "socket.socketpair()",
    "pass a descriptor on": "call(46, 5, buffer, 0)",  # sendmsg
    "fork": "os.fork() or os._exit(0)",
    "run a program": "os.posix_spawn('/bin/true', ['true'], {})",
    "become a program": "os.execv('/bin/true', ['true'])",
    "signal": "os.kill(PID, 0)",
    "signal its worker": "os.kill(WORKER, 0)",
    "signal the warm process": "os.kill(PARENT, 0)",
    "signal its group": "os.kill(0, 0)",
    "signal everybody": "os.kill(-1, 0)",
    "signal a thread": "call(234, PID, PID, 0)",
    "signal a thread, the old way": "call(200, PID, 0)",
    "queue a signal": "call(129, PID, 0, queued)",
    "queue a signal for a thread": "call(297, PID, PID, 0, queued)",
    "hold a process": "os.close(os.pidfd_open(PID))",
    "signal what is held": "call(424, 3, 0, 0, 0)",
    "take a descriptor": "call(438, 3, 0, 0)",
    "have the kernel signal": "import fcntl; [fcntl.fcntl(one, fcntl.F_SETOWN, PID) for one in range(3, 9)]",
    "read another's memory": "call(310, PID, 0, 0, 0, 0, 0)",
    "write another's memory": "call(311, PID, 0, 0, 0, 0, 0)",
    "compare with another": "call(312, PID, PID, 0, 0, 0)",
    "trace": "call(101, 16902, PID, 0, 0)",  # PTRACE_SEIZE
    "shared memory of others": "call(29, KEY, 4096, 0o600)",
    "shared memory": "call(29, 0, 4096, 0o1600)",
    "a semaphore": "call(64, 0, 1, 0o1600)",
    "a queue": "call(240, 'taken', 0o102, 0o600, 0)",
    "a key": "call(248, 'user', 'taken', 'over', 4, -2)",
    "type on the terminal": "import fcntl; [fcntl.ioctl(one, 0x5412, b'x') for one in range(8)]",  # TIOCSTI
    "take a terminal": "import fcntl; [fcntl.ioctl(one, 0x540E, 0) for one in range(8)]",  # TIOCSCTTY
    "a session": "os.setsid()",
    "limit another": "resource.prlimit(PID, resource.RLIMIT_CPU)",
    "widen its limits": "call(302, 0, 7, create_string_buffer(b'\\xff' * 16), 0)",
    "slow another": "os.setpriority(os.PRIO_PROCESS, PID, 1)",
    "move another": "os.sched_setaffinity(PID, os.sched_getaffinity(0))",
    "look at another": "os.sched_getaffinity(PID)",
    "memory without an address": "os.write(os.memfd_create('x'), b'x')",
    "a pipe": "os.pipe()",
    "an event": "call(290, 0, 0)",  # eventfd2
    "a ring of calls": "call(425, 1, create_string_buffer(256))",
    "faults by hand": "call(323, 1)",
    "a program of the kernel": "call(321, 0, buffer, 8)",
    "a namespace": "call(272, 0x10000000)",
    "a filter": "call(157, 22, 2, 0)",
    "a name": "call(157, 15, 'renamed')",
    "code in memory": "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)",
}
if platform.machine() != "x86_64":  # where other calls have these numbers
    ATTEMPTS = {attempt: code for attempt, code in ATTEMPTS.items() if "call(" not in code}


def _code(attempt: str, target: Target) -> str:
    code = ATTEMPTS[attempt].replace("WORKER", str(os.getpid()))
    return _PRELUDE.format(
        pid=target.pid, file=target.file, port=target.port, key=target.shared_memory, code=code
    )


_IN_A_CELL = """
from securevqa_core.errors import DecodeError
try: attempt()
except OSError as error: raise DecodeError('decode_failed', f'refused {error.errno}')
raise DecodeError('decode_failed', 'done')
"""


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_cell_that_was_taken_over_is_refused(
    sandbox: DecodeSandbox,
    faults: Callable[[str], str],
    make_request: RequestMaker,
    target: Target,
    attempt: str,
) -> None:
    before = _state(target)
    parent = str(sandbox.pid or 1)
    code = _code(attempt, target).replace("PARENT", parent) + _IN_A_CELL
    with pytest.raises(DecodeError) as caught:
        sandbox.decode(faults(code), make_request(decoder="pyav"))
    assert str(caught.value) == f"refused {errno.EPERM}"
    assert _state(target) == before


def _state(target: Target) -> tuple[object, ...]:
    facts = Path(target.file).stat()
    return (
        Path(target.file).read_text(),
        stat.filemode(facts.st_mode),
        facts.st_mtime_ns,
        facts.st_nlink,
        sorted(Path(target.file).parent.iterdir()),
        os.listxattr(target.file),
        is_alive(target.pid),
    )


# Attempts that any process may make; the others ask for rights, for a terminal or for descriptors.
ANYBODY = (
    *("read a file", "make a folder", "list a folder", "change times", "change a mode", "look at attributes"),
    *("make a socket", "connect", "make a pair of sockets", "fork", "run a program"),
    *("signal", "signal its worker", "signal a thread", "signal a thread, the old way", "hold a process"),
    *("queue a signal", "queue a signal for a thread", "shared memory of others", "shared memory"),
    *("limit another", "move another", "look at another", "memory without an address", "a pipe", "an event"),
    *("a name", "code in memory", "read another's memory", "write another's memory"),
)
ANYBODY = tuple(attempt for attempt in ANYBODY if attempt in ATTEMPTS)


@pytest.mark.parametrize("attempt", ANYBODY)
def test_the_same_attempt_succeeds_where_nothing_confines_it(
    target: Target, tmp_path: Path, attempt: str
) -> None:
    own = Target(
        pid=target.pid, file=str(tmp_path / "file"), port=target.port, shared_memory=target.shared_memory
    )
    Path(own.file).write_text("untouched")
    code = _code(attempt, own) + "\nattempt()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_a_cell_holds_its_file_for_reading_its_channel_and_what_it_prints_to(
    sandbox: DecodeSandbox, faults: Callable[[str], str], make_request: RequestMaker
) -> None:
    code = (
        "import os, stat; from securevqa_core.errors import DecodeError\nfound = []\n"
        "for one in range(1024):\n"
        "    try: mode = os.fstat(one).st_mode\n"
        "    except OSError: continue\n"
        "    kind = {stat.S_IFREG: 'file', stat.S_IFSOCK: 'socket', stat.S_IFIFO: 'pipe'}\n"
        "    try: can = 'w' if not os.write(one, b'') else ''\n"
        "    except OSError: can = 'r'\n"
        "    found.append(kind.get(stat.S_IFMT(mode), 'null') + ' ' + can)\n"
        "raise DecodeError('decode_failed', ', '.join(sorted(found)))"
    )
    with pytest.raises(DecodeError) as caught:
        sandbox.decode(faults(code), make_request(decoder="pyav"))
    assert str(caught.value) == "file r, null w, pipe w, pipe w, socket w"


def test_what_a_cell_prints_makes_it_wait_for_nobody_and_is_bounded(
    sandbox: DecodeSandbox,
    faults: Callable[[str], str],
    make_request: RequestMaker,
    caplog: pytest.LogCaptureFixture,
) -> None:
    code = (
        "import os\nfor _ in range(1000):\n"
        "    try: os.write(2, b'\\x1b[2J' + b'x' * 4096)\n"
        "    except BlockingIOError: pass\n1 / 0"
    )
    started = time.monotonic()
    with caplog.at_level("INFO"), pytest.raises(DecodeError, match="ZeroDivisionError"):
        sandbox.decode(faults(code), make_request(decoder="pyav"))
    assert time.monotonic() - started < 30
    (record,) = [one for one in caplog.records if "printed" in one.message]
    assert r"printed \x1b[2Jxxx" in record.message
    assert record.message.isprintable()
    assert len(record.message) < 10_000


ANSWERS = {
    "garbage": "b'x' * 100",
    "nothing": "b''",
    "a header without end": "(1 << 62).to_bytes(8, 'little')",
    "a pickle": "b'\\x05\\0\\0\\0\\0\\0\\0\\0\\x80\\x04K\\x01.'",
    "text that cannot be encoded": "answer({'error_code': 'decode_failed', 'message': '\\ud800'})",
    "endless nesting": "(200000).to_bytes(8, 'little') + b'[' * 200000",
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_by_hand_is_that_videos_crash(
    sandbox: DecodeSandbox, faults: Callable[[str], str], make_request: RequestMaker, name: str
) -> None:
    code = (
        "import json, os, stat, time\n"
        "def answer(header):\n"
        "    content = json.dumps(header).encode()\n"
        "    return len(content).to_bytes(8, 'little') + content\n"
        "for one in range(3, 64):\n"
        "    try: is_channel = stat.S_ISSOCK(os.fstat(one).st_mode)\n"
        "    except OSError: continue\n"
        "    if is_channel: channel = one\n"
        f"content = {ANSWERS[name]}\n"
        "while content: content = content[os.write(channel, content):]\n"
        "os._exit(0)"
    )
    with pytest.raises(DecodeError) as caught:
        sandbox.decode(faults(code), make_request(decoder="pyav"))
    assert caught.value.code == "decode_crashed"
    assert str(caught.value).isprintable()


@pytest.mark.slow
def test_a_cell_that_closes_its_channel_and_stays_is_ended(
    sandbox: DecodeSandbox, faults: Callable[[str], str], make_request: RequestMaker
) -> None:
    code = (
        "import os, time\nfor one in range(3, 64):\n    try: os.close(one)\n    except OSError: pass\n"
        "time.sleep(600)"
    )
    started = time.monotonic()
    with pytest.raises(DecodeError, match="closed its channel") as caught:
        sandbox.decode(faults(code), make_request(decoder="pyav"))
    assert caught.value.code == "decode_crashed"
    assert time.monotonic() - started < 40


def test_an_ending_by_a_signal_without_a_name_is_a_crash_too(
    sandbox: DecodeSandbox, faults: Callable[[str], str], make_request: RequestMaker
) -> None:
    with pytest.raises(DecodeError, match="was ended by signal 40"):
        sandbox.decode(faults("import os; os.kill(os.getpid(), 40)"), make_request(decoder="pyav"))
