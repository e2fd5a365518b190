"""Every system call that is not on the list is refused: by this kernel, by the filters of both machines."""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bpf import ALLOWED, KILLED, outcome

from securevqa_core.decoding.seccomp import allow_only, filter_program
from securevqa_core.decoding.system_calls import MACHINES, NUMBERS, cell_calls, warm_process_calls

PID = 4711
X32 = 0x40000000
LAST_NUMBER = 1023  # Linux 7 has some 470
NUMBERS_TO_TRY = [*range(-8, LAST_NUMBER + 1), *range(X32, X32 + LAST_NUMBER + 1), 0x7FFFFFFF, 0x80000000]
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


def _number(name: str, machine: str) -> int | None:
    return NUMBERS[name][list(MACHINES).index(machine)]


def _allowed(machine: str) -> dict[int, str]:
    found = {_number(name, machine): name for name in cell_calls(PID)}
    return {number: name for number, name in found.items() if number is not None}


def _outcome(name: str, *arguments: int, machine: str = "x86_64") -> str | int:
    number = _number(name, machine)
    assert number is not None
    return outcome(filter_program(cell_calls(PID), machine), MACHINES[machine], number, *arguments)


# x86-64's uretprobe and uprobe, which newer kernels let past every filter, for traps of their own.
PROBES = {335, 336} if platform.machine() == "x86_64" else set()
_WALK = """
import ctypes, json, os, sys
from securevqa_core.decoding import seccomp
from securevqa_core.decoding.system_calls import cell_calls
seccomp._REFUSED = 2000  # no call fails with it, so whoever meets it was refused by the filter
numbers, libc, found = json.load(sys.stdin), ctypes.CDLL(None, use_errno=True), {}
libc.prctl(38, 1, 0, 0, 0)
seccomp.allow_only(cell_calls(os.getpid()))
for number in numbers:
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(-1)] * 6)
    found[number] = ctypes.get_errno() if result == -1 else "allowed"
print(json.dumps(found))
"""


def _walk(numbers: list[int]) -> subprocess.CompletedProcess[str]:
    """Make the calls, with -1 for all arguments, in a confined process that has no terminal."""
    return subprocess.run(
        [sys.executable, "-c", _WALK],
        input=json.dumps(numbers),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        start_new_session=True,
    )


def test_the_kernel_refuses_every_number_but_those_of_the_list() -> None:
    """Each is called with arguments that mean nothing."""
    allowed = _allowed(platform.machine())
    numbers = [number for number in NUMBERS_TO_TRY if number not in allowed and number not in PROBES]
    assert len(numbers) > 2000
    done = _walk(numbers)
    assert done.returncode == 0, done.stderr
    found = {int(number): result for number, result in json.loads(done.stdout).items()}
    clone3 = _number("clone3", platform.machine())
    assert found.pop(clone3 or 0) == errno.ENOSYS  # then the C library asks for a thread by clone
    assert {number: result for number, result in found.items() if result != 2000} == {}
    assert len(found) == len(numbers) - 1


@pytest.mark.parametrize("number", sorted(PROBES))
def test_what_no_filter_sees_does_nothing_or_ends_the_process(number: int) -> None:
    done = _walk([number])
    result = json.loads(done.stdout)[str(number)] if done.returncode == 0 else -done.returncode
    harmless = (2000, errno.ENXIO) if done.returncode == 0 else (signal.SIGILL, signal.SIGSEGV)
    assert result in harmless, done


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_refuses_every_number_but_those_of_the_list(machine: str) -> None:
    program, allowed = filter_program(cell_calls(PID), machine), _allowed(machine)
    for number in NUMBERS_TO_TRY:
        results = {outcome(program, MACHINES[machine], number, *[value] * 6) for value in (0, PID, -1)}
        if number == _number("clone3", machine):
            assert results == {errno.ENOSYS}
        elif number in allowed:
            assert results <= {ALLOWED, errno.EPERM}, allowed[number]
        else:
            assert results == {errno.EPERM}, number


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_by_the_numbers_of_another_machine_end_the_process(machine: str) -> None:
    program = filter_program(cell_calls(PID), machine)
    for other in (0x40000003, 0x40000028, *set(MACHINES.values()) - {MACHINES[machine]}):  # i386, ARM
        assert outcome(program, other, 0) == KILLED


