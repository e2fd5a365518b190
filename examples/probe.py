"""Trains a linear probe on embeddings that `securevqa extract` wrote, with nothing of this project.

securevqa extract labelled.csv --output runs/features --features fused
python examples/probe.py runs/features --column fused --label mos
"""

import argparse
import json
from pathlib import Path

import numpy as np
import polars as pl

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("run", help="a local run directory of `securevqa extract`")
parser.add_argument("--column", default="fused", help="the embedding: intra, inter or fused")
parser.add_argument("--label", default="mos", help="a column of the manifest with numbers")
parser.add_argument("--folds", type=int, default=5)
arguments = parser.parse_args()

run = json.loads(Path(arguments.run, "run.json").read_text())
files = [f"{arguments.run}/{file['name']}" for file in run["files"]]
report = pl.read_parquet(files).filter(pl.col("status") == "scored")
x = np.array(report[arguments.column].to_list(), dtype=float).reshape(report.height, -1)
y = report[arguments.label].cast(pl.Float64).to_numpy()

# Ridge regression in its dual form: one row and column a video, however long the embedding.
fold = np.random.default_rng(0).permutation(len(y)) % arguments.folds
predicted = np.empty_like(y)
for number in range(arguments.folds):
    train, test = fold != number, fold == number
    mean, spread = x[train].mean(axis=0), x[train].std(axis=0) + 1e-6
    a, b = (x[train] - mean) / spread, (x[test] - mean) / spread
    weights = np.linalg.solve(a @ a.T + x.shape[1] * np.eye(len(a)), y[train] - y[train].mean())
    predicted[test] = b @ a.T @ weights + y[train].mean()

pairs = pl.DataFrame({"predicted": predicted, "label": y})
srcc = pairs.select(pl.corr("predicted", "label", method="spearman")).item()
print(f"{len(y)} videos, {x.shape[1]} features, {arguments.folds} folds: SRCC {srcc:.3f}")
