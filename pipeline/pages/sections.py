"""Owns what stands in the sections of a report's page, as values that its template puts in words."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from operators.schema import Row
from operators.stage import FAILED, SCORED
from pipeline.pages.close_up import CloseUp
from pipeline.pages.plots import VERDICT_COLORS, map_png, map_ramp, map_range, map_ticks, picture_jpeg
from pipeline.pages.thumbnails import Thumbnail
from pipeline.runs.report import PENDING, STAGE_SECONDS
from pipeline.text import moment_words
from securevqa_core.doubts import doubts
from securevqa_core.errors import ERROR_CODES

__all__ = [
    "about",
    "cards",
    "close_look",
    "damaged",
    "failed",
    "groups",
    "near_copies",
    "scores_by_verdict",
    "scores_words",
    "shown_videos",
    "slowest",
    "tiles",
]

pc: Any = pyarrow.compute  # whose stubs know no function of columns of any type

MAX_FAILED = 100
MAX_DAMAGED = 200
MAX_COPIES = 200
MAX_SLOWEST = 10
MAX_GROUPS = 30
MAX_MOMENTS = 12
_NONE = Thumbnail(missing="no frame")


def about(run: Mapping[str, Any], report: pa.Table, uri: str) -> dict[str, Any]:
    """Return what was scored, when and how, of run.json."""
    provenance, config = run.get("provenance", {}), run.get("config", {})
    videos = [config.get("manifest") or uri, *config.get("more_videos", ())]
    names = [_last(one, parts=2 if len(videos) == 1 else 1) for one in videos]
    finished = run.get("finished_at")
    return {
        "what": names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more",
        "num_scored": report["status"].to_pylist().count(SCORED),
        "num_rows": report.num_rows,
        "finished_at": finished,
        "finished": moment_words(finished) if finished else "at an unknown time",
        "thresholds": config.get("thresholds") or {},
        "is_untrained": provenance.get("checkpoint_status") == "untrained",
        "facts": {
            "Run": f"{uri}, report {run['generation']}",
            "Videos from": ", ".join(videos) if config.get("manifest") else "unknown",
            "Checkpoint": f"{provenance.get('checkpoint_id', 'unknown')}, "
            f"{provenance.get('checkpoint_status', 'unknown')}",
            "Randomness": provenance.get("randomness", "unknown"),
            "Draws": config.get("num_draws") or "unknown",
        },
    }


def tiles(report: pa.Table) -> list[dict[str, Any]]:
    """Return the counts that people look for first, each with what is in it and what it shows in the list."""
    statuses, verdicts, warnings = (
        report[name].to_pylist() for name in ("status", "verdict", "decode_warnings")
    )
    is_doubtful = [bool(doubts(one)) for one in warnings]
    reasons = [
        status if status in (FAILED, PENDING) else "in doubt"
        for status, verdict, is_so in zip(statuses, verdicts, is_doubtful, strict=True)
        if verdict == "review" and (is_so or status in (FAILED, PENDING))
    ]
    words = {
        "videos": _counted([one for one in statuses if one == SCORED]),
        "review": _counted(reasons),
        "damaged or odd": _counted(["in doubt" for is_so in is_doubtful if is_so]),
    }
    counts = {
        "videos": report.num_rows,
        **{name: verdicts.count(name) for name in VERDICT_COLORS},
        FAILED: statuses.count(FAILED),
        "damaged or odd": sum(map(bool, warnings)),
        PENDING: statuses.count(PENDING),
    }
    shows = {"videos": "", "damaged or odd": "warnings"}
    return [
        {"name": name, "count": count, "words": words.get(name, ""), "show": shows.get(name, name)}
        | ({"name": "video"} if (name, count) == ("videos", 1) else {})
        for name, count in counts.items()
        if count or name != PENDING  # of which few runs have any
    ]


def scores_by_verdict(report: pa.Table) -> dict[str, NDArray[np.float64]]:
    """Return score_lower (n,) of what was scored."""
    verdicts = np.array(report["verdict"].to_pylist(), dtype=object)
    lower = np.array(
        [np.nan if one is None else one for one in report["score_lower"].to_pylist()], dtype=float
    )
    return {name: lower[(verdicts == name) & ~np.isnan(lower)] for name in VERDICT_COLORS}


def scores_words(scores: Mapping[str, NDArray[np.float64]]) -> str:
    """Say how the scores lie."""
    lower = np.concatenate(list(scores.values()))
    if not lower.size:
        return "No video was scored."
    if lower.size == 1:
        return f"The lower bound of the one video is {lower[0]:.1f}."
    if lower.size < 10:
        return f"Lower bounds from {lower.min():.1f} to {lower.max():.1f}, half below {np.median(lower):.1f}."
    low, middle, high = np.percentile(lower, [10, 50, 90])
    return f"Lower bounds: a tenth below {low:.1f}, half below {middle:.1f}, a tenth above {high:.1f}."


def groups(names: Sequence[str | None], verdicts: Sequence[str | None]) -> dict[str, Any]:
    """Count verdicts by group, the most frequent first.

    Args:
        names: of the group of every row.
        verdicts: likewise.
    """
    counts: dict[str, Counter[str]] = {}
    for name, verdict in zip(names, verdicts, strict=True):
        counts.setdefault("(none)" if name is None else name, Counter())[str(verdict)] += 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1].total(), _by_number(item[0])))
    rows = [
        {
            "name": name,
            "videos": count.total(),
            "verdicts": [
                {"name": one, "count": count[one], "percent": round(100 * count[one] / count.total(), 2)}
                for one in VERDICT_COLORS
            ],
        }
        for name, count in ordered[:MAX_GROUPS]
    ]
    return {"rows": rows, "num_left": len(ordered) - len(rows)}


def failed(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what failed, by error and one by one.

    Args:
        rows: of the report, named, what failed first by error_code.
    """
    found = [row for row in rows if row["status"] == FAILED]
    codes = Counter(str(row["error_code"]) for row in found)
    return {
        "count": len(found),
        "codes": [
            {
                "name": code,
                "count": count,
                "meaning": ERROR_CODES[code].meaning if code in ERROR_CODES else "",
            }
            for code, count in sorted(codes.items(), key=lambda one: (-one[1], one[0]))
        ],
        "rows": found[:MAX_FAILED],
    }


