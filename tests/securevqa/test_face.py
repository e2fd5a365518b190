"""`import securevqa`: what it hands on, what it does not start, and how fast a plain script is."""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import securevqa
from securevqa_core.errors import ConfigurationError
from securevqa_core.scorer import Scorer
from securevqa_core.video_score import ClipScore, Failure, VideoScore

ROOT = Path(securevqa.__file__).parents[1]


def test_every_public_name_is_there_and_no_other() -> None:
    for name in securevqa.__all__:
        assert getattr(securevqa, name) is not None
    assert dir(securevqa) == sorted(securevqa.__all__)
    assert securevqa.Scorer is Scorer
    assert securevqa.ConfigurationError is ConfigurationError
    assert securevqa.__version__ == importlib.metadata.version("securevqa")
    with pytest.raises(AttributeError, match="'scores'"):
        securevqa.scores  # noqa: B018


def test_what_docstrings_say_is_raised_is_caught_by_its_name_here() -> None:
    for documented in (securevqa.score, securevqa.Scorer):
        raised = re.findall(r"(\w+Error):", (documented.__doc__ or "").split("Raises:")[1])
        assert set(raised) == {"ConfigurationError", "CheckpointError"} <= set(securevqa.__all__)
    with pytest.raises(securevqa.ConfigurationError, match="got 0"):
        securevqa.Scorer(draws=0)
    with pytest.raises(securevqa.CheckpointError, match="absent"):
        securevqa.score(b"", checkpoint="absent.safetensors")


@pytest.mark.parametrize("kind", [VideoScore, ClipScore, Failure])
def test_help_has_a_line_for_every_field(kind: type[VideoScore | ClipScore | Failure]) -> None:
    said = dict(re.findall(r"^ +(\w+): (.+)$", inspect.getdoc(kind) or "", re.MULTILINE))
    assert list(said) == [field.name for field in fields(kind)]


@pytest.mark.slow
def test_one_call_scores_a_file_and_frames(videos: dict[str, Path]) -> None:
    key = securevqa.Key.public(2)
    path = videos["bikes_h264.mp4"]
    with Scorer(key=key) as scorer:
        assert securevqa.score(path, key=key).score == scorer.score(path).score
    frames = np.random.default_rng(0).integers(0, 256, (20, 240, 320, 3), dtype=np.uint8)
    assert securevqa.score(frames, fps=25, key=key).failure is None
    with pytest.raises(ConfigurationError, match="fps must be given with frames"):
        securevqa.score(frames)


@pytest.mark.slow
def test_importing_starts_nothing_and_a_script_keeps_its_threads(videos: dict[str, Path]) -> None:
    program = f"""
import os, subprocess, sys, threading
started = []
popen = subprocess.Popen.__init__
def counted(self, *arguments, **options):
    if arguments[0][0] == sys.executable:
        started.append(arguments)
    popen(self, *arguments, **options)
subprocess.Popen.__init__ = counted
import securevqa
assert not {{"numpy", "torch", "av", "ray", "pyarrow"}} & set(sys.modules)
assert threading.active_count() == 1 and not started
import torch
threads = []
forward = torch.nn.functional.scaled_dot_product_attention
def watched(*arguments, **options):
    threads.append(torch.get_num_threads())
    return forward(*arguments, **options)
torch.nn.functional.scaled_dot_product_attention = watched
torch.set_num_threads(7)
one = securevqa.score({str(videos["bikes_h264.mp4"])!r}, key=securevqa.Key.public(1))
assert one.failure is None
assert set(threads) <= {{1}}, threads
assert torch.get_num_threads() == 7
assert len(started) == 1, started
assert "ray" not in sys.modules and "pipeline" not in sys.modules and "operators" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=dict(os.environ), check=True, timeout=120)
