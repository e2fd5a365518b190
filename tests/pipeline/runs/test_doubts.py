"""A doubt about a picture outlives every new threshold: verdicts are made anew with the report."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from operators.schema import OUTCOME
from pipeline.runs.report import write_report
from pipeline.runs.rundir import RunDirectory
from securevqa_core.scoring import Thresholds

PROVENANCE = {"checkpoint_id": "c", "checkpoint_status": "trained", "config_id": "c"}
WARNINGS = ["damaged_frames: 51 of 248 sampled frames", "fallback: pyav failed"]


@pytest.mark.parametrize("warning", WARNINGS)
def test_a_video_in_doubt_is_for_review_whatever_the_thresholds(tmp_path: Path, warning: str) -> None:
    scored = {"status": "scored", "checkpoint_status": "trained", "score_lower": 90.0}
    rows = [
        scored | {"row_key": "key of a", "decode_warnings": [warning]},
        scored | {"row_key": "key of b", "decode_warnings": ["damaged_frames: 1 of 248 sampled frames"]},
    ]
    directory = RunDirectory(str(tmp_path))
    directory.commit(pa.Table.from_pylist(rows, schema=OUTCOME), "all")
    names = ["a", "b"]
    manifest = pa.table({"row_key": [f"key of {name}" for name in names], "video_id": names, "uri": names})
    summary = write_report(
        directory, manifest, provenance=PROVENANCE, thresholds=Thresholds(pass_at=20, reject_below=10)
    )
    assert dict(summary.by_verdict) == {"review": 1, "pass": 1}
