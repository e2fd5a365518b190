"""Owns what a still in MP4's boxes (HEIF: HEIC, AVIF) is made of beyond the one item that is decoded."""

from __future__ import annotations

from collections.abc import Iterator

from securevqa_core.decoding.boxes import Box, boxes, child, content
from securevqa_core.decoding.header import MISPLACED

__all__ = ["heif_problems"]

_CODED_ITEMS = frozenset([b"hvc1", b"av01", b"avc1", b"jpeg"])
_PROPERTIES = {b"clap": "a clean aperture of a still", b"lhvC": "further layers or views (lhvC)"}
_AUXILIARY = {b"auxid:1": "alpha", b"auxiliary:alpha": "alpha", b"gainmap": "a gain map"}  # by its name


def heif_problems(descriptor: int, meta: Box, item_id: int) -> Iterator[str]:
    """Yield what makes the shown picture another than the decoded item (ISO/IEC 23008-12).

    Args:
        descriptor: of the file.
        meta: the box that lists the items.
        item_id: of the one that is decoded.
    """
    inside = Box(meta.kind, meta.start + 4, meta.end)
    primary, kinds = _primary(descriptor, inside), _item_kinds(descriptor, inside)
    if primary != item_id:
        yield "a still of which another item is decoded than is shown"
    if (kind := kinds.get(primary)) is None:
        yield MISPLACED
    elif kind not in _CODED_ITEMS:
        yield f"a still put together from others ({kind.decode('latin-1')})"
    if b"tmap" in kinds.values():
        yield "a gain map"
    properties = child(descriptor, inside, b"iprp", b"ipco")
    for box in boxes(descriptor, properties.start, properties.end) if properties else ():
        if box.kind in _PROPERTIES:
            yield _PROPERTIES[box.kind]
        if box.kind == b"auxC":
            name = content(descriptor, box).lower()
            yield from (what for mark, what in _AUXILIARY.items() if mark in name)


def _primary(descriptor: int, meta: Box) -> int:
    box = child(descriptor, meta, b"pitm")
    return int.from_bytes(content(descriptor, box)[4:8]) if box else -1


def _item_kinds(descriptor: int, meta: Box) -> dict[int, bytes]:
    """Return the kinds of items by their numbers."""
    table = child(descriptor, meta, b"iinf")
    if table is None:
        return {}
    count_bytes = 4 if content(descriptor, table)[:1] > b"\0" else 2
    kinds = {}
    for box in boxes(descriptor, table.start + 4 + count_bytes, table.end):
        held = content(descriptor, box)
        id_bytes = 4 if held[:1] > b"\2" else 2
        kind_at = 4 + id_bytes + 2
        kinds[int.from_bytes(held[4 : 4 + id_bytes])] = held[kind_at : kind_at + 4]
    return kinds
