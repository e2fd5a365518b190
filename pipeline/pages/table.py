"""Owns a finished run as a table on a terminal: what failed first, then the worst rows."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute
from rich.console import Console

from operators.schema import Row
from operators.stage import FAILED, SCORED
from operators.storage import redact
from pipeline.runs.finished import read_finished_run
from pipeline.runs.rundir import RunDirectory
from pipeline.tables import ID_LETTERS, Heading, fitted, plain, row_names, short_ids
from pipeline.text import counted, literal, moment_words, printable
from securevqa_core.errors import ConfigurationError, did_you_mean

__all__ = ["COLUMNS", "find_video", "kinds", "show_report", "show_video", "urgent_first", "urgent_order"]

pc: Any = pyarrow.compute  # whose stubs know no function of columns of any type

WIDE = 100  # columns of a terminal that has room for sizes
# Of a report, as people and programs are shown it.
COLUMNS = (
    "video_id",
    "uri",
    "status",
    "stage",
    "error_code",
    "error_message",
    "score",
    "score_lower",
    "verdict",
    "width",
    "height",
    "num_frames",
    "decode_warnings",
    "checkpoint_status",
    "near_copy_of",
)


def show_report(directory: RunDirectory, *, num_rows: int, console: Console) -> None:
    """Print rows of a finished run, what failed first, then the worst, and how many there are of each kind.

    Raises:
        ConfigurationError: `num_rows` is below 1.
        OutputError: there is no finished run, or it cannot be read.
    """
    if num_rows < 1:
        raise ConfigurationError(f"rows must be >= 1, got {num_rows}")
    run, report = read_finished_run(directory, columns=COLUMNS)
    names = row_names(_texts(report, "uri"))  # which no other row has, shown or not
    ids = _texts(report, "video_id")
    by_id = dict(zip(ids, names, strict=True))
    originals = [None if one is None else _called(one, by_id) for one in report["near_copy_of"].to_pylist()]
    for name, values in (("name", names), ("original", originals)):
        report = report.append_column(name, pa.array(values, pa.string()))
    rows: list[Row] = urgent_first(report).slice(0, num_rows).to_pylist()
    console.print(_table(rows, dict(zip(ids, short_ids(ids), strict=True)), console))
    num_failed = report["status"].to_pylist().count(FAILED)
    part = f" ({len(rows)} of {num_failed})" if len(rows) < num_failed else ""
    summary = f"{len(rows)} of {counted(report.num_rows, 'video')} shown, failed first{part}, then worst"
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds(report))
    console.print(literal(f"{summary}: {counts}" if counts else summary, console))
    if num_copies := sum(one is not None for one in originals):
        console.print(f"{counted(num_copies, 'near copy', 'near copies')} of earlier videos")
    if "untrained" in report["checkpoint_status"].to_pylist():
        console.print("checkpoint_status = untrained: these scores mean nothing, and every verdict is review")
    finished = run.get("finished_at")
    when = f"finished {moment_words(finished)}" if finished else "finished at an unknown time"
    source = f"report: {directory.shown('report')}, {when}"
    console.print(literal(source, console), soft_wrap=True)


def show_video(report: pa.Table, video: str, console: Console) -> None:
    """Print all that a report says of one video.

    Raises:
        ConfigurationError: as `find_video`.
    """
    (row,) = plain(report.slice(find_video(report, video), 1)).to_pylist()
    by_id = dict(zip(_texts(report, "video_id"), row_names(_texts(report, "uri")), strict=True))
    rows = [([name], [_in_words(value)]) for name, value in row.items()]
    if (original := row["near_copy_of"]) in by_id:
        rows[report.column_names.index("near_copy_of")] = (["near_copy_of"], [original, by_id[original]])
    headings = (Heading(name="column"), Heading(name="value", is_wrapped=True))
    console.print(fitted(headings, rows, console))


def find_video(report: pa.Table, video: str) -> int:
    """Return the row of a video by what tables show of it: id, the beginning of its id, file name or URI.

    A file name may have folders before it, as many as it takes, and lack its extension.

    URIs are known without their secrets too, and characters that a terminal does not print by their escapes.

    Raises:
        ConfigurationError: there is none, or more than one.
    """
    ids, uris = (_texts(report, name) for name in ("video_id", "uri"))
    names = row_names(uris)
    whole = [redact(uri) for uri in uris]
    columns = (ids, uris, names, whole, [one.rpartition("/")[2] for one in whole])
    forms: tuple[Callable[[str], str], ...] = (str, _as_shown)
    found: list[int] = []
    for form, column in itertools.product(forms, columns):  # what is exactly so goes first
        found = found or [index for index, one in enumerate(column) if form(one) == form(video)]
    if not found and "/" in video:
        end = "/" + _as_shown(video).lstrip("/")
        found = [index for index, one in enumerate(whole) if _as_shown(one).endswith(end)]
    if not found:
        found = [index for index, one in enumerate(columns[-1]) if _as_shown(_stem(one)) == _as_shown(video)]
    if not found and video:
        found = [index for index, one in enumerate(ids) if _as_shown(one).startswith(_as_shown(video))]
    if len(found) == 1:
        return found[0]
    wanted = "video must be a video_id of the report, the beginning of one, a file name or a URI"
    if not found:
        raise ConfigurationError(f"{wanted}, got {video!r}{did_you_mean(video, names)}")
    several = ", ".join(f"{names[index]} ({ids[index]})" for index in found[:5])
    raise ConfigurationError(f"{wanted}, got {video!r}, which {len(found)} have: {several}")


def urgent_first(report: pa.Table) -> pa.Table:
    """Return a report in the order of `urgent_order`."""
    return report.take(urgent_order(report))


def urgent_order(report: pa.Table) -> Any:
    """Return places: failed by error_code, then scored from the lowest score_lower up, then the rest."""
    order = {FAILED: 0, SCORED: 1}
    rank = pa.array([order.get(str(one), 2) for one in report["status"].to_pylist()], pa.int8())
    keys = [
        ("rank", "ascending"),
        ("score_lower", "ascending"),
        ("error_code", "ascending"),
        ("uri", "ascending"),
    ]
    ranked = report.select(["score_lower", "error_code", "uri"]).append_column("rank", rank)
    return pc.sort_indices(ranked, sort_keys=keys)


def kinds(report: pa.Table) -> list[tuple[str, int]]:
    """Count scored rows, then each error."""
    outcomes = zip(report["error_code"].to_pylist(), report["status"].to_pylist(), strict=True)
    counts = Counter(str(code or status) for code, status in outcomes)
    return sorted(counts.items(), key=lambda kind: (kind[0] != SCORED, kind[0]))


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _as_shown(text: str) -> str:
    """Return text as a terminal of any encoding shows it, which is the same for what it shows."""
    return printable(text).encode("ascii", "backslashreplace").decode()


def _texts(report: pa.Table, name: str) -> list[str]:
    return ["" if one is None else str(one) for one in report[name].to_pylist()]


def _table(rows: list[Row], ids: dict[str, str], console: Console) -> Any:
    is_wide = console.width >= WIDE
    headings = [
        Heading(name="video", is_wrapped=True),
        Heading(name="id"),
        Heading(name="score lower", is_number=True),
        Heading(name="score", is_number=True),
        Heading(name="verdict"),
        *([Heading(name="frames, size")] if is_wide else []),
        Heading(name="status, decode warnings", is_wrapped=True),
    ]
    cells = []
    for row in rows:
        outcome = _outcome(row)
        numbers = (_points(row["score_lower"]), _points(row["score"]), row["verdict"] or "")
        sizes = ([_size(row)],) if is_wide else ()
        cells.append(
            ([row["name"]], [ids[row["video_id"] or ""]], *([one] for one in numbers), *sizes, outcome)
        )
    return fitted(headings, cells, console)


def _outcome(row: Row) -> list[str]:
    """Return what became of a video, why, and what else was seen: nothing of it twice."""
    code = row["error_code"] or row["status"]
    copy = row["original"] and f"near copy of {row['original']}"
    said = [row["error_message"], *(row["decode_warnings"] or []), copy]
    return list(dict.fromkeys([code, *(one.removeprefix(f"{code}: ") for one in said if one)]))


def _called(video_id: str, names: Mapping[str, str]) -> str:
    """Return what a video is called in this report, and of another's the beginning of its id."""
    return names.get(video_id) or f"{video_id[:ID_LETTERS]}, of an earlier report"


def _in_words(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return f"[{', '.join(map(_in_words, value))}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _points(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _size(row: Row) -> str:
    if row["width"] is None:
        return ""
    return f"{row['num_frames']} {row['width']}x{row['height']}"
