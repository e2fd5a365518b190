"""Writes finished runs as a scoring run leaves them, with the rows that a test needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from operators.schema import REPORT
from pipeline.runs.generations import archive_report, clear_report, last_generation, write_report_file
from pipeline.runs.rundir import RunDirectory

__all__ = ["make_run"]

PROVENANCE = {
    "checkpoint_id": "secure-vqa-compact-0123456789abcdef",
    "checkpoint_status": "trained",
    "config_id": "c",
    "key_id": "k",
    "randomness": "public",
}


def make_run(
    uri: str, rows: Sequence[dict[str, Any]], *, num_draws: int = 1, **provenance: str
) -> RunDirectory:
    """Write a run whose rows have `video_id`, `score` or `error_code`, and columns of the manifest.

    `raw_score` is a hundredth of the score where it is not given. A row with neither score nor error is
    pending.
    """
    directory = RunDirectory(uri)
    whole = [_outcome(row) | row for row in rows]
    table = pa.Table.from_pylist(whole, schema=REPORT)
    for name in dict.fromkeys(name for row in rows for name in row):
        if name not in REPORT.names:
            table = table.append_column(name, pa.array([row.get(name) for row in rows]))
    previous = directory.read_run()
    generation = last_generation(directory, previous) + 1
    if previous:
        archive_report(directory, previous)
    file = write_report_file(directory, table, 0, generation=generation, writer="test")
    record = {
        "generation": generation,
        "fingerprint": "0",
        "files": [file],
        "rows": table.num_rows,
        "architecture": "secure-vqa-compact",
        "config": {"num_draws": num_draws},
        "provenance": PROVENANCE | provenance,
    }
    directory.write_json(record, "run.json")
    clear_report(directory, record)
    return directory


def _outcome(row: dict[str, Any]) -> dict[str, Any]:
    known = {"uri": f"/videos/{row['video_id']}.mp4", "verdict": "review"}
    if row.get("error_code"):
        return known | {"status": "failed"}
    if row["score"] is None:
        return known | {"status": "pending"}
    return known | {"status": "scored", "raw_score": row["score"] / 100}
