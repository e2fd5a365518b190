"""Owns the drawings of a report's page: SVG with the page's own text colour, frames, and maps over them."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "SIZES",
    "VERDICT_COLORS",
    "histogram_svg",
    "map_png",
    "map_ramp",
    "map_range",
    "map_ticks",
    "picture_jpeg",
    "timeline_svg",
]

# At least 3 to 1 on the page's light and on its dark ground.
VERDICT_COLORS = {"pass": "#1f8a70", "review": "#b7791f", "reject": "#c2453e"}
LINE_COLOR = "#3d7ebd"
MAP_COLORS = "RdYlBu"  # matplotlib's name: low is red, high is blue, which all can tell apart
MAP_OPACITY = 0.6  # over a grey frame
MIN_MAP_RANGE = 20.0  # points: less is noise, which stronger colours would make a finding
_NUM_STOPS = 9  # of the ramp
_TEXT_COLOR = "#010203"  # stands for the page's own, which is put in its place
# Inches, of 96 pixels of CSS: what a large window, a small one and a telephone have room for.
SIZES = {"wide": (12.2, 3.2), "middle": (7.6, 3.0), "narrow": (3.7, 2.6)}


def histogram_svg(
    scores: Mapping[str, NDArray[np.float64]], *, marks: Sequence[float], size: str = "wide"
) -> str:
    """Draw how many videos have which score_lower, by verdict, with lines at the verdicts' thresholds.

    Args:
        scores: verdict -> (n,) on 0..100.
        marks: scores at which to draw a line.
        size: of `SIZES`; narrow is coarser.
    """

    def draw(axes: Any) -> None:
        names = [name for name in VERDICT_COLORS if len(scores.get(name, ()))]
        if names:
            axes.hist(
                [scores[name] for name in names],
                bins=np.linspace(0, 100, 21 if size == "narrow" else 41),
                stacked=True,
                color=[VERDICT_COLORS[name] for name in names],
                label=names,
            )
            _put_legend(axes)
        for mark in marks:
            axes.axvline(mark, color=_TEXT_COLOR, linewidth=1, linestyle=":")
        axes.set(xlabel="lower bound of the score", ylabel="videos", xlim=(0, 100))
        axes.yaxis.get_major_locator().set_params(integer=True)

    return _svg(draw, size)


def timeline_svg(
    seconds: NDArray[np.float64],
    scores: NDArray[np.float64],
    *,
    score: float,
    score_lower: float,
    size: str = "wide",
) -> str:
    """Draw the score of each temporal position against time, and the report's beside them.

    Args:
        seconds: (n,) into the video.
        scores: (n,) on 0..100.
        score: of the report, with its lower bound `score_lower`.
        size: of `SIZES`.
    """

    def draw(axes: Any) -> None:
        axes.plot(seconds, scores, "o", color=LINE_COLOR, markersize=4, label="moments")
        axes.axhline(score, color=_TEXT_COLOR, linewidth=1, label="score")
        axes.axhline(score_lower, color=_TEXT_COLOR, linewidth=1, linestyle=":", label="lower bound")
        _put_legend(axes)
        axes.set(xlabel="time (s)", ylabel="score", ylim=(0, 100))

    return _svg(draw, size)


def picture_jpeg(picture: NDArray[np.uint8]) -> bytes:
    """Return an RGB picture (h, w, 3) as JPEG."""
    from matplotlib.image import imsave  # noqa: PLC0415

    sink = io.BytesIO()
    imsave(sink, picture, format="jpg", pil_kwargs={"quality": 80})
    return sink.getvalue()


def map_range(scores: NDArray[np.float64]) -> tuple[float, float]:
    """Return which scores the ends of the colours stand for: tens around all, and 20 points or more apart."""
    low = min(10 * np.floor(scores.min() / 10), 100 - MIN_MAP_RANGE)
    return float(low), float(max(10 * np.ceil(scores.max() / 10), low + MIN_MAP_RANGE))


def map_ticks(low: float, high: float) -> list[tuple[int, float]]:
    """Return round scores from `low` to `high`, each with its share of the way, 0..1."""
    span = high - low
    step = next(step for step in (5, 10, 20) if span <= 5 * step)
    scores = np.arange(step * np.ceil(low / step), high + 1, step)
    return [(int(score), float((score - low) / span)) for score in scores]


def map_png(scores: NDArray[np.float64], *, low: float, high: float) -> bytes:
    """Return local scores (h, w) as a transparent PNG, a pixel a cell, red from `low` to blue at `high`."""
    from matplotlib.image import imsave  # noqa: PLC0415

    sink = io.BytesIO()
    imsave(sink, _map_colors((scores - low) / (high - low)), format="png")
    return sink.getvalue()


def map_ramp() -> str:
    """Return the colours of a map from low to high, as a gradient of CSS."""
    stops = (255 * _map_colors(np.linspace(0, 1, _NUM_STOPS))[:, :3]).round().astype(int).tolist()
    colors = ", ".join(f"rgb({red} {green} {blue} / {MAP_OPACITY})" for red, green, blue in stops)
    return f"linear-gradient(to right, {colors})"


def _map_colors(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    from matplotlib import colormaps  # noqa: PLC0415

    return np.asarray(colormaps[MAP_COLORS](np.clip(shares, 0, 1), alpha=MAP_OPACITY))


def _put_legend(axes: Any) -> None:
    """Put the legend above the drawing, in one line that a telephone has room for."""
    spaces = {"borderaxespad": 0, "handlelength": 1.2, "handletextpad": 0.4, "columnspacing": 1}
    axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), **spaces)


def _svg(draw: Callable[[Any], None], size: str) -> str:
    # A second that other commands need not spend; and no pyplot, so no display and no state of its own.
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    names = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    settings: Any = dict.fromkeys(names, _TEXT_COLOR)
    settings |= {"svg.fonttype": "none", "svg.hashsalt": "securevqa", "font.family": "sans-serif"}
    with mpl.rc_context(settings):
        figure = Figure(figsize=SIZES[size], layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        draw(axes)
        axes.spines[["top", "right"]].set_visible(False)
        sink = io.StringIO()
        figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None})
    drawing = sink.getvalue()
    return drawing[drawing.index("<svg") :].replace(_TEXT_COLOR, "currentColor")
