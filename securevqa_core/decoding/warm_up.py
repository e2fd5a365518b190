"""Owns making a process ready to decode: all that decoding imports comes before it can open no file."""

from __future__ import annotations

import fcntl
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

__all__ = ["rehearse", "warm_up"]

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


def warm_up() -> int:
    """Import what would be imported on the way, decode a video of our own and return its descriptor."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if not module.name.endswith(("__main__", ".datasets")):
            importlib.import_module(module.name)
    importlib.import_module("numpy.ma")  # np.isin asks whether it was given a masked array
    load_decord()
    descriptor = os.memfd_create("warm_up", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(descriptor, _tiny_video())
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    rehearse(descriptor)
    return descriptor


def rehearse(descriptor: int) -> None:
    """Decode the video of our own; in a process that was just forked this copies what decoding writes to."""
    draw = DrawSeeds(skip_sampling=bytes(32), grid_sampling=bytes(32))
    sampling = SamplingConfig(num_clips=1, clip_frames=2, grid_size=1, num_segments=1, segment_frames=2)
    extract_sample(descriptor, DecodeRequest(sampling=sampling, draws=(draw,), takes_glances=True))


def _tiny_video() -> bytes:
    content = io.BytesIO()
    with av.open(content, "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for frame in (VideoFrame(64, 64, "yuv420p"), VideoFrame(64, 64, "yuv420p"), None):
            container.mux(stream.encode(frame))
    return content.getvalue()
