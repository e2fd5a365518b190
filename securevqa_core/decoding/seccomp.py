"""Owns the list of system calls a decoding process may no longer make, and the filter that holds it to it.

Reading and writing what is open, memory and threads are left. Opening files, sockets, other processes and
other programs are gone: a file that tricks FFmpeg into following a link finds nothing to follow it with.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

__all__ = ["forbid_system_calls"]

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
_CLONE_THREAD = 0x00010000

# Classic BPF: instruction codes, and where `struct seccomp_data` holds what they look at.
_LOAD, _JUMP_EQUAL, _JUMP_ABOVE, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_X32_NUMBERS = 0x40000000  # x86-64 calls by another number

_SHARED = (*range(424, 429), 433, 434, 437, 438)  # pidfd, io_uring, mounts, openat2: since Linux 5.1
_X86_64 = (
    *(2, 257, 85, 304, 303),  # open, openat, creat and by handle
    *(76, 77, 82, 83, 84, 86, 87, 88, 90, 92, 94, 133, 258, 259, 260, 263, 264, 265, 266, 268, 316),  # names
    *(41, 42, 43, 44, 46, 49, 50, 53, 288, 307),  # sockets; receiving on the one there is stays
    *(57, 58, 59, 322),  # fork, vfork, execve, execveat
    *(101, 200, 310, 311, 312),  # ptrace, tkill, other processes' memory
    *(155, 161, 165, 166, 169, 175, 246, 248, 249, 250, 272, 298, 308, 313, 320, 321, 323),  # the machine
)
_AARCH64 = (
    *(56, 264, 265),
    *(33, 34, 35, 36, 37, 38, 45, 46, 52, 53, 54, 55, 276),
    *(198, 199, 200, 201, 202, 203, 206, 211, 242, 269),
    *(221, 281),
    *(117, 130, 270, 271, 272),
    *(39, 40, 41, 51, 97, 104, 105, 142, 217, 218, 219, 241, 268, 273, 280, 282, 294),
)
# AUDIT_ARCH, what is refused, clone, and the calls whose first argument is a process: kill, tgkill, prlimit64
_MACHINES = {
    "x86_64": (0xC000003E, _X86_64 + _SHARED, 56, (62, 234, 302)),
    "aarch64": (0xC00000B7, _AARCH64 + _SHARED, 220, (129, 131, 261)),
}
_CLONE3 = 435


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def forbid_system_calls() -> None:
    """Have the kernel refuse, for good, the calls decoding has no need of; threads started later included.

    Raises:
        OSError: the machine is neither x86-64 nor AArch64, or its kernel has no seccomp.
    """
    if platform.machine() not in _MACHINES:
        raise OSError(errno.ENOSYS, f"no filter of system calls for machine {platform.machine()!r}")
    code = _program(*_MACHINES[platform.machine()], pid=os.getpid())
    program = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP) failed")


def _program(
    architecture: int, refused: tuple[int, ...], clone: int, of_processes: tuple[int, ...], *, pid: int
) -> bytes:
    """Return the filter: refused calls fail with EPERM, those on processes pass for this one alone."""
    refuse = _instruction(_RETURN, _ERRNO | errno.EPERM)
    lines = [
        _instruction(_LOAD, _ARCHITECTURE_AT),
        _instruction(_JUMP_EQUAL, architecture, if_true=1),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD, _NUMBER_AT),
        *_when(_JUMP_ABOVE, _X32_NUMBERS, refuse),
        # The C library then starts threads by clone, whose flags can be looked at.
        *_when(_JUMP_EQUAL, _CLONE3, _instruction(_RETURN, _ERRNO | errno.ENOSYS)),
    ]
    for number in refused:
        lines += _when(_JUMP_EQUAL, number, refuse)
    allow = _instruction(_RETURN, _ALLOW)
    lines += [
        _instruction(_JUMP_EQUAL, clone, if_false=4),
        _instruction(_LOAD, _FIRST_ARGUMENT_AT),
        _instruction(_JUMP_ANY_BIT, _CLONE_THREAD, if_true=1),
        refuse,
        allow,
    ]
    for number in of_processes:
        lines += [
            _instruction(_JUMP_EQUAL, number, if_false=5),
            _instruction(_LOAD, _FIRST_ARGUMENT_AT),
            _instruction(_JUMP_EQUAL, 0, if_true=2),  # prlimit's word for oneself
            _instruction(_JUMP_EQUAL, pid, if_true=1),
            refuse,
            allow,
        ]
    return b"".join([*lines, allow])


def _when(jump: int, value: int, outcome: bytes) -> list[bytes]:
    return [_instruction(jump, value, if_false=1), outcome]


def _instruction(code: int, value: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
