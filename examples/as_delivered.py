"""Says what it costs to judge what viewers get: agreement with labels, points and seconds, by rendition.

python examples/as_delivered.py labelled.parquet --label label --every 8 --rendition x264:23

Ctrl-C ends it with what it has so far.
"""

from __future__ import annotations

import argparse
import contextlib

import numpy as np
import pyarrow.parquet as pq

from securevqa_core.metrics import srcc
from securevqa_core.randomness import Key
from securevqa_core.scorer import Scorer

USUAL = ["x264:23", "x265:28", "av1:35", "vp9:33"]


def main() -> None:
    """Score each video as it is and as it is delivered, in turns, so that both meet the same load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("manifest", help="Parquet with a column `uri` of local paths, and one of labels")
    parser.add_argument("--label", default="label", help="a column of numbers, higher is better")
    parser.add_argument("--every", type=int, default=1, help="take every n-th row")
    parser.add_argument("--rendition", action="append", help=f"repeat; default: {', '.join(USUAL)}")
    arguments = parser.parse_args()
    table = pq.read_table(arguments.manifest).to_pylist()[:: arguments.every]
    kinds = [None, *(arguments.rendition or USUAL)]
    scorers = [Scorer(key=Key.public(1), as_delivered=kind) for kind in kinds]
    scores, seconds, labels = [], [], []
    with contextlib.suppress(KeyboardInterrupt):
        for row in table:
            found = [scorer.score(row["uri"]) for scorer in scorers]
            if all(one.score is not None for one in found) and row[arguments.label] is not None:
                scores.append([one.score for one in found])
                seconds.append([one.decode_seconds for one in found])
                labels.append(row[arguments.label])
    for scorer in scorers:
        scorer.close()
    points, spent = np.array(scores, dtype=float), np.array(seconds, dtype=float)
    print(f"{len(labels)} of {len(table)} videos, scored as they are and as each rendition")
    print("| judged | SRCC | mean change, points | largest | seconds of decoding a video, median | mean |")
    print("|---|---|---|---|---|---|")
    for number, kind in enumerate(kinds):
        change, spent_on = points[:, number] - points[:, 0], spent[:, number]
        print(
            f"| {kind or 'the upload'} | {srcc(points[:, number], labels):.3f} | {change.mean():+.2f} "
            f"| {np.abs(change).max():.1f} | {np.median(spent_on):.2f} | {spent_on.mean():.2f} |"
        )


if __name__ == "__main__":
    main()
