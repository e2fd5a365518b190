"""Owns which files of a folder are videos, by what they are: by their names, else by their first bytes.

| file                                                   |                                               |
|--------------------------------------------------------|-----------------------------------------------|
| named as a video or a picture                          | a video, whatever is in it: it may be damaged |
| begins as a video or a picture                         | a video, whatever its name                    |
| named as something else, text, an archive, a database  | no video                                      |
| anything else                                          | a video, which fails if it is none            |
"""

from __future__ import annotations

import codecs
import mimetypes
from collections.abc import Callable

__all__ = ["HEAD_BYTES", "is_named_as_video", "may_be_video"]

HEAD_BYTES = 512  # enough for two packets of a transport stream

_VIDEOS = """
    3g2 3gp asf avi divx dv f4v flv h264 hevc m1v m2ts m2v m4v mj2 mkv mov mp4 mpeg mpg mts mxf ogm ogv qt ts
    vob webm wmv y4m
"""
_PICTURES = "avif bmp gif heic heif jpeg jpg png webp"
_NAMED = frozenset(f"{_VIDEOS} {_PICTURES}".split())
_NAMED_OTHERWISE = frozenset(
    {"db", "ds_store", "ini", "log", "md", "parquet", "rst", "srt", "toml", "vtt", "yaml"}
)
_OTHER_TYPES = ("application/", "audio/", "font/", "message/", "text/")
_NO_TYPE = "application/octet-stream"

_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")  # of MP4, MOV, HEIF; after a size
_STARTS = (
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG video
    b"\x00\x00\x00\x01",  # H.264, HEVC
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF
    b"\x06\x0e\x2b\x34",  # MXF
    b"FLV\x01",
    b"OggS",
    b"GIF8",
    b"\x89PNG",
    b"\xff\xd8\xff",  # JPEG
)
_RIFF_KINDS = (b"AVI ", b"WEBP")
_OTHER_STARTS = (
    b"\xd0\xcf\x11\xe0",  # OLE: Thumbs.db, old Office files
    b"%PDF",
    b"PK\x03\x04",  # ZIP
    b"\x1f\x8b",  # gzip
    b"7z\xbc\xaf",
    b"PAR1",  # Parquet
    b"SQLite format 3",
    b"\x7fELF",
)
_SYNC, _PACKET_BYTES = 0x47, 188  # of a transport stream

_TYPES = mimetypes.MimeTypes()  # Python's own, and not the machine's


def is_named_as_video(name: str) -> bool:
    """Tell whether a file is a video or a picture by its name alone."""
    return _suffix(name) in _NAMED


def may_be_video(name: str, head: Callable[[], bytes | None]) -> bool:
    """Tell whether a file is to be scored.

    Args:
        name: of the file.
        head: gives its first `HEAD_BYTES`, None where they cannot be read; asked if the name does not tell.
    """
    if is_named_as_video(name):
        return True
    content = head()
    if content is None or _begins_as_video(content):
        return True
    return not (_is_named_otherwise(name) or content.startswith(_OTHER_STARTS) or _is_text(content))


def _suffix(name: str) -> str:
    last = name.rpartition("/")[2].lower()
    return last.rpartition(".")[2] if "." in last else ""


def _is_named_otherwise(name: str) -> bool:
    suffix = _suffix(name)
    kind = _TYPES.types_map[True].get(f".{suffix}", "")
    return suffix in _NAMED_OTHERWISE or (kind.startswith(_OTHER_TYPES) and kind != _NO_TYPE)


def _begins_as_video(content: bytes) -> bool:
    if content.startswith(_STARTS) or content[4:8] in _BOXES:
        return True
    if content.startswith(b"RIFF"):
        return content[8:12] in _RIFF_KINDS
    if content.startswith(b"BM"):
        return content[6:10] == bytes(4)
    return any(_is_sync(content, start) for start in (0, 4))  # 4: M2TS puts a time before each packet


def _is_sync(content: bytes, start: int) -> bool:
    second = start + _PACKET_BYTES + start
    return len(content) > second and content[start] == content[second] == _SYNC


def _is_text(content: bytes) -> bool:
    """Tell whether the bytes are UTF-8 without control characters but those of lines; nothing is no text."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(content)
    except UnicodeDecodeError:
        return False
    return bool(text) and all(char.isprintable() or char in "\t\n\r\f" for char in text)