def damaged(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what decoding warned of, by kind and one by one, first what keeps a video from passing."""
    found = [row for row in rows if row["decode_warnings"]]
    found.sort(key=lambda row: not doubts(row["decode_warnings"]))
    kinds, doubtful = Counter[str](), Counter[str]()
    for row in found:
        kinds.update({_kind(warning) for warning in row["decode_warnings"]})
        doubtful.update({_kind(warning) for warning in doubts(row["decode_warnings"])})
    return {
        "count": len(found),
        "kinds": [
            {"name": kind, "count": count, "num_doubtful": doubtful[kind]}
            for kind, count in sorted(kinds.items(), key=lambda one: (-doubtful[one[0]], -one[1], one[0]))
        ],
        "rows": [row | {"in_doubt": doubts(row["decode_warnings"])} for row in found[:MAX_DAMAGED]],
    }


def near_copies(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the near copies of earlier videos, those of most first, with the row of the earliest, if here.

    Args:
        rows: of the report, named.
    """
    by_id = {row["video_id"]: row for row in rows}
    found = [row for row in rows if row["near_copy_of"] is not None]
    found.sort(key=lambda row: -(row["near_copies"] or 0))
    return {
        "count": len(found),
        "rows": [row | {"original": by_id.get(row["near_copy_of"])} for row in found[:MAX_COPIES]],
    }


def shown_videos(report: pa.Table, count: int) -> tuple[list[Row], list[Row]]:
    """Return the `count` scored rows with the lowest score_lower and with the highest, from the ends on.

    Where there are not enough for both, all of them are among the first, and none among the last.
    """
    scored = report.filter(pc.is_valid(report["score_lower"])).sort_by("score_lower")
    if scored.num_rows < 2 * count:
        return scored.to_pylist(), []
    high: list[Row] = scored.slice(scored.num_rows - count).to_pylist()[::-1]
    return scored.slice(0, count).to_pylist(), high


def cards(
    worst: Sequence[Row], best: Sequence[Row], thumbnails: Mapping[str, Thumbnail]
) -> list[dict[str, Any]]:
    """Return the worst and the best videos under their titles, each with its frame.

    Args:
        worst: named rows, as `shown_videos` chooses them; without any among the best all that were scored.
        best: likewise.
        thumbnails: by video_id, of those that have one.
    """
    few = (
        "The only one that was scored"
        if len(worst) == 1
        else f"All {len(worst)} that were scored, worst first"
    )
    titles = ("The worst", "The best") if best else (few,)
    return [
        {"title": title, "cards": [_card(row, thumbnails) for row in rows]}
        for title, rows in zip(titles, (worst, best), strict=False)
        if rows
    ]


def slowest(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return which videos took longest, with the seconds of each stage; "" of what they did not come to."""
    taken = [[row[name] for name in STAGE_SECONDS.values()] for row in rows]
    totals = [sum(one or 0.0 for one in seconds) for seconds in taken]
    places = sorted((place for place, total in enumerate(totals) if total), key=lambda place: -totals[place])
    return [
        {
            "row": rows[place],
            "seconds": ["" if one is None else f"{one:.2f}" for one in (*taken[place], totals[place])],
        }
        for place in places[:MAX_SLOWEST]
    ]


def close_look(close_up: CloseUp, row: Row) -> dict[str, Any]:
    """Return some moments of a video with their places, and what the colours of these stand for."""
    count = len(close_up.seconds)
    chosen: Sequence[int] = np.unique(np.linspace(0, count - 1, min(MAX_MOMENTS, count)).astype(int)).tolist()
    low, high = map_range(close_up.local_scores[chosen])
    return {
        "row": row,
        "is_of_report": close_up.is_of_report,
        "num_draws": close_up.num_draws,
        "num_moments": count,
        "mean": close_up.scores.mean(),
        "ramp": map_ramp(),
        "ticks": map_ticks(low, high),
        "moments": [
            {
                "at": f"{close_up.seconds[index]:.1f} s",
                "score": f"{close_up.scores[index]:.1f}",
                "low": f"{close_up.local_scores[index].min():.0f}",
                "high": f"{close_up.local_scores[index].max():.0f}",
                "ratio": _ratio(row),
                "picture": _base64(picture_jpeg(close_up.pictures[index])),
                "map": _base64(map_png(close_up.local_scores[index], low=low, high=high)),
            }
            for index in chosen
        ],
    }


def _card(row: Row, thumbnails: Mapping[str, Thumbnail]) -> dict[str, Any]:
    thumbnail = thumbnails.get(row["video_id"], _NONE)
    return {
        "row": row,
        "ratio": _ratio(row),
        "missing": thumbnail.missing,
        "picture": None if thumbnail.pixels is None else _base64(picture_jpeg(thumbnail.pixels)),
    }


def _counted(words: Sequence[str]) -> str:
    """Return `2 failed, 1 in doubt` of `[failed, failed, in doubt]`."""
    return ", ".join(f"{count:,} {word}" for word, count in sorted(Counter(words).items()))


def _by_number(name: str) -> list[tuple[int, str]]:
    """Return what puts `channel 9` before `channel 10`."""
    parts = [part.lstrip("0") if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
    return [(len(part) if place % 2 else 0, part) for place, part in enumerate(parts)]


def _kind(warning: str) -> str:
    return warning.partition(":")[0]


def _last(uri: str, *, parts: int) -> str:
    return "/".join(PurePosixPath(uri.partition("://")[2] or uri).parts[-parts:]).lstrip("/")


def _ratio(row: Row) -> str:
    return f"{row['width'] / row['height'] if row['width'] and row['height'] else 16 / 9:.4g}"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
