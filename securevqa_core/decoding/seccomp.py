"""Owns the filter that holds a process to a list of system calls; what is not on the list is refused."""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Mapping

from securevqa_core.decoding.system_calls import MACHINES, NUMBERS, NoneOf, OneOf, Rules

__all__ = ["allow_only", "filter_program", "install"]

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
_REFUSED = errno.EPERM
# The C library then starts threads by clone, whose flags can be looked at: clone3's lie in memory.
_ABSENT = {"clone3": errno.ENOSYS}

# Classic BPF: instruction codes, and where `struct seccomp_data` holds what they look at.
_LOAD, _JUMP_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16  # of little-endian machines, as all in MACHINES


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def allow_only(calls: Mapping[str, Rules]) -> None:
    """Have the kernel refuse, for good, every call but these; in threads and children started later too.

    Raises:
        OSError: the machine is neither x86-64 nor AArch64, or its kernel has no seccomp.
    """
    install(filter_program(calls, platform.machine()))


def install(code: bytes) -> None:
    """Put a filter in force.

    Raises:
        OSError: the kernel has no seccomp.
    """
    program = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP) failed")


def filter_program(calls: Mapping[str, Rules], machine: str) -> bytes:
    """Return the filter: a call that is not listed, or breaks a rule, fails with EPERM.

    Numbers are compared for equality alone, so x32's, and those of calls to come, are refused like others.

    Raises:
        OSError: no numbers are known for `machine`.
    """
    if machine not in MACHINES:
        raise OSError(errno.ENOSYS, f"no filter of system calls for machine {machine!r}")
    column = list(MACHINES).index(machine)
    lines = [
        _instruction(_LOAD, _ARCHITECTURE_AT),
        _instruction(_JUMP_EQUAL, MACHINES[machine], if_true=1),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD, _NUMBER_AT),
    ]
    outcomes = {name: [_refuse(number)] for name, number in _ABSENT.items()}
    outcomes |= {name: _checked(rules) for name, rules in calls.items()}
    for name, outcome in outcomes.items():
        number = NUMBERS[name][column]
        if number is not None:
            lines += [_instruction(_JUMP_EQUAL, number, if_false=len(outcome)), *outcome]
    return b"".join([*lines, _refuse(_REFUSED)])


def _checked(rules: Rules) -> list[bytes]:
    """Allow a call where every rule holds."""
    lines = []
    for rule in rules:
        lines += _one_of(rule) if isinstance(rule, OneOf) else _none_of(rule)
    return [*lines, _instruction(_RETURN, _ALLOW)]


def _one_of(rule: OneOf) -> list[bytes]:
    lines = [_instruction(_LOAD, _ARGUMENTS_AT + 8 * rule.argument)]
    for num_left, value in zip(range(len(rule.values), 0, -1), rule.values, strict=True):
        lines.append(_instruction(_JUMP_EQUAL, value, if_true=num_left))
    lines.append(_refuse(_REFUSED))
    if rule.is_wide:
        lines.append(_instruction(_LOAD, _ARGUMENTS_AT + 8 * rule.argument + 4))
        lines += [_instruction(_JUMP_EQUAL, 0, if_true=1), _refuse(_REFUSED)]
    return lines


def _none_of(rule: NoneOf) -> list[bytes]:
    lines = [_instruction(_LOAD, _ARGUMENTS_AT + 8 * rule.argument)]
    return [*lines, _instruction(_JUMP_ANY_BIT, rule.bits, if_false=1), _refuse(_REFUSED)]


def _refuse(error: int) -> bytes:
    return _instruction(_RETURN, _ERRNO | error)


def _instruction(code: int, value: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
