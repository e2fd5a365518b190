"""Owns what a gate leaves behind: the lists of what to publish, hold and review, and gate.json, written last.

OUTPUT/
  publish.parquet  hold.parquet  review.parquet     and the same as .csv and .jsonl where asked for
  gate.json        counts, policy, files and their digests; a reader trusts the lists only beside it
"""

from __future__ import annotations

import datetime
import hashlib
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import asdict
from typing import Any, get_args

import pyarrow as pa

from pipeline.gate.decide import Gated
from pipeline.gate.policy import DECIDED_COLUMNS, Decision, Policy
from pipeline.runs.lock import alone
from pipeline.runs.rundir import RunDirectory
from pipeline.tables import csv_bytes, json_lines, parquet_bytes
from securevqa_core.errors import ConfigurationError

__all__ = ["list_tables", "require_formats", "summary", "write_lists"]

SUMMARY_NAME = "gate.json"
# Of the report, in every list; content_sha256 says which bytes were judged.
COLUMNS = (
    "video_id",
    "uri",
    "content_sha256",
    "score_lower",
    "verdict",
    "status",
    "error_code",
    "checkpoint_id",
)


def list_tables(report: pa.Table, gated: Gated, policy: Policy) -> dict[Decision, pa.Table]:
    """Return the rows of each decision with decision, rule and reason, then columns of the report."""
    names = list(dict.fromkeys([*COLUMNS, *policy.columns]))
    table = report.select(names)
    columns: list[list[Any]] = [gated.decisions, gated.rules, gated.reasons]
    for place, (name, values) in enumerate(zip(DECIDED_COLUMNS, columns, strict=True), start=2):
        table = table.add_column(place, name, pa.array(values, pa.string()))
    decided = table["decision"]
    return {one: table.filter(pa.compute.equal(decided, one)) for one in get_args(Decision)}


def summary(
    gated: Gated, policy: Policy, run: dict[str, Any], *, report_uri: str, unmatched: Collection[str] = ()
) -> dict[str, Any]:
    """Return what a workflow needs to know, as JSON values."""
    counts = Counter(gated.decisions)
    return {
        "policy": {"name": policy.name, "sha256": policy.sha256, "allowed": sorted(policy.allowed)},
        "report": {"uri": report_uri}
        | {name: run.get(name) for name in ("generation", "fingerprint", "finished_at")},
        "rows": len(gated.decisions),
        "decisions": {decision: counts[decision] for decision in get_args(Decision)},
        "rules": dict(Counter(name for name in gated.rules if name is not None)),
        "by_default": gated.rules.count(None),
        "withheld": dict(sorted(gated.withheld.items())),
        "unmatched": list(unmatched),
        "broken_limits": [asdict(one) for one in gated.broken_limits],
        "decided_at": datetime.datetime.now(datetime.UTC).isoformat(),
    }


def write_lists(
    directory: RunDirectory,
    tables: dict[Decision, pa.Table],
    about: dict[str, Any],
    *,
    formats: Collection[str],
) -> dict[str, Any]:
    """Write the lists and then gate.json; return its contents.

    Raises:
        ConfigurationError: an unknown format.
        OutputError: the output cannot be written, or another gate is writing there.
    """
    require_formats(formats)
    directory.require_writable()
    with alone(directory):
        directory.remove_file(SUMMARY_NAME)  # until the next one there are no lists to trust
        digests = {}
        for decision, table in tables.items():
            for one, encode in FORMATS.items():
                name = f"{decision}.{one}"
                if one in formats:
                    content = encode(table)
                    directory.write_file(content, name)
                    digests[name] = hashlib.sha256(content).hexdigest()
                else:
                    directory.remove_file(name)  # of an earlier gate, which said something else
        about = about | {"files": list(digests), "sha256": digests}
        directory.write_json(about, SUMMARY_NAME)
    return about


def require_formats(formats: Collection[str]) -> None:
    """Refuse a format of lists that there is not.

    Raises:
        ConfigurationError: there is one.
    """
    for one in formats:
        if one not in FORMATS:
            raise ConfigurationError(f"format must be one of {', '.join(FORMATS)}, got {one!r}")


FORMATS: dict[str, Callable[[pa.Table], bytes]] = {
    "parquet": parquet_bytes,
    "csv": csv_bytes,
    "jsonl": json_lines,
}
