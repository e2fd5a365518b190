"""Owns which clean videos a suspicion is fitted to, and what the fit came to in words."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import pyarrow as pa

from operators.stage import SCORED
from pipeline.manifests.labelled import EvaluationSettings, keep_rows
from pipeline.manifests.manifest import read_manifest
from pipeline.runs.finished import read_finished_run
from pipeline.runs.rundir import RunDirectory
from pipeline.text import counted
from securevqa_core.logistic import Floats
from securevqa_core.suspicion import CleanDrops

__all__ = ["clean_pairs", "clean_videos", "fit_lines"]

_SHOWN_SCORES = (10, 30, 50, 70, 90)


def clean_videos(
    location: str, *, uri_column: str, allow_schemes: Collection[str], where: Sequence[str] | None
) -> pa.Table:
    """Return `video_id` and `uri` of the rows of a manifest that conditions leave.

    Raises:
        ManifestError: the manifest, or a row of it, breaks a rule, or no row is left.
        ConfigurationError: a condition is not COLUMN=VALUE.
    """
    table = read_manifest(location, uri_column=uri_column, allow_schemes=frozenset(allow_schemes))
    return keep_rows(table, EvaluationSettings(where=tuple(where or ()))).select(["video_id", "uri"])


def clean_pairs(upload: RunDirectory, rendition: RunDirectory) -> tuple[Floats, Floats]:
    """Return the scores of videos (n,) and by how much those of their renditions are lower (n,).

    Args:
        upload: finished run over the videos as they are.
        rendition: finished run over the same ones as they are delivered.
    """
    columns = ["video_id", "status", "score"]
    scores = [
        {
            row["video_id"]: row["score"]
            for row in read_finished_run(one, columns=columns)[1].to_pylist()
            if row["status"] == SCORED
        }
        for one in (upload, rendition)
    ]
    both = [(score, score - scores[1][video]) for video, score in scores[0].items() if video in scores[1]]
    of_uploads, drops = np.array(both, dtype=np.float64).reshape(-1, 2).T
    return of_uploads, drops


def fit_lines(clean: CleanDrops) -> Iterator[str]:
    """Yield what is usual of clean videos, for people."""
    videos, draws = counted(clean.num_videos, "clean video"), counted(clean.num_draws, "draw")
    yield f"{videos}, as {clean.rendition}, {draws}"
    for score in _SHOWN_SCORES:
        yield f"  of those that score {score}, 1 in 100 falls by more than {clean.limit(score):.1f} points"
