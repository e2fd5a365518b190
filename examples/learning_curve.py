"""Says what more sources bring: trains the default from nothing on shares of them, and tries each alike.

python examples/learning_curve.py data/manifest.parquet unseen/manifest.parquet --output curve

Every training takes as many steps and chooses its epoch by the same validation clips; a smaller share is part
of a larger one. What was cached, trained and scored is there when the same command is run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

# Those of the shipped default that do not go on from other weights: securevqa_core/checkpoints/README.md.
TRAINING = """--label-column label --source-column group --cached-draws 1 --inter trained
    --num-statistics-draws 1 --no-flip --learning-rate 1e-3 --backbone-factor 1 --warmup-epochs 0.5
    --rank-weight 0.5 --distance-weight 0.5 --difference-weight 0 --batch-size 32 --clips-per-content 8
    --pair-weight 3 --ema-decay 0.99 --use-gpu no --threads 1"""
MEASURING = "--label-column label --ladder ladder --cluster group --seed 0"


def main() -> None:
    """Train and try each share, and print a row of a table for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "manifest", type=Path, help="of `securevqa dataset build`, with clips of train and val"
    )
    parser.add_argument("tried", type=Path, help="another, of sources that the first has not")
    parser.add_argument("--output", type=Path, required=True, help="folder for what is made")
    parser.add_argument(
        "--share", type=float, action="append", help="of the sources; repeat; default: 1/8 to 1"
    )
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=180, help="of an epoch")
    parser.add_argument("--draws", type=int, default=2, help="of a score")
    parser.add_argument(
        "--seed", type=int, default=0, help="decides which sources a share has, and the training"
    )
    arguments = parser.parse_args()
    table = pq.read_table(arguments.manifest)
    groups, splits = (np.array(table[name].to_pylist()) for name in ("group", "split"))
    ordered = np.random.default_rng(arguments.seed).permutation(np.unique(groups[splits == "train"]))
    print("| sources | clips | SRCC | tau in ladders |\n|---|---|---|---|", flush=True)
    for share in arguments.share or (0.125, 0.25, 0.5, 1.0):
        chosen = ordered[: max(1, round(share * len(ordered)))]
        folder = arguments.output / f"{len(chosen)}"
        folder.mkdir(parents=True, exist_ok=True)
        is_taken = (splits == "val") | (splits == "train") & np.isin(groups, chosen)
        part, run, tried = (folder / name for name in ("share.parquet", "run", "tried"))
        pq.write_table(table.filter(is_taken), part)
        kept = f"--output {run} --cache-dir {arguments.output / 'cache'} --seed {arguments.seed}"
        size = f"--epochs {arguments.epochs} --steps-per-epoch {arguments.steps}"
        securevqa(f"train {part} {kept} {size} {TRAINING}")
        of_run = f"--checkpoint {run / 'checkpoint.safetensors'} --draws {arguments.draws}"
        securevqa(f"evaluate {arguments.tried} --output {tried} {of_run} {MEASURING}")
        (model,) = json.loads((tried / "evaluation.json").read_text())["models"]
        found = (shown(model["overall"]["srcc"]), shown(model["ladders"]["mean_tau"]))
        num_clips = (is_taken & (splits == "train")).sum()
        print(f"| {len(chosen)} | {num_clips} | {' | '.join(found)} |", flush=True)


def securevqa(command: str) -> None:
    """Run a command, whose progress goes to standard error; no path may have a space."""
    words = [sys.executable, "-m", "securevqa", *command.split(), "--quiet"]
    subprocess.run(words, check=True, stdout=sys.stderr)  # noqa: S603 - the user's own paths


def shown(measured: dict[str, float]) -> str:
    """Return a value with its interval."""
    return f"{measured['value']:.3f} ({measured['low']:.2f} to {measured['high']:.2f})"


if __name__ == "__main__":
    main()
