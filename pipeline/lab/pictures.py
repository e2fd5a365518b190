"""Owns the pictures of the attack lab: what was changed, and what more of it brings."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securevqa_core.bootstrap import Estimate

__all__ = ["curve_png", "difference_png"]

_INCHES, _DOTS_PER_INCH = 4.2, 110
_AMPLIFIED = 127.0  # levels that the largest change is shown as, about grey
_COLOURS = ("#1f4e79", "#b03a2e", "#2e7d32", "#7a4b9a", "#8a6d1d")


def difference_png(
    clean: NDArray[np.uint8], attacked: NDArray[np.uint8], *, scores: tuple[float, float]
) -> bytes:
    """Show a frame (h, w, 3), the same attacked, and their difference amplified about grey; return a PNG."""
    change = attacked.astype(np.float64) - clean
    largest = float(np.abs(change).max())
    factor = _AMPLIFIED / largest if largest else 1.0
    shown = {
        f"original, {scores[0]:.1f} points": clean,
        f"attacked, {scores[1]:.1f} points": attacked,
        f"difference x {factor:.0f}": np.clip(128 + factor * change, 0, 255).astype(np.uint8),
    }
    figure, panels = _figure(len(shown))
    for axes, (title, picture) in zip(panels, shown.items(), strict=True):
        axes.imshow(picture)
        axes.set_title(title, fontsize=10)
        axes.axis("off")
    return _png(figure)


def curve_png(curves: Mapping[str, Mapping[float, Estimate]], *, xlabel: str) -> bytes:
    """Draw the mean change of scores against what was spent, one line a name; return a PNG."""
    figure, (axes,) = _figure(1)
    for (name, points), colour in zip(curves.items(), _COLOURS * len(curves), strict=False):
        spent = sorted(points)
        gains = [points[one] for one in spent]
        axes.plot(spent, [one.value for one in gains], "o-", color=colour, label=name)
        if all(one.low is not None for one in gains):
            axes.fill_between(
                spent, [one.low for one in gains], [one.high for one in gains], color=colour, alpha=0.15
            )
    axes.axhline(0, color="#888888", linewidth=0.8)
    axes.set(xlabel=xlabel, ylabel="mean change (points of 100), 95% interval")
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.25)
    return _png(figure)


def _figure(num_panels: int) -> tuple[Any, list[Any]]:
    # As in `plots`: a second that other commands need not spend, and no pyplot.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(_INCHES * max(num_panels, 1.4), _INCHES * 0.85), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, num_panels, squeeze=False)[0])


def _png(figure: Any) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=_DOTS_PER_INCH)
    return picture.getvalue()
