"""Owns finding the video tracks that an MPEG transport stream tells of anywhere, not only where it begins."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from securevqa_core.decoding.transport_table import CHUNK_BYTES, PACKET_BYTES, SYNC

__all__ = ["video_pids"]

# ISO/IEC 13818-1, sections 2.4.4.3 (tables of programs) and 2.4.4.8 (of a program's streams), table 2-34.
_PROGRAMS_PID = 0
_COUNTER_AT, _NOT_COUNTER = 3, 0xF0  # bytes into a packet; tables that are sent again differ there alone
_STREAMS_TABLE = 2
_VIDEO_TYPES = frozenset([0x01, 0x02, 0x10, 0x1B, 0x24, 0x33, 0xEA])
_PROGRAMS_AT, _PROGRAM_BYTES = 8, 4  # bytes into a table of programs
_STREAMS_AT, _STREAM_BYTES, _CHECKSUM_BYTES = 12, 5, 4


def video_pids(descriptor: int) -> frozenset[int]:
    """Return the packet ids of all video streams told of; none where packets are not of 188 bytes."""
    size_bytes = os.fstat(descriptor).st_size
    tables: set[bytes] = set()
    table_pids: set[int] = set()
    for start in range(0, size_bytes - size_bytes % PACKET_BYTES, CHUNK_BYTES):
        content = os.pread(descriptor, CHUNK_BYTES, start)
        packets = np.frombuffer(content, np.uint8, len(content) // PACKET_BYTES * PACKET_BYTES)
        packets = packets.reshape(-1, PACKET_BYTES)
        if (packets[:, 0] != SYNC).any():
            return frozenset()
        pids = (packets[:, 1].astype(np.int64) & 0x1F) << 8 | packets[:, 2]
        is_first = packets[:, 1] & 0x40 != 0
        for table in _tables(packets[is_first & (pids == _PROGRAMS_PID)]):
            table_pids |= _program_pids(table)
        tables |= _tables(packets[is_first & np.isin(pids, list(table_pids))])
    return frozenset().union(*map(_video_pids, tables))


def _tables(packets: NDArray[np.uint8]) -> set[bytes]:
    """Return the different tables that begin in packets; longer ones than a packet as far as it goes."""
    tables = set()
    packets = packets.copy()
    packets[:, _COUNTER_AT] &= _NOT_COUNTER
    is_other = np.append(True, (packets[1:] != packets[:-1]).any(axis=1))[: len(packets)]
    for packet in set(map(bytes, packets[is_other])):
        start = 5 + packet[4] if packet[3] & 0x20 else 4
        start += 1 + packet[start] if start < PACKET_BYTES else 0
        table = packet[start:]
        length = 3 + (int.from_bytes(table[1:3]) & 0xFFF) if len(table) > _PROGRAMS_AT else 0
        tables.add(table[: length - _CHECKSUM_BYTES] if length > _CHECKSUM_BYTES else b"")
    return tables


def _program_pids(table: bytes) -> set[int]:
    """Return where the tables of streams are, by a table of programs."""
    entries = range(_PROGRAMS_AT, len(table) - _PROGRAM_BYTES + 1, _PROGRAM_BYTES)
    return {int.from_bytes(table[at + 2 : at + 4]) & 0x1FFF for at in entries if any(table[at : at + 2])}


def _video_pids(table: bytes) -> set[int]:
    """Return the packet ids of video streams in a table of streams."""
    if table[:1] != bytes([_STREAMS_TABLE]) or len(table) < _STREAMS_AT:
        return set()
    at, found = _STREAMS_AT + (int.from_bytes(table[10:12]) & 0xFFF), set()
    while at + _STREAM_BYTES <= len(table):
        if table[at] in _VIDEO_TYPES:
            found.add(int.from_bytes(table[at + 1 : at + 3]) & 0x1FFF)
        at += _STREAM_BYTES + (int.from_bytes(table[at + 3 : at + 5]) & 0xFFF)
    return found
