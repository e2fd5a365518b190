"""Says what it costs to judge what viewers get: agreement with labels, points and seconds, by rendition.

python examples/as_delivered.py labelled.parquet --label label --cluster group --every 8 --rendition x264:23

Intervals are of 95%, over the clips of one source together where `--cluster` names its column. Ctrl-C ends it
with what it has so far.
"""

from __future__ import annotations

import argparse
import contextlib

import numpy as np
import pyarrow.parquet as pq

from securevqa_core.bootstrap import Rows, estimate, resample
from securevqa_core.metrics import srcc
from securevqa_core.randomness import Key
from securevqa_core.scorer import Scorer

USUAL = ["x264:23", "x265:28", "av1:35", "vp9:33"]


def main() -> None:
    """Score each video as it is and as it is delivered, in turns, so that both meet the same load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("manifest", help="Parquet with a column `uri` of local paths, and one of labels")
    parser.add_argument("--label", default="label", help="a column of numbers, higher is better")
    parser.add_argument("--cluster", help="a column of what clips were made from")
    parser.add_argument("--every", type=int, default=1, help="take every n-th row")
    parser.add_argument("--rendition", action="append", help=f"repeat; default: {', '.join(USUAL)}")
    arguments = parser.parse_args()
    table = pq.read_table(arguments.manifest).to_pylist()[:: arguments.every]
    kinds = [None, *(arguments.rendition or USUAL)]
    scorers = [Scorer(key=Key.public(1), as_delivered=kind) for kind in kinds]
    scores, seconds, labels, clusters = [], [], [], []
    with contextlib.suppress(KeyboardInterrupt):
        for row in table:
            found = [scorer.score(row["uri"]) for scorer in scorers]
            if all(one.score is not None for one in found) and row[arguments.label] is not None:
                scores.append([one.score for one in found])
                seconds.append([one.decode_seconds for one in found])
                labels.append(row[arguments.label])
                clusters.append(row[arguments.cluster] if arguments.cluster else None)
    for scorer in scorers:
        scorer.close()
    points, spent, people = np.array(scores, dtype=float), np.array(seconds, dtype=float), np.array(labels)
    drawn = resample(len(labels), rng=np.random.default_rng(0), clusters=clusters)

    def gained(rows: Rows) -> float:
        return srcc(points[rows, number], people[rows]) - srcc(points[rows, 0], people[rows])

    print(f"{len(labels)} of {len(table)} videos, scored as they are and as each rendition")
    print("| judged | SRCC | more than of the upload | mean change, points | largest | decoding, median s |")
    print("|---|---|---|---|---|---|")
    for number, kind in enumerate(kinds):
        gain = estimate(gained, drawn)
        between = "" if gain.low is None else f" ({gain.low:+.3f} to {gain.high:+.3f})"
        change = points[:, number] - points[:, 0]
        print(
            f"| {kind or 'the upload'} | {srcc(points[:, number], people):.3f} | {gain.value:+.3f}{between} "
            f"| {change.mean():+.2f} | {np.abs(change).max():.1f} | {np.median(spent[:, number]):.2f} |"
        )


if __name__ == "__main__":
    main()
