"""Owns comparing finished runs with labels: agreement, by group, inside ladders, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from operators.schema import Row
from operators.stage import FAILED, SCORED
from pipeline.evaluation.scored import Scored
from pipeline.manifests.labelled import EvaluationSettings
from securevqa_core.bootstrap import CONFIDENCE, Estimate, Resamples, Rows, estimate, resample
from securevqa_core.errors import ManifestError, UndefinedError
from securevqa_core.logistic import Floats, Logistic
from securevqa_core.metrics import MIN_POINTS, Agreement, agreement, ladder_taus, srcc

__all__ = ["Comparison", "compare"]

FORMAT_VERSION = 1
NO_GROUP = "(none)"  # rows whose group column is null
_DRAWS_NOTE = (
    "mean over videos of the standard deviation over draws; every draw of every key is an independent stream "
    "of HMAC-SHA256(key, video | purpose | draw), so this is also the standard deviation over keys of a "
    "one-draw score"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What an evaluation came to: the record that is written, and the points that are drawn."""

    record: dict[str, Any]
    labels: Floats  # (n,) on 0..100
    scores: dict[str, Floats]  # name -> (n,) on 0..100
    curves: dict[str, Logistic | None]  # name -> the fit over all rows


def compare(runs: Sequence[Scored], settings: EvaluationSettings) -> Comparison:
    """Compare runs with labels, all on the same rows: those with a label that every run scored.

    Args:
        runs: at least one; the first is the one that differences are taken from.
        settings: as given to `read_scored`.

    Raises:
        ManifestError: two runs disagree about a video's label.
        UndefinedError: no row is left to compare.
    """
    shared, counts = _shared_rows(runs)
    points = _Points(
        labels=np.array([runs[0].rows[video]["label_points"] for video in shared]),
        scores={run.name: np.array([run.rows[video]["score"] for video in shared]) for run in runs},
        rows=[runs[0].rows[video] for video in shared],
        settings=settings,
        rng=np.random.default_rng(settings.seed),
    )
    drawn, overall = points.agreements(np.arange(len(shared)))
    members = {column: _members(points.rows, column) for column in settings.groups}
    groups = {
        column: {value: points.agreements(rows)[1] for value, rows in values.items()}
        for column, values in members.items()
    }
    models = [
        _provenance(run)
        | {
            "failed": _failures(run),
            "overall": _shown(overall[run.name]),
            "groups": {
                column: {
                    value: _shown(measured[run.name])
                    | {"ladders": points.ladders(run.name, members[column][value])}
                    for value, measured in values.items()
                }
                for column, values in groups.items()
            },
            "ladders": points.ladders(run.name, np.arange(len(shared))),
            "sd_over_draws": _spread([run.rows[video]["score_sd"] for video in shared]),
        }
        for run in runs
    ]
    record = {
        "format_version": FORMAT_VERSION,
        "label": asdict(runs[0].label_range) | {"column": runs[0].label_name},
        "unit": "points of 100, for labels too",
        "where": list(settings.where),
        "rows": counts,
        "bootstrap": _method(settings, drawn),
        "models": models,
        "differences": [points.difference(runs[0].name, other.name, drawn) for other in runs[1:]],
    }
    curves = {name: measured.curve for name, measured in overall.items()}
    return Comparison(record=record, labels=points.labels, scores=points.scores, curves=curves)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Points:
    """The n rows that are compared."""

    labels: Floats  # (n,) on 0..100
    scores: dict[str, Floats]  # run name -> (n,)
    rows: list[Row]  # the first run's report rows
    settings: EvaluationSettings
    rng: np.random.Generator

    def agreements(self, rows: Rows) -> tuple[Resamples, dict[str, Agreement]]:
        """Measure every run on some rows, all with the same resamples."""
        cluster = self.settings.cluster
        drawn = resample(
            len(rows),
            rng=self.rng,
            clusters=None if cluster is None else [self.rows[row][cluster] for row in rows],
            num_resamples=self.settings.num_resamples,
        )
        labels = self.labels[rows]
        return drawn, {
            name: agreement(given[rows], labels, resamples=drawn) for name, given in self.scores.items()
        }

    def ladders(self, name: str, rows: Rows) -> dict[str, Any] | None:
        """Measure a run inside the ladders of some rows; those of one cluster are resampled together."""
        ladder, cluster = self.settings.ladder, self.settings.cluster
        if ladder is None:
            return None
        within = [self.rows[row][ladder] for row in rows]
        found = ladder_taus(self.scores[name][rows], self.labels[rows], within)
        first_rows = rows[list(found.first_rows)]
        drawn = resample(
            len(found.taus),
            rng=np.random.default_rng(self.settings.seed),
            clusters=None if cluster is None else [self.rows[row][cluster] for row in first_rows],
            num_resamples=self.settings.num_resamples,
        )
        left_out = {
            "short": found.num_short,
            "constant_labels": found.num_constant_labels,
            "constant_scores": found.num_constant_scores,
        }
        tau = estimate(lambda chosen: _mean(found.taus[chosen]), drawn)
        return {
            "column": ladder,
            "num_ladders": len(found.taus),
            "mean_tau": _estimate(tau),
            "left_out": left_out,
        }

    def difference(self, name: str, other: str, drawn: Resamples) -> dict[str, Any]:
        """Return SRCC of one run minus that of another, both taken from the same resamples."""
        ours, theirs, labels = self.scores[name], self.scores[other], self.labels
        estimated = estimate(
            lambda rows: srcc(ours[rows], labels[rows]) - srcc(theirs[rows], labels[rows]), drawn
        )
        return {"name": name, "minus": other, "srcc": _estimate(estimated)}


