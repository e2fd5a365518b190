"""Owns the page that shows a report: one HTML file, complete in itself.

File names come from uploaders. The template escapes everything, what cannot be printed is shown as its
escape, and the content policy lets one script run, known by its digest, which may make no HTML of text.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from operators.schema import Row
from pipeline.pages import listing, sections
from pipeline.pages.close_up import CloseUp
from pipeline.pages.plots import SIZES, VERDICT_COLORS, histogram_svg, timeline_svg
from pipeline.pages.sections import shown_videos
from pipeline.pages.table import urgent_order
from pipeline.pages.thumbnails import Thumbnail
from pipeline.runs.report import STAGE_SECONDS
from pipeline.text import printable
from securevqa_core.errors import ConfigurationError, did_you_mean

__all__ = ["PAGE_COLUMNS", "page_columns", "render_page"]

_PARTS = re.compile(r"\.?[^-_/.]*[-_/]*")  # of a name; list.js has the same

PAGE_COLUMNS = (
    "video_id",
    "uri",
    "content_sha256",
    "status",
    "error_code",
    "error_message",
    "score",
    "score_lower",
    "verdict",
    "width",
    "height",
    "duration_seconds",
    "decode_warnings",
    "near_copy_of",
    "near_copies",
    "near_copy_best_score",
    *STAGE_SECONDS.values(),
)


def page_columns(names: Sequence[str], group_column: str | None) -> list[str]:
    """Return which of a report's columns its page needs.

    Raises:
        ConfigurationError: there is no such group column.
    """
    if group_column is None:
        return list(PAGE_COLUMNS)
    if group_column not in names:
        hint = did_you_mean(group_column, names)
        raise ConfigurationError(f"group must be a column of the report, got {group_column!r}{hint}")
    return list(dict.fromkeys([*PAGE_COLUMNS, group_column]))


def render_page(
    run: Mapping[str, Any],
    report: pa.Table,
    *,
    uri: str,
    group_column: str | None,
    count: int,
    thumbnails: Mapping[str, Thumbnail],
    close_up: CloseUp | None,
) -> str:
    """Return the page.

    Args:
        run: run.json.
        report: has the columns of `page_columns`, in the manifest's order.
        uri: of the run directory, for people.
        group_column: whose values verdicts are counted by; None: none.
        count: most videos among the worst, and among the best.
        thumbnails: by video_id, of those that `count` asks for.
        close_up: one video's scores in time and space; None: none.
    """
    order = urgent_order(report)
    named = listing.named_rows(report)
    rows = [named[place] for place in order.to_pylist()]
    report = report.take(order)
    by_id = {row["video_id"]: row for row in rows}
    worst, best = ([by_id[row["video_id"]] for row in some] for some in shown_videos(report, count))
    about = sections.about(run, report, uri)
    scores = sections.scores_by_verdict(report)
    group_names = listing.group_names(report, group_column)
    listed = listing.listed_rows(rows, group_names)
    environment = _environment()
    script, style = (Markup(_source(environment, name)) for name in ("list.js", "report.css"))  # noqa: S704 - ours
    page: str = environment.get_template("report.html").render(
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=style,
        about=about,
        tiles=sections.tiles(report),
        verdict_colors=VERDICT_COLORS,
        scores_words=sections.scores_words(scores),
        has_scores=any(map(len, scores.values())),
        histograms=_drawings(histogram_svg, scores, marks=sorted(about["thresholds"].values())),
        groups=sections.groups(group_names, report["verdict"].to_pylist()),
        group_column=group_column,
        worst_and_best=sections.cards(worst, best, thumbnails),
        slowest=sections.slowest(rows),
        failed=sections.failed(rows),
        damaged=sections.damaged(rows),
        copies=sections.near_copies(rows),
        close_look=close_up and sections.close_look(close_up, by_id[close_up.video_id]),
        timelines=close_up and _timelines(close_up, by_id[close_up.video_id]),
        at=listing.FIELDS,
        listed=listed,
        listed_kinds=listing.listed_kinds(listed),
        page_rows=listing.PAGE_ROWS,
    )
    return page


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(str(__package__)), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["shown"] = lambda text: printable(str(text))
    environment.filters["breakable"] = _breakable
    environment.filters["points"] = lambda value: "" if value is None else f"{value:.1f}"
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False}
    return environment


def _breakable(name: str) -> Markup:
    """Return a name that a narrow column breaks after `_`, `-`, `/` and before `.`; copies are as it was."""
    return Markup("<wbr>").join(part for part in _PARTS.findall(name) if part)


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _timelines(close_up: CloseUp, row: Row) -> dict[str, Markup]:
    report = {"score": row["score"], "score_lower": row["score_lower"]}
    return _drawings(timeline_svg, close_up.seconds, close_up.scores, **report)


def _drawings(draw: Any, *data: Any, **options: Any) -> dict[str, Markup]:
    """Draw for windows and for telephones."""
    return {
        size: Markup(draw(*data, **options, size=size))  # noqa: S704 - numbers and our words only
        for size in SIZES
    }
