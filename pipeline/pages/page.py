"""Owns the page that shows a report: one HTML file, without scripts, complete in itself.

File names come from uploaders. The template escapes everything, what cannot be printed is shown as its
escape, and the page's own content policy would run no script that came through.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from operators.schema import Row
from operators.stage import FAILED
from operators.storage import redact
from pipeline.pages.close_up import CloseUp
from pipeline.pages.plots import (
    VERDICT_COLORS,
    group_svg,
    histogram_svg,
    map_png,
    picture_jpeg,
    timeline_svg,
)
from pipeline.runs.report import STAGE_SECONDS
from pipeline.text import printable
from securevqa_core.errors import ERROR_CODES, ConfigurationError

__all__ = ["PAGE_COLUMNS", "page_columns", "render_page", "shown_videos"]

pc: Any = pyarrow.compute  # whose stubs know no function of columns of any type

MAX_FAILED = 100
MAX_SLOWEST = 10
MAX_GROUPS = 30
MAX_MOMENTS = 12
PAGE_COLUMNS = (
    "video_id",
    "uri",
    "status",
    "error_code",
    "error_message",
    "score_lower",
    "verdict",
    "width",
    "height",
    *STAGE_SECONDS.values(),
)
_MEANINGS = {
    "scored": "",
    "failed": "no score, and the verdict review",
    "pending": "left by a budget to another run, and the verdict review",
}


def page_columns(report: pa.Table, group_column: str | None) -> list[str]:
    """Return the columns of a report that its page needs.

    Raises:
        ConfigurationError: there is no such group column.
    """
    if group_column is None:
        return list(PAGE_COLUMNS)
    if group_column not in report.column_names:
        raise ConfigurationError(f"group must be a column of the report, got {group_column!r}")
    return list(dict.fromkeys([*PAGE_COLUMNS, group_column]))


def shown_videos(report: pa.Table, count: int) -> tuple[list[Row], list[Row]]:
    """Return the `count` scored rows with the lowest score_lower and with the highest, from the ends on."""
    scored = report.filter(pc.is_valid(report["score_lower"])).sort_by("score_lower")
    low = scored.slice(0, count)
    high = scored.slice(max(low.num_rows, scored.num_rows - count))  # no video is in both
    return low.to_pylist(), high.to_pylist()[::-1]


def render_page(
    run: Mapping[str, Any],
    report: pa.Table,
    *,
    uri: str,
    group_column: str | None,
    count: int,
    pictures: Mapping[str, NDArray[np.uint8]],
    close_up: CloseUp | None,
) -> str:
    """Return the page.

    Args:
        run: run.json.
        report: has the columns of `page_columns`.
        uri: of the run directory, for people.
        group_column: whose values verdicts are counted by; None: none.
        count: most videos among the worst, and among the best.
        pictures: video_id -> (h, w, 3) RGB, of those that have one.
        close_up: one video's scores in time and space; None: none.
    """
    worst, best = shown_videos(report, count)
    groups = {} if group_column is None else _groups(report, group_column)
    charted_groups = dict(list(groups.items())[:MAX_GROUPS])
    failed = report.filter(pc.equal(report["status"], FAILED))
    settings = run.get("config", {}).get("thresholds", {})
    page: str = _template().render(
        run=_about(run, uri),
        num_rows=report.num_rows,
        counts=_counts(report),
        scores_words=_scores_words(report),
        histogram=Markup(histogram_svg(_scores(report), marks=sorted(settings.values()))),  # noqa: S704 - ours
        groups=charted_groups,
        num_groups_left=len(groups) - len(charted_groups),
        group_column=group_column,
        group_picture=_group_picture(charted_groups),
        verdicts=tuple(VERDICT_COLORS),
        worst=[_card(row, pictures) for row in worst],
        best=[_card(row, pictures) for row in best],
        slowest=_slowest(report),
        failed=[_failure(row) for row in failed.slice(0, MAX_FAILED).to_pylist()],
        num_failed=failed.num_rows,
        close_up=close_up and _moments(close_up, _ratio(_row_of(report, close_up.video_id))),
    )
    return page


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader(str(__package__)), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["shown"] = lambda text: printable(str(text))
    return environment.get_template("report.html")


def _about(run: Mapping[str, Any], uri: str) -> dict[str, Any]:
    provenance = run.get("provenance", {})
    names = ("checkpoint_id", "checkpoint_status", "randomness")
    return {
        "uri": uri,
        "generation": run["generation"],
        "finished_at": run.get("finished_at") or "at an unknown time",
        **{name: provenance.get(name, "unknown") for name in names},
    }


def _counts(report: pa.Table) -> list[dict[str, Any]]:
    counts = []
    for name in ("status", "verdict", "error_code"):
        for value, count in sorted(Counter(report[name].drop_null().to_pylist()).items()):
            code = ERROR_CODES.get(str(value))
            meaning = code.meaning if code else _MEANINGS.get(str(value), "")
            counts.append({"what": f"{name} {value}", "videos": count, "meaning": meaning})
    return counts


def _scores(report: pa.Table) -> dict[str, NDArray[np.float64]]:
    verdicts = np.array(report["verdict"].to_pylist(), dtype=object)
    lower = np.array(
        [np.nan if one is None else one for one in report["score_lower"].to_pylist()], dtype=float
    )
    return {name: lower[(verdicts == name) & ~np.isnan(lower)] for name in VERDICT_COLORS}


def _scores_words(report: pa.Table) -> str:
    lower = np.concatenate(list(_scores(report).values()))
    if not lower.size:
        return "No video was scored."
    low, middle, high = np.percentile(lower, [10, 50, 90])
    return f"score_lower: a tenth below {low:.1f}, half below {middle:.1f}, a tenth above {high:.1f}."


def _groups(report: pa.Table, column: str) -> dict[str, Counter[str]]:
    """Count verdicts by group, the largest group first."""
    groups: dict[str, Counter[str]] = {}
    for group, verdict in zip(report[column].to_pylist(), report["verdict"].to_pylist(), strict=True):
        groups.setdefault("(none)" if group is None else str(group), Counter())[str(verdict)] += 1
    return dict(sorted(groups.items(), key=lambda item: (-item[1].total(), item[0])))


def _card(row: Row, pictures: Mapping[str, NDArray[np.uint8]]) -> dict[str, Any]:
    picture = pictures.get(row["video_id"])
    return {
        "name": _name(row),
        "score": f"{row['score_lower']:.1f}",
        "verdict": row["verdict"],
        "ratio": _ratio(row),
        "picture": None if picture is None else _base64(picture_jpeg(picture)),
    }


def _slowest(report: pa.Table) -> list[dict[str, Any]]:
    seconds = [[value or 0.0 for value in report[name].to_pylist()] for name in STAGE_SECONDS.values()]
    totals = np.sum(seconds, axis=0)
    order = np.argsort(-totals, kind="stable")[:MAX_SLOWEST]
    rows = report.take(pa.array(order, pa.int64())).to_pylist()
    return [
        {"name": _name(row), "seconds": [f"{row[name] or 0.0:.2f}" for name in STAGE_SECONDS.values()]}
        for row in rows
    ]


def _failure(row: Row) -> dict[str, Any]:
    return {"name": _name(row), "code": row["error_code"], "message": row["error_message"] or ""}


def _group_picture(groups: Mapping[str, Counter[str]]) -> Markup:
    drawing = group_svg([(printable(name), scores) for name, scores in groups.items()]) if groups else ""
    return Markup(drawing)  # noqa: S704 - matplotlib has escaped its text


def _moments(close_up: CloseUp, ratio: str) -> dict[str, Any]:
    """Return the drawing in time, and some moments with their places."""
    count = len(close_up.seconds)
    chosen: Sequence[int] = np.unique(np.linspace(0, count - 1, min(MAX_MOMENTS, count)).astype(int)).tolist()
    return {
        "video_id": close_up.video_id,
        "words": close_up.words,
        "timeline": Markup(timeline_svg(close_up.seconds, close_up.scores)),  # noqa: S704 - numbers only
        "moments": [
            {
                "at": f"{close_up.seconds[index]:.1f} s",
                "score": f"{close_up.scores[index]:.1f}",
                "low": f"{close_up.local_scores[index].min():.0f}",
                "high": f"{close_up.local_scores[index].max():.0f}",
                "ratio": ratio,
                "picture": _base64(picture_jpeg(close_up.pictures[index])),
                "map": _base64(map_png(close_up.local_scores[index])),
            }
            for index in chosen
        ],
    }


def _row_of(report: pa.Table, video_id: str) -> Row:
    row: Row = report.filter(pc.equal(report["video_id"], video_id)).to_pylist()[0]
    return row


def _ratio(row: Row) -> str:
    return f"{row['width']} / {row['height']}" if row["width"] and row["height"] else "16 / 9"


def _name(row: Row) -> str:
    return redact(row["uri"])


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
