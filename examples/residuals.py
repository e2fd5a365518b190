"""Says what a model's errors are of: SRCC as it is, and were the mean error of each source, or family, known.

securevqa evaluate unseen/manifest.parquet --output measured --label-column label --cluster group --seed 0
python examples/residuals.py measured/runs/secure-vqa-compact

What knowing a source would bring is what no judge without a reference has: whether a picture is meant so.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from securevqa_core.bootstrap import estimate, resample
from securevqa_core.metrics import srcc

Values = NDArray[np.float64]


def main() -> None:
    """Print a row for each kind of knowledge, and one for each family."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run, whose manifest had the columns below")
    parser.add_argument("--label", default="label", help="a column of numbers, higher is better")
    parser.add_argument("--source", default="group", help="a column of what clips were made from")
    parser.add_argument("--family", default="family", help="a column of what was done to them")
    arguments = parser.parse_args()
    names = ["score", arguments.label, arguments.source, arguments.family]
    table = ds.dataset(arguments.run / "report", format="parquet").to_table(columns=names).drop_null()
    score, label = (table[name].to_numpy().astype(float) for name in names[:2])
    sources, families = (np.array(table[name].to_pylist()) for name in names[2:])
    guessed: Values = IsotonicRegression(out_of_bounds="clip").fit(score, label).predict(score)
    error = label - guessed
    drawn = resample(len(label), rng=np.random.default_rng(0), clusters=sources.tolist())
    known = {"nothing": score}
    for name, kinds in (("source", sources), ("family", families)):
        known[name] = guessed + means(error, kinds)
    print("| known besides | SRCC | of the squared error it explains |\n|---|---|---|")
    for name, values in known.items():
        found = estimate(lambda rows, values=values: srcc(values[rows], label[rows]), drawn)
        share = 0.0 if name == "nothing" else float(np.var(values - guessed) / np.mean(error**2))
        print(f"| {name} | {found.value:.3f} ({found.low:.2f} to {found.high:.2f}) | {share:.2f} |")
    print("\n| family | clips | label, mean | error, mean | error, sd |\n|---|---|---|---|---|")
    for family in np.unique(families):
        rows = families == family
        spread = f"{error[rows].mean():+.1f} | {error[rows].std():.1f}"
        print(f"| {family} | {rows.sum()} | {label[rows].mean():.1f} | {spread} |")


def means(error: Values, kinds: NDArray[np.str_]) -> Values:
    """Return the mean error of each row's kind."""
    _, inside, counts = np.unique(kinds, return_inverse=True, return_counts=True)
    found: Values = (np.bincount(inside, weights=error) / counts)[inside]
    return found


if __name__ == "__main__":
    main()
