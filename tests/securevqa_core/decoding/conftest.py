"""Requests that the decoding tests share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import media
import pytest

from securevqa_core.decoding.extract import DecodeRequest, DrawSeeds
from securevqa_core.types import DecodeLimits, SamplingConfig

SMALL = SamplingConfig(
    num_clips=2, clip_frames=4, grid_size=2, patch_side=16, num_segments=4, segment_frames=4, segment_side=32
)


@pytest.fixture(scope="session")
def make_request() -> Callable[..., DecodeRequest]:
    """Make a request for a few frames; all can be told."""

    def make(
        sampling: SamplingConfig = SMALL,
        *,
        num_draws: int = 1,
        limits: DecodeLimits | None = None,
        **options: Any,
    ) -> DecodeRequest:
        draws = tuple(
            DrawSeeds(skip_sampling=bytes([draw]) * 32, grid_sampling=bytes([draw + 100]) * 32)
            for draw in range(num_draws)
        )
        return DecodeRequest(sampling=sampling, draws=draws, limits=limits or DecodeLimits(), **options)

    return make


@pytest.fixture(scope="session")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Make a video of 100 frames that show their number, once a session for every name."""
    folder = tmp_path_factory.mktemp("numbered")

    def make(name: str, options: str) -> Path:
        path = folder / name
        return path if path.exists() else media.make_numbered(path, 100, options)

    return make


FAULT = b"FAULT "  # a file that begins so is not decoded: the rest is run as Python in the decoding process
_SITE = """
import importlib, os, sys
if "securevqa_core.decoding.child" in sys.orig_argv:
    for module, name in (("extract", "extract_sample"), ("frames", "stream_frames")):
        module = importlib.import_module("securevqa_core.decoding." + module)

        def faulty(descriptor, request, sink=None, sound=getattr(module, name)):
            head = os.pread(descriptor, 4096, 0)
            if not head.startswith(b"FAULT "):
                return sound(descriptor, request, sink)
            exec(head[6:].decode(), {"request": request})
            raise AssertionError("the fault passed")

        setattr(module, name, faulty)
"""


@pytest.fixture(scope="session")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Make files whose content is run in the real, confined decoding process in place of decoding."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(_SITE)

    def make(code: str) -> str:
        path = folder / f"fault{len(list(folder.iterdir()))}"
        path.write_bytes(FAULT + code.encode())
        return str(path)

    sys.path.insert(0, str(folder))  # decoding processes are given the worker's path
    yield make
    sys.path.remove(str(folder))
