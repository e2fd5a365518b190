"""Owns finding the video tracks that an MPEG transport stream tells of anywhere, not only where it begins."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from securevqa_core.decoding.transport_table import PACKET_BYTES, SYNC

__all__ = ["video_tracks"]

# ISO/IEC 13818-1, sections 2.4.4.3 (tables of programs) and 2.4.4.8 (of a program's streams), table 2-34.
_PROGRAMS_PID = 0
# Bytes before and after a packet: plain, with a time of arrival, with parity.
_AROUND = ((0, 0), (4, 0), (0, 16))
_LARGEST_BYTES = 204
_CHUNK_PACKETS = 1 << 13
_COUNTER_AT, _NOT_COUNTER = 3, 0xF0  # bytes into a packet; tables that are sent again differ there alone
_STREAMS_TABLE = 2
_VIDEO_TYPES = frozenset(
    [0x01, 0x02, 0x10, 0x1B, 0x1F, 0x20, 0x21, 0x24, 0x25, 0x33, 0x42, 0xD1, 0xD2, 0xD4, 0xEA]
)
_PRIVATE_TYPE, _REGISTRATION = 0x06, 0x05  # of which a descriptor may say that it is video
_VIDEO_FORMATS = frozenset([b"HEVC", b"AV01", b"VC-1", b"drac", b"AVSV"])
_PROGRAMS_AT, _PROGRAM_BYTES = 8, 4  # bytes into a table of programs
_STREAMS_AT, _STREAM_BYTES, _CHECKSUM_BYTES = 12, 5, 4


def video_tracks(descriptor: int) -> frozenset[tuple[int, int]]:
    """Return packet id and kind of all video streams told of."""
    tables: set[bytes] = set()
    table_pids: set[int] = set()
    for packets in _packets(descriptor):
        pids = (packets[:, 1].astype(np.int64) & 0x1F) << 8 | packets[:, 2]
        is_first = packets[:, 1] & 0x40 != 0
        for table in _tables(packets[is_first & (pids == _PROGRAMS_PID)]):
            table_pids |= _program_pids(table)
        tables |= _tables(packets[is_first & np.isin(pids, list(table_pids))])
    return frozenset().union(*map(_video_tracks, tables))


def _packets(descriptor: int) -> Iterator[NDArray[np.uint8]]:
    """Yield all packets, (n, 188) at a time, wherever they lie."""
    before, after = _around(os.pread(descriptor, 2 * _LARGEST_BYTES, 0))
    stride = before + PACKET_BYTES + after
    for start in range(0, os.fstat(descriptor).st_size, _CHUNK_PACKETS * stride):
        content = np.frombuffer(os.pread(descriptor, (_CHUNK_PACKETS + 1) * stride, start), np.uint8)
        whole = content[: min(len(content) // stride, _CHUNK_PACKETS) * stride].reshape(-1, stride)
        packets = whole[:, before : before + PACKET_BYTES]
        yield packets if (packets[:, 0] == SYNC).all() else _found_packets(content, stride)


def _found_packets(content: NDArray[np.uint8], stride: int) -> NDArray[np.uint8]:
    """Return what may be packets, (n, 188), by where the next one would begin."""
    places = np.flatnonzero((content[:-stride] == SYNC) & (content[stride:] == SYNC))
    places = places[places <= len(content) - PACKET_BYTES]
    packets: NDArray[np.uint8] = content[places[:, None] + np.arange(PACKET_BYTES)]
    return packets


def _around(content: bytes) -> tuple[int, int]:
    """Return how many bytes lie before and after every packet, by the first two."""
    for before, after in _AROUND:
        second = 2 * before + PACKET_BYTES + after
        if content[before : before + 1] == content[second : second + 1] == bytes([SYNC]):
            return before, after
    return _AROUND[0]


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


def _video_tracks(table: bytes) -> set[tuple[int, int]]:
    """Return packet id and kind of the video streams in a table of streams."""
    if table[:1] != bytes([_STREAMS_TABLE]) or len(table) < _STREAMS_AT:
        return set()
    at, found = _STREAMS_AT + (int.from_bytes(table[10:12]) & 0xFFF), set()
    while at + _STREAM_BYTES <= len(table):
        end = at + _STREAM_BYTES + (int.from_bytes(table[at + 3 : at + 5]) & 0xFFF)
        if _is_video(table[at], table[at + _STREAM_BYTES : end]):
            found.add((int.from_bytes(table[at + 1 : at + 3]) & 0x1FFF, table[at]))
        at = end
    return found


def _is_video(kind: int, descriptors: bytes) -> bool:
    if kind != _PRIVATE_TYPE:
        return kind in _VIDEO_TYPES
    at = 0
    while at + 2 <= len(descriptors):
        end = at + 2 + descriptors[at + 1]
        if descriptors[at] == _REGISTRATION and descriptors[at + 2 : at + 6] in _VIDEO_FORMATS:
            return True
        at = end
    return False
