"""Owns listing the pictures of an MPEG transport stream from packet headers alone, many at a time."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securevqa_core.decoding.film_table import FilmTable

__all__ = ["PACKET_BYTES", "SYNC", "transport_table"]

# ISO/IEC 13818-1, sections 2.4.3.2 (packets), 2.4.3.4 (adaptation fields) and 2.4.3.6 (PES headers).
PACKET_BYTES = 188
SYNC = 0x47
_CHUNK_BYTES = (1 << 13) * PACKET_BYTES
_CLOCK = 1 << 33  # ticks after which time stamps begin anew
_PES_STAMPS_BYTES = 19  # a PES header up to the end of both time stamps
_DAMAGED, _SCRAMBLED, _DISCONTINUOUS = 0x80, 0xC0, 0x80
# By what most pictures lie apart. Two pictures in a packet with one stamp leave twice that, and so does one
# that was lost: FFmpeg has to tell which it is.
_MAX_GAP = 1.9
_MAX_DOUBTFUL = 400  # to look at more takes as long as to read every packet
_ROW = np.dtype([("position", "i8"), ("pts", "i8"), ("dts", "i8"), ("is_entry", "?")])

_Bytes = NDArray[np.uint8]


def transport_table(descriptor: int, pid: int, start_time: int | None) -> FilmTable | None:
    """List the pictures of one elementary stream; None where headers do not tell one from the next.

    Args:
        descriptor: of the file.
        pid: of the stream's packets.
        start_time: of the stream as FFmpeg tells it, which may count whole turns of the clock more or less.
    """
    size_bytes = os.fstat(descriptor).st_size
    if size_bytes % PACKET_BYTES or start_time is None:
        return None
    parts = []
    for start in range(0, size_bytes, _CHUNK_BYTES):
        content = os.pread(descriptor, _CHUNK_BYTES, start)
        if len(content) != min(_CHUNK_BYTES, size_bytes - start):
            return None
        part = _rows(np.frombuffer(content, dtype=np.uint8).reshape(-1, PACKET_BYTES), pid, start)
        if part is None:
            return None
        parts.append(part)
    return _table(np.concatenate(parts), start_time) if parts else None


def _rows(packets: _Bytes, pid: int, start: int) -> NDArray[Any] | None:
    """Return a row for each picture that begins in `packets`, (n, 188); None where one tells too little."""
    heads = np.ascontiguousarray(packets[:, :4])
    if (heads[:, 0] != SYNC).any():
        return None
    numbers = np.flatnonzero((heads[:, 2] == pid & 0xFF) & (heads[:, 1] & 0x1F == pid >> 8))
    mine = heads[numbers]
    if (mine[:, 1] & _DAMAGED).any() or (mine[:, 3] & _SCRAMBLED).any():
        return None
    numbers = numbers[mine[:, 1] & 0x40 != 0]
    firsts = packets[numbers]
    has_field = firsts[:, 3] & 0x20 != 0
    flags = np.where(has_field & (firsts[:, 4] > 0), firsts[:, 5], 0)
    at = 4 + np.where(has_field, firsts[:, 4].astype(np.int64) + 1, 0)
    if (flags & _DISCONTINUOUS).any() or (at > PACKET_BYTES - _PES_STAMPS_BYTES).any():
        return None
    pes = np.take_along_axis(firsts, at[:, None] + np.arange(_PES_STAMPS_BYTES), axis=1)
    if not ((pes[:, :3] == [0, 0, 1]).all() and (pes[:, 7] & 0x80).all()):
        return None
    rows = np.empty(len(numbers), dtype=_ROW)
    rows["position"], rows["is_entry"] = start + numbers * PACKET_BYTES, flags & 0x40 != 0
    rows["pts"] = _stamps(pes[:, 9:14])
    rows["dts"] = np.where(pes[:, 7] & 0x40, _stamps(pes[:, 14:19]), rows["pts"])
    return rows


def _stamps(coded: _Bytes) -> NDArray[np.int64]:
    """Return the 33 bits of each time stamp, (n, 5) bytes with marker bits between."""
    a, b, c, d, e = coded.T.astype(np.int64)
    stamps: NDArray[np.int64] = (a >> 1 & 7) << 30 | b << 22 | c >> 1 << 15 | d << 7 | e >> 1
    return stamps


def _table(rows: NDArray[Any], start_time: int) -> FilmTable | None:
    if len(rows) < 2 or not rows["is_entry"][0]:
        return None
    gaps = (np.diff(rows["dts"]) + _CLOCK // 2) % _CLOCK - _CLOCK // 2
    delays = (rows["pts"] - rows["dts"]) % _CLOCK
    doubtful = np.flatnonzero(gaps > _MAX_GAP * np.median(gaps))
    if gaps.min() < 1 or len(doubtful) > _MAX_DOUBTFUL or delays.max() > _CLOCK // 2:
        return None
    first = int(rows["dts"][0])
    first += round((start_time - first) / _CLOCK) * _CLOCK
    dts = first + np.concatenate([[0], np.cumsum(gaps)])
    shown = np.sort(dts + delays)
    if (shown[1:] == shown[:-1]).any():
        return None
    entries = np.flatnonzero(rows["is_entry"])
    return FilmTable(
        dts=dts,
        keyframes=entries,
        positions=rows["position"].copy(),
        doubtful=doubtful,
        times=shown,
    )
