"""Says what `score --notice` notices: attacked videos, and clean ones that are suspected, by ROC curves.

With `--label` it says, too, what `score --cap` costs: how many clean videos it holds, and in agreement.

python examples/suspicion.py clean.parquet --attacked attacks/pgd --attacked attacks/flicker --figure roc.png

What is usual is fitted to clean videos of all parts of the sources but one, and judges that part, and attacks
on videos of it; then the next. Each of `--attacked` is an output of `securevqa attack --write-videos`, of the
same manifest. Scores are kept as they come: the same command goes on where it was ended.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from matplotlib import pyplot
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from securevqa_core.bootstrap import estimate, resample
from securevqa_core.metrics import srcc
from securevqa_core.randomness import Key
from securevqa_core.rendition import Rendition
from securevqa_core.scorer import Scorer
from securevqa_core.suspicion import fit_clean_drops

CLEAN = "clean"
SUSPECTED = 0.99


def main() -> None:
    """Score clean and attacked videos and their renditions, and hold one kind against the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("manifest", help="Parquet with columns `uri` of local paths, and of sources")
    parser.add_argument(
        "--source", default="source", help="column that tells apart what nothing is shared by"
    )
    parser.add_argument("--attacked", action="append", default=[], help="output of the attack lab; repeat")
    parser.add_argument("--parts", type=int, default=2, help="that the sources are cut into")
    parser.add_argument("--checkpoint", help="file or model; default: what ships")
    parser.add_argument("--rendition", default="x264:23")
    parser.add_argument("--kept", type=Path, default=Path("suspicion.jsonl"), help="scores as they come")
    parser.add_argument("--label", help="a column of numbers, higher is better")
    parser.add_argument("--figure", type=Path, help="picture to write")
    arguments = parser.parse_args()
    listed = pq.read_table(arguments.manifest).to_pylist()
    source_of = {row["uri"]: row[arguments.source] for row in listed}
    videos = [(CLEAN, uri, source) for uri, source in source_of.items()]
    for place in map(Path, arguments.attacked):
        rows = pq.read_table(place / "attack.parquet").to_pylist()
        done = [row for row in rows if row["status"] == "attacked"]
        videos += [(place.name, str(place / row["attacked_uri"]), source_of[row["uri"]]) for row in done]
    rows = scored(videos, arguments)
    judge(rows, Rendition.parse(arguments.rendition), num_parts=arguments.parts)
    say(rows)
    if arguments.label is not None:
        say_cost(rows, {row["uri"]: row[arguments.label] for row in listed})
    if arguments.figure is not None:
        draw(rows, arguments.figure)


