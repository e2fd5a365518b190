"""Owns what a decoder may be asked to open: containers, codecs and protocols, in one place."""

from __future__ import annotations

__all__ = ["CODECS", "CONTAINERS", "OPEN_OPTIONS"]

# FFmpeg demuxers that read the bytes they are given and nothing else: no playlist, no script, no image sequence.
CONTAINERS = frozenset(
    "mov mp4 m4a 3gp 3g2 mj2 matroska webm avi mpegts mpeg mpegvideo h264 hevc flv ogg asf mxf gif "
    "png_pipe jpeg_pipe webp_pipe bmp_pipe".split()
)

# Codecs by FFmpeg's canonical names.
CODECS = frozenset(
    "h264 hevc vp8 vp9 av1 mpeg1video mpeg2video mpeg4 msmpeg4v2 msmpeg4v3 h263 wmv2 wmv3 vc1 prores dnxhd theora "
    "mjpeg png webp bmp gif ffv1 huffyuv rawvideo".split()
)

# Given to every open: FFmpeg itself then refuses other demuxers and every protocol but local files.
OPEN_OPTIONS = {"format_whitelist": ",".join(sorted(CONTAINERS)), "protocol_whitelist": "file"}
