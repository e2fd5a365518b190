"""Owns the drawings of a report's page, as SVG that takes its text colour from the page it stands in."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["VERDICT_COLORS", "group_svg", "histogram_svg", "map_png", "picture_jpeg", "timeline_svg"]

VERDICT_COLORS = {
    "pass": "#2e8b57",
    "review": "#c98a1b",
    "reject": "#c0504d",
}  # readable on white and on black
LINE_COLOR = "#3d7ebd"
MAP_COLORS = "RdYlGn"  # matplotlib's name: low is red
_TEXT_COLOR = "#010203"  # stands for the page's own, which is put in its place
_NUM_BINS = 40
_ROW_INCHES = 0.28
_MAX_NAME = 32  # characters of a group's name that leave room for its bar


def histogram_svg(scores: Mapping[str, NDArray[np.float64]], *, marks: Sequence[float]) -> str:
    """Draw how many videos have which score_lower, by verdict, with lines at the verdicts' thresholds.

    Args:
        scores: verdict -> (n,) on 0..100.
        marks: scores at which to draw a line.
    """

    def draw(axes: Any) -> None:
        names = [name for name in VERDICT_COLORS if len(scores.get(name, ()))]
        if names:
            axes.hist(
                [scores[name] for name in names],
                bins=np.linspace(0, 100, _NUM_BINS + 1),
                stacked=True,
                color=[VERDICT_COLORS[name] for name in names],
                label=names,
            )
            axes.legend(frameon=False, loc="upper left")
        for mark in marks:
            axes.axvline(mark, color=_TEXT_COLOR, linewidth=1, linestyle=":")
        axes.set(xlabel="score_lower (points of 100)", ylabel="videos", xlim=(0, 100))

    return _svg(draw, inches=(7, 2.8))


def group_svg(groups: Sequence[tuple[str, Mapping[str, int]]]) -> str:
    """Draw the share of each verdict in each group, as bars one below the other.

    Args:
        groups: name and verdict -> videos, at least one each.
    """
    names = [name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 3]}..." for name, _ in groups]
    counts = [one for _, one in groups]

    def draw(axes: Any) -> None:
        places = np.arange(len(groups))
        left = np.zeros(len(groups))
        for name, color in VERDICT_COLORS.items():
            totals = [sum(one.values()) for one in counts]
            share = np.array([one.get(name, 0) for one in counts]) / totals * 100
            axes.barh(places, share, left=left, color=color, label=name)
            left += share
        axes.set(xlabel="videos (%)", xlim=(0, 100))
        axes.set_yticks(places, names, parse_math=False)
        axes.invert_yaxis()
        axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))

    return _svg(draw, inches=(7, 1.2 + _ROW_INCHES * len(groups)))


def timeline_svg(seconds: NDArray[np.float64], scores: NDArray[np.float64]) -> str:
    """Draw the score of each temporal position against time.

    Args:
        seconds: (n,) into the video.
        scores: (n,) on 0..100.
    """

    def draw(axes: Any) -> None:
        order = np.argsort(seconds, kind="stable")
        axes.plot(seconds[order], scores[order], color=LINE_COLOR, marker="o", markersize=3)
        axes.set(xlabel="time (s)", ylabel="score (points of 100)", ylim=(0, 100))

    return _svg(draw, inches=(7, 2.4))


def picture_jpeg(picture: NDArray[np.uint8]) -> bytes:
    """Return an RGB picture (h, w, 3) as JPEG."""
    from matplotlib.image import imsave  # noqa: PLC0415

    sink = io.BytesIO()
    imsave(sink, picture, format="jpg", pil_kwargs={"quality": 80})
    return sink.getvalue()


def map_png(scores: NDArray[np.float64]) -> bytes:
    """Return local scores (h, w) on 0..100 as a half transparent PNG, a pixel a cell, red to green."""
    from matplotlib import colormaps  # noqa: PLC0415
    from matplotlib.image import imsave  # noqa: PLC0415

    colors = np.asarray(colormaps[MAP_COLORS](np.clip(scores / 100, 0, 1), alpha=0.45))
    sink = io.BytesIO()
    imsave(sink, colors, format="png")
    return sink.getvalue()


def _svg(draw: Callable[[Any], None], *, inches: tuple[float, float]) -> str:
    # A second that other commands need not spend; and no pyplot, so no display and no state of its own.
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    names = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    settings: Any = dict.fromkeys(names, _TEXT_COLOR)
    settings |= {"svg.fonttype": "none", "svg.hashsalt": "securevqa", "font.family": "sans-serif"}
    with mpl.rc_context(settings):
        figure = Figure(figsize=inches, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        draw(axes)
        axes.spines[["top", "right"]].set_visible(False)
        sink = io.StringIO()
        figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None})
    drawing = sink.getvalue()
    return drawing[drawing.index("<svg") :].replace(_TEXT_COLOR, "currentColor")
