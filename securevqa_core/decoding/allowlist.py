"""Owns what a decoder may be asked to open: containers, codecs and protocols, in one place."""

from __future__ import annotations

import functools

import av.codec

__all__ = ["CODECS", "CONTAINERS", "open_options"]

# FFmpeg demuxers that read the bytes they are given and nothing else: no playlist, script or image sequence.
CONTAINERS = frozenset(
    [
        "mov",
        "mp4",
        "m4a",
        "3gp",
        "3g2",
        "mj2",
        "matroska",
        "webm",
        "avi",
        "mpegts",
        "mpeg",
        "mpegvideo",
        "h264",
        "hevc",
        "flv",
        "ogg",
        "asf",
        "mxf",
        "gif",
        "png_pipe",
        "jpeg_pipe",
        "webp_pipe",
        "bmp_pipe",
    ]
)

# Codecs by FFmpeg's canonical names.
CODECS = frozenset(
    [
        "h264",
        "hevc",
        "vp8",
        "vp9",
        "av1",
        "mpeg1video",
        "mpeg2video",
        "mpeg4",
        "msmpeg4v2",
        "msmpeg4v3",
        "h263",
        "wmv2",
        "wmv3",
        "vc1",
        "prores",
        "dnxhd",
        "theora",
        "mjpeg",
        "png",
        "webp",
        "bmp",
        "gif",
        "ffv1",
        "huffyuv",
        "rawvideo",
    ]
)


@functools.cache
def _decoders() -> frozenset[str]:
    """Return FFmpeg's decoders for `CODECS`, by their own names: av1, for one, is read by libdav1d."""
    software = (name for name in av.codec.codecs_available if "_" not in name)  # h264_cuvid needs a device
    return frozenset(name for name in software if _canonical_name(name) in CODECS)


def _canonical_name(decoder: str) -> str | None:
    try:
        return str(av.codec.Codec(decoder, "r").canonical_name)
    except ValueError:  # an encoder only
        return None


def open_options() -> dict[str, str]:
    """Return what every open is given: FFmpeg itself then refuses other demuxers, decoders and protocols.

    The list of decoders matters before a stream is chosen: FFmpeg opens a decoder for every stream, sound
    included, just to learn its parameters.
    """
    return {
        "format_whitelist": ",".join(sorted(CONTAINERS)),
        "codec_whitelist": ",".join(sorted(_decoders())),
        "protocol_whitelist": "fd",
    }