@pytest.mark.parametrize("machine", MACHINES)
def test_the_list_is_short_and_opens_connects_and_controls_nothing(machine: str) -> None:
    names = set(_allowed(machine).values())
    assert len(names) <= 42
    reaching = re.compile(
        "open|creat|socket|connect|bind|send|recv|fork|exec|ioctl|shm|memfd|pipe|link|rename|chmod|chown|utime|"
        "xattr|trace|vm_|pidfd|queueinfo|tkill$|set.id|mount|namespace|unshare|setns|splice|bpf|prctl|seccomp"
    )
    assert {name for name in names if reaching.search(name)} <= {"tgkill"}


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    text = HEADERS[machine].read_text()
    found = dict(re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)", text, re.MULTILINE))
    found["newfstatat"] = found.get("newfstatat") or found["fstatat"]  # the generic table's name for it
    for name in NUMBERS:
        number = _number(name, machine)
        assert (None if number is None else str(number)) == found.get(name), name


ALLOWED_WITH = {
    "its own signals": ("tgkill", PID, PID, signal.SIGABRT),
    "itself": ("kill", PID, signal.SIGABRT),
    "a thread": ("clone", 0x003D0F00),
    "data": ("mmap", 0, 4096, 3, 0x22, -1, 0),
    "its data": ("mprotect", 0, 4096, 3),
    "freeing": ("madvise", 0, 4096, 4),
    "another number for what is open": ("fcntl", 5, 1030, 0),
    "its limits": ("prlimit64", 0, 7, 0, 4096),
    "what is open": ("newfstatat", 5, 4096, 4096, 0x1000),
}
REFUSED_WITH = {
    "another's thread": ("tgkill", PID + 1, PID, 0),
    "another": ("kill", PID + 1, 0),
    "its group": ("kill", 0, 0),
    "everybody": ("kill", -1, 0),
    "a group": ("kill", -PID, 0),
    "fork": ("clone", 0x01200011),
    "fork as another C library does": ("clone", 0x11),
    "vfork": ("clone", 0x4111),
    "a thread that shares too little": ("clone", 0x003D0E00),
    "a thread in a new network": ("clone", 0x003D0F00 | 0x40000000),
    "a thread with flags in the upper half": ("clone", 0x003D0F00 | 1 << 33),
    "code": ("mmap", 0, 4096, 5, 0x22, -1, 0),
    "code that is written": ("mmap", 0, 4096, 7, 0x22, -1, 0),
    "data that becomes code": ("mprotect", 0, 4096, 5),
    "poisoned memory": ("madvise", 0, 4096, 100),
    "holes in a file": ("madvise", 0, 4096, 9),
    "an owner for signals": ("fcntl", 5, 8, 1),
    "asynchronous signals": ("fcntl", 5, 4, 0x2000),
    "a lock": ("fcntl", 5, 6, 0),
    "a lease": ("fcntl", 5, 1024, 0),
    "a larger pipe": ("fcntl", 5, 1031, 1 << 20),
    "another's limits": ("prlimit64", PID + 1, 7, 0, 4096),
    "new limits": ("prlimit64", 0, 7, 4096, 0),
    "new limits in the upper half": ("prlimit64", 0, 7, 1 << 40, 0),
    "another's processors": ("sched_getaffinity", PID + 1, 8, 4096),
    "what a name stands for": ("newfstatat", -100, 4096, 4096, 0),
    "what a link is": ("newfstatat", -100, 4096, 4096, 0x100),
}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("what", ALLOWED_WITH)
def test_a_call_is_allowed_with_the_arguments_that_decoding_has(what: str, machine: str) -> None:
    name, *arguments = ALLOWED_WITH[what]
    assert _outcome(str(name), *map(int, arguments), machine=machine) == ALLOWED


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("what", REFUSED_WITH)
def test_a_call_is_refused_with_other_arguments(what: str, machine: str) -> None:
    name, *arguments = REFUSED_WITH[what]
    assert _outcome(str(name), *map(int, arguments), machine=machine) == errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_the_warm_process_opens_and_connects_nothing_either_and_forks_no_more_than_a_cell(
    machine: str,
) -> None:
    program = filter_program(warm_process_calls(), machine)
    more = {"socketpair", "sendmsg", "recvmsg", "wait4", "waitid", "getppid", "dup2", "dup3", "prctl"}
    assert set(warm_process_calls()) == set(cell_calls(PID)) | more
    clone = _number("clone", machine)
    assert clone is not None
    assert outcome(program, MACHINES[machine], clone, 0x01200011) == ALLOWED
    assert outcome(program, MACHINES[machine], clone, 0x01200011 | 0x10000000) == errno.EPERM  # a namespace


def test_on_an_unknown_machine_nothing_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    with pytest.raises(OSError, match="no filter of system calls for machine 'vax'"):
        allow_only(cell_calls(os.getpid()))


def test_a_kernel_that_takes_no_filter_is_an_error() -> None:
    code = (
        "import ctypes, resource; from securevqa_core.decoding import seccomp\n"
        "seccomp._PR_SET_SECCOMP = 9999\n"  # an option no kernel has
        "seccomp.allow_only({})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert b"OSError: [Errno 22] prctl(PR_SET_SECCOMP) failed" in done.stderr