def _shared_rows(runs: Sequence[Scored]) -> tuple[list[str], dict[str, int]]:
    """Return the videos to compare, in the first run's order, and what became of the others."""
    everywhere = [video for video in runs[0].rows if all(video in run.rows for run in runs)]
    for run in runs[1:]:
        for video in everywhere:
            mine, other = (one.rows[video]["label_points"] for one in (runs[0], run))
            if mine != other:
                raise ManifestError(
                    f"runs {runs[0].name!r} and {run.name!r} must agree about labels, "
                    f"video_id {video!r} has {mine} and {other} of 100"
                )
    labelled = [video for video in everywhere if runs[0].rows[video]["label_points"] is not None]
    became = {video: {run.rows[video]["status"] for run in runs} for video in labelled}
    shared = [video for video in labelled if became[video] == {SCORED}]
    num_failed = sum(FAILED in states for states in became.values())
    total = len(set().union(*(run.rows for run in runs)))
    counts = {
        "total": total,
        "compared": len(shared),
        "failed": num_failed,
        "pending": len(labelled) - len(shared) - num_failed,
        "without_label": len(everywhere) - len(labelled),
        "not_in_every_run": total - len(everywhere),
    }
    if not shared:
        raise UndefinedError(f"there is no labelled row that every run scored, of {total}: {counts}")
    return shared, counts


def _members(rows: Sequence[Row], column: str) -> dict[str, Rows]:
    values = [NO_GROUP if row[column] is None else str(row[column]) for row in rows]
    return {one: np.flatnonzero(np.array(values) == one) for one in sorted(set(values))}


def _failures(run: Scored) -> dict[str, int]:
    """Count a run's labelled rows that failed, by error code."""
    codes = (row["error_code"] for row in run.rows.values() if row["label_points"] is not None)
    return dict(sorted(Counter(code for code in codes if code is not None).items()))


def _mean(taus: Floats) -> float:
    if not len(taus):
        raise UndefinedError(f"no ladder has {MIN_POINTS} rows with labels and scores that differ")
    return float(taus.mean())


def _method(settings: EvaluationSettings, drawn: Resamples) -> dict[str, Any]:
    return {
        "method": "percentile",
        "confidence": CONFIDENCE,
        "resamples": settings.num_resamples,
        "seed": settings.seed,
        "cluster": settings.cluster,
        "num_clusters": drawn.num_clusters,
    }


def _spread(sds: Sequence[float | None]) -> dict[str, Any] | None:
    known = [sd for sd in sds if sd is not None]
    return {"mean": float(np.mean(known)), "largest": max(known), "note": _DRAWS_NOTE} if known else None


def _provenance(run: Scored) -> Row:
    config = run.run["config"]
    return {
        "name": run.name,
        "run": run.uri,
        "architecture": run.run["architecture"],
        "num_draws": config["num_draws"],
        **run.run["provenance"],
    }


def _shown(measured: Agreement) -> dict[str, Any]:
    measures = ("srcc", "krcc", "plcc", "plcc_fitted", "rmse_fitted")
    return {
        "num_rows": measured.num_rows,
        **{name: _estimate(getattr(measured, name)) for name in measures},
        "curve": None if measured.curve is None else asdict(measured.curve),
    }


def _estimate(estimated: Estimate) -> dict[str, Any]:
    """Return value, low and high, and the reason where one of them is undefined."""
    return {
        name: value for name, value in asdict(estimated).items() if name != "undefined" or value is not None
    }