def scored(videos: list[tuple[str, str, Any]], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the scores of videos and of their renditions; those that fail are left out, and said."""
    lines = arguments.kept.read_text().splitlines() if arguments.kept.exists() else []
    known = {row["uri"]: row for row in map(json.loads, lines)}
    common: dict[str, Any] = {"checkpoint": arguments.checkpoint, "key": Key.public(1)}
    rows = []
    with (
        Scorer(**common) as upload,
        Scorer(**common, as_delivered=arguments.rendition) as delivered,
        arguments.kept.open("a") as kept,
    ):
        for kind, uri, source in videos:
            if uri not in known:
                both = [one.score(uri) for one in (upload, delivered)]
                known[uri] = {"uri": uri, "scores": [one.score for one in both], "draws": upload.num_draws}
                kept.write(json.dumps(known[uri]) + "\n")
                kept.flush()
            score, lower = known[uri]["scores"]
            if score is None or lower is None:
                print(f"not scored: {uri}")
                continue
            found = {
                "uri": uri,
                "kind": kind,
                "source": source,
                "score": score,
                "rendition": lower,
                "drop": score - lower,
            }
            rows.append(found | {"draws": known[uri]["draws"]})
    return rows


def judge(rows: list[dict[str, Any]], rendition: Rendition, *, num_parts: int) -> None:
    """Give each row the suspicion that clean videos of the other parts of the sources let it have."""
    order = sorted({str(row["source"]) for row in rows})
    part_of = {source: place % num_parts for place, source in enumerate(order)}
    for part in range(num_parts):
        clean = [row for row in rows if row["kind"] == CLEAN and part_of[str(row["source"])] != part]
        fitted = fit_clean_drops(
            [row["score"] for row in clean],
            [row["drop"] for row in clean],
            rendition=rendition,
            num_draws=rows[0]["draws"],
        )
        for row in rows:
            if part_of[str(row["source"])] == part:
                row["suspicion"] = fitted.judged(row["score"], row["rendition"]).suspicion
                row["held"] = min(row["score"], fitted.cap(row["rendition"]))


def say(rows: list[dict[str, Any]]) -> None:
    """Print one line for the clean videos, and one an attack."""
    print(f"| | videos | drop, median | largest | AUC of it | of suspicion | suspicion >= {SUSPECTED} |")
    print("|---|---|---|---|---|---|---|")
    for kind in dict.fromkeys(row["kind"] for row in rows):
        drops, found = (column(rows, kind, name) for name in ("drop", "suspicion"))
        cells = [kind, str(len(drops)), f"{np.median(drops):+.1f}", f"{drops.max():+.1f}"]
        both = [against_clean(rows, kind, name) for name in ("drop", "suspicion")]
        cells += ["", ""] if kind == CLEAN else [f"{roc_auc_score(*one):.3f}" for one in both]
        is_suspected = found >= SUSPECTED
        print(f"| {' | '.join(cells)} | {is_suspected.sum()}, {is_suspected.mean():.1%} |")


def say_cost(rows: list[dict[str, Any]], label_of: dict[str, float | None]) -> None:
    """Print how many clean videos a cap holds, and what that costs in agreement, over sources together."""
    clean = [row for row in rows if row["kind"] == CLEAN and label_of[row["uri"]] is not None]
    labels = np.array([label_of[row["uri"]] for row in clean], dtype=float)
    score, held, rendition = (column(clean, CLEAN, name) for name in ("score", "held", "rendition"))
    drawn = resample(len(clean), rng=np.random.default_rng(0), clusters=[str(row["source"]) for row in clean])
    print(f"{(held < score).mean():.1%} of {len(clean)} clean videos held, SRCC {srcc(score, labels):.3f}")
    for name, judged in (("held", held), ("rendition", rendition)):
        cost = estimate(
            lambda of, judged=judged: srcc(judged[of], labels[of]) - srcc(score[of], labels[of]), drawn
        )
        print(f"{name}: {cost.value:+.3f} ({cost.low:+.3f} to {cost.high:+.3f})")


def column(rows: list[dict[str, Any]], kind: str, name: str) -> NDArray[np.float64]:
    """Return a value of all rows of a kind."""
    return np.array([row[name] for row in rows if row["kind"] == kind], dtype=np.float64)


def against_clean(rows: list[dict[str, Any]], kind: str, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return which of the clean videos and those of a kind are attacked, and a value of each."""
    clean, attacked = column(rows, CLEAN, name), column(rows, kind, name)
    return np.repeat([0, 1], [len(clean), len(attacked)]), np.concatenate([clean, attacked])


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the share of attacked videos above each limit over that of clean ones."""
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
    for panel, name in zip(axes, ("drop", "suspicion"), strict=True):
        for kind in dict.fromkeys(row["kind"] for row in rows if row["kind"] != CLEAN):
            both = against_clean(rows, kind, name)
            alarms, noticed, _ = roc_curve(*both, drop_intermediate=False)
            panel.step(alarms, noticed, where="post", label=f"{kind}, {roc_auc_score(*both):.2f}")
        panel.axvline(0.01, color="grey", linewidth=1, linestyle=":")
        panel.set(xlabel="share of clean videos", title=name, xlim=(0, 1), ylim=(0, 1.02))
        panel.set_xscale("symlog", linthresh=0.01)
        panel.legend(title="attack, AUC", fontsize="small", loc="lower right")
    axes[0].set_ylabel("share of attacked videos")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
