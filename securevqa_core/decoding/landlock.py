"""Owns the second wall around a decoding process: Landlock, which some kernels have, knows no list of calls.

Where it is in force no file can be opened, made, renamed or removed by any call, no TCP port bound or
connected to, and no process or abstract socket outside reached, even had the filter of calls a hole.
"""

from __future__ import annotations

import ctypes
import errno
import struct

__all__ = ["shut_out_files"]

_CREATE_RULESET, _RESTRICT_SELF = 444, 446  # on every machine
_VERSION_FLAG = 1
# What a version lets one forbid on files, on TCP, and of what lies outside; later ones forbid no less.
_FILES = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 5: 0xFFFF}
_TCP = {4: 0b11}
_OUTSIDE = {6: 0b11}


def shut_out_files() -> int:
    """Forbid this process and its children, for good, all that Landlock can; what is open stays open.

    PR_SET_NO_NEW_PRIVS has to be set.

    Returns:
        The kernel's version of Landlock; 0 where it has none, or none in use.

    Raises:
        OSError: Landlock is there and refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)
    if version < 0:
        if ctypes.get_errno() in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):  # EPERM: by an outer filter
            return 0
        raise OSError(ctypes.get_errno(), "Landlock does not tell its version")
    attributes = _attributes(version)
    ruleset = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), f"Landlock {version} makes no rules")
    if libc.syscall(_RESTRICT_SELF, ruleset, 0):
        raise OSError(ctypes.get_errno(), f"Landlock {version} does not restrict")
    libc.close(ruleset)
    return int(version)


def _attributes(version: int) -> bytes:
    """Return `struct landlock_ruleset_attr`, with the fields that this version knows."""
    fields = [_newest(table, version) for table in (_FILES, _TCP, _OUTSIDE)]
    num_fields = 1 + sum(value > 0 for value in fields[1:])
    return struct.pack(f"={num_fields}Q", *fields[:num_fields])


def _newest(table: dict[int, int], version: int) -> int:
    return max((bits for since, bits in table.items() if since <= version), default=0)
