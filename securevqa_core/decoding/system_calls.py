"""Owns the system calls that a decoding process may make, by name and, where it matters, by argument.

What is not named here is refused: opening, sockets, other processes, other programs, names, the terminal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["MACHINES", "NUMBERS", "NoneOf", "OneOf", "Rules", "cell_calls", "warm_process_calls"]


@dataclass(frozen=True, slots=True)
class OneOf:
    """An argument must be one of these."""

    argument: int  # from 0
    values: tuple[int, ...]  # 32 bits each
    is_wide: bool = False  # True: the kernel looks at all 64 bits, so the upper half has to be 0


@dataclass(frozen=True, slots=True)
class NoneOf:
    """An argument must have none of these bits, of the lower 32, set."""

    argument: int
    bits: int


Rules = tuple[OneOf | NoneOf, ...]  # all have to hold

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH, in the order of the columns below
NUMBERS: dict[str, tuple[int | None, int | None]] = {
    "brk": (12, 214),
    "clock_getres": (229, 114),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "clone": (56, 220),
    "clone3": (435, 435),
    "close": (3, 57),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "fcntl": (72, 25),
    "fstat": (5, 80),
    "futex": (202, 98),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "getrandom": (318, 278),
    "gettid": (186, 178),
    "gettimeofday": (96, 169),
    "kill": (62, 129),
    "lseek": (8, 62),
    "madvise": (28, 233),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "nanosleep": (35, 101),
    "newfstatat": (262, 79),
    "prctl": (157, 167),
    "pread64": (17, 67),
    "prlimit64": (302, 261),
    "read": (0, 63),
    "recvmsg": (47, 212),
    "restart_syscall": (219, 128),
    "rseq": (334, 293),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_getaffinity": (204, 123),
    "sched_yield": (24, 124),
    "sendmsg": (46, 211),
    "set_robust_list": (273, 99),
    "socketpair": (53, 199),
    "tgkill": (234, 131),
    "time": (201, None),
    "wait4": (61, 260),
    "waitid": (247, 95),
    "write": (1, 64),
    "writev": (20, 66),
}

_PLAIN = (
    *("read", "pread64", "write", "writev", "lseek", "close", "fstat", "dup"),  # of what is open
    *("munmap", "mremap", "brk"),
    *("futex", "set_robust_list", "rseq", "exit", "exit_group", "sched_yield", "getpid", "gettid"),
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "restart_syscall"),
    *("clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "getrandom"),
)
_PROT_EXEC = 4
_AT_EMPTY_PATH = 0x1000
# A thread of this process as the C library makes one: memory, files and handlers shared, and nothing new.
_THREAD_FLAGS = 0x003D0F00
_FORK_FLAGS = (0x01200011, 0x00000011)  # SIGCHLD as it ends; glibc has two words cleared and set as well
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC: no F_SETOWN, by which the kernel signals anyone
_DESCRIPTOR_COMMANDS = (0, 1, 2, 3, 1030)
# DONTNEED, FREE, HUGEPAGE, NOHUGEPAGE, DONTDUMP, GUARD_INSTALL, GUARD_REMOVE: no HWPOISON
_ADVICE = (4, 8, 14, 15, 16, 102, 103)
_WITH_ARGUMENTS: dict[str, Rules] = {
    "mmap": (NoneOf(2, _PROT_EXEC),),  # no code but what was loaded
    "mprotect": (NoneOf(2, _PROT_EXEC),),
    "madvise": (OneOf(2, _ADVICE),),
    "fcntl": (OneOf(1, _DESCRIPTOR_COMMANDS),),
    # How some C libraries look at what is open. No filter can read a name: its size can be asked for.
    "newfstatat": (OneOf(3, (_AT_EMPTY_PATH,)),),
}


def cell_calls(pid: int) -> Mapping[str, Rules]:
    """Return what process `pid` may call while it decodes."""
    itself = OneOf(0, (pid,))
    return (
        dict.fromkeys(_PLAIN, ())
        | _WITH_ARGUMENTS
        | {
            "clone": (OneOf(0, (_THREAD_FLAGS,), is_wide=True),),
            "kill": (itself,),
            "tgkill": (itself,),
            "sched_getaffinity": (OneOf(0, (0, pid)),),
            "prlimit64": (OneOf(0, (0,)), OneOf(2, (0,), is_wide=True)),  # its own limits, to read them
        }
    )


def warm_process_calls() -> Mapping[str, Rules]:
    """Return what the process that cells are forked from may call; cells are held to both lists."""
    handing_over = ("socketpair", "sendmsg", "recvmsg", "dup2", "dup3")
    more = (*handing_over, "wait4", "waitid", "getppid", "prctl", "kill", "tgkill")
    return (
        dict.fromkeys((*_PLAIN, *more), ())
        | _WITH_ARGUMENTS
        | {
            "clone": (OneOf(0, (_THREAD_FLAGS, *_FORK_FLAGS), is_wide=True),),
            "sched_getaffinity": (),
            "prlimit64": (OneOf(0, (0,)),),
        }
    )
