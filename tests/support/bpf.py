"""Runs a filter of system calls as the kernel does, for other machines and for arguments that would harm."""

from __future__ import annotations

import struct

__all__ = ["ALLOWED", "KILLED", "outcome"]

ALLOWED = "allowed"
KILLED = "killed"
_JUMPS = {
    0x15: lambda left, right: left == right,
    0x25: lambda left, right: left > right,
    0x35: lambda left, right: left >= right,
    0x45: lambda left, right: bool(left & right),
}


def outcome(program: bytes, architecture: int, number: int, *arguments: int) -> str | int:
    """Return ALLOWED, KILLED, or the errno with which the filter refuses a call."""
    padded = [argument & (1 << 64) - 1 for argument in (*arguments, *[0] * 6)][:6]
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *padded)
    lines = list(struct.iter_unpack("=HBBI", program))
    accumulator = place = 0
    while True:
        code, if_true, if_false, value = lines[place]
        place += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x06:
            return _meaning(value)
        else:
            place += if_true if _JUMPS[code](accumulator, value) else if_false


def _meaning(value: int) -> str | int:
    known = {0x7FFF0000: ALLOWED, 0x80000000: KILLED}
    if value in known:
        return known[value]
    assert value >> 16 == 0x0005, hex(value)
    return value & 0xFFFF
