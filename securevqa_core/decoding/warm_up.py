"""Owns making a process ready to decode: all that decoding imports comes before it can open no file."""

from __future__ import annotations

import importlib
import io
import os
import pkgutil

import av
from av.video.frame import VideoFrame

from securevqa_core.decoding.collect import DrawSeeds
from securevqa_core.decoding.decord_backend import load_decord
from securevqa_core.decoding.extract import DecodeRequest, extract_sample
from securevqa_core.types import SamplingConfig

__all__ = ["warm_up"]


def warm_up() -> None:
    """Import what would be imported on the way, and decode a video of our own."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if not module.name.endswith(("__main__", ".datasets")):
            importlib.import_module(module.name)
    importlib.import_module("numpy.ma")  # np.isin asks whether it was given a masked array
    load_decord()
    descriptor = os.memfd_create("warm_up")
    os.write(descriptor, _tiny_video())
    draw = DrawSeeds(skip_sampling=bytes(32), grid_sampling=bytes(32))
    sampling = SamplingConfig(num_clips=1, clip_frames=2, grid_size=1, num_segments=1, segment_frames=2)
    extract_sample(descriptor, DecodeRequest(sampling=sampling, draws=(draw,)))
    os.close(descriptor)


def _tiny_video() -> bytes:
    content = io.BytesIO()
    with av.open(content, "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for frame in (VideoFrame(64, 64, "yuv420p"), VideoFrame(64, 64, "yuv420p"), None):
            container.mux(stream.encode(frame))
    return content.getvalue()
