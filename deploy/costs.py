"""Measures what a ten-second video costs, stage by stage, in processor time of one thread: see CAPACITY.md.

python deploy/costs.py [FOOTAGE]        FOOTAGE is scaled to every size; without it FFmpeg draws the picture
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from operators.fetch import fetch
from securevqa_core import weights, zoo
from securevqa_core.decoding.bench_config import CLIPS, BenchConfig
from securevqa_core.decoding.benchmark import make_clip
from securevqa_core.decoding.extract import DecodeRequest, DrawSeeds, extract_sample
from securevqa_core.fragments import splice
from securevqa_core.guardian import add_guardian_map
from securevqa_core.randomness import generator
from securevqa_core.scoring import inter_features, raw_scores

MODELS = ("secure-vqa-compact", "secure-vqa")
HEIGHTS = (540, 1080)
REPEATS = 3  # the best counts: other work on the machine only adds
SEEDS = DrawSeeds(skip_sampling=bytes(32), grid_sampling=bytes(32))
CPU = torch.device("cpu")


def best(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what `work` returns, and the least processor seconds it took."""
    seconds = []
    for _ in range(REPEATS):
        started = time.process_time()
        result = work()
        seconds.append(time.process_time() - started)
    return result, min(seconds)


def costs(path: Path, name: str) -> dict[str, float]:
    """Return processor seconds by stage of one video and one draw."""
    sampling = zoo.spec(name).sampling
    model: Any = weights.build(weights.default(name)) if name == zoo.DEFAULT_MODEL else zoo.build(name)
    request = DecodeRequest(sampling=sampling, draws=(SEEDS,))
    _, fetching = best(lambda: fetch(str(path), io.BytesIO(), max_bytes=1 << 40, timeout_seconds=600))
    sample, decoding = best(lambda: extract_sample(str(path), request))
    fragments, splicing = best(
        lambda: np.stack(
            [add_guardian_map(one, generator(bytes(32)), amplitude=1) for one in splice(sample.patches)]
        )
    )
    here = {"device": CPU, "precision": "float32"}
    features, inter = best(
        lambda: inter_features(
            model.inter, sample.frames, sample.segments, [bytes(32)], sampling=sampling, **here
        )
    )
    _, intra = best(lambda: raw_scores(model, fragments, features, **here))
    return {"fetch": fetching, "decode": decoding, "fragments": splicing, "inter": inter, "intra": intra}


def main() -> None:
    """Print a line for every size and model."""
    torch.set_num_threads(1)
    config = BenchConfig(footage=Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    with tempfile.TemporaryDirectory() as folder:
        for clip in CLIPS:
            if clip.codec != "h264" or clip.height not in HEIGHTS:
                continue
            path = make_clip(clip, config, Path(folder))
            size = path.stat().st_size / 1e6
            for name in MODELS:
                said = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in costs(path, name).items())
                print(f"{clip.name}, {config.clip_seconds:g} s, {size:.1f} MB, {name}: {said}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
