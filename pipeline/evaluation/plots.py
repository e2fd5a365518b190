"""Owns the pictures of an evaluation: labels against scores with the fit, and what the fit leaves."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from securevqa_core.logistic import Floats, Logistic

__all__ = ["residuals_png", "scatter_png"]

PANEL_INCHES = 4.2
DOTS_PER_INCH = 150
_POINTS = {"s": 12, "alpha": 0.45, "linewidths": 0, "color": "#1f4e79"}
_LINE = {"color": "#b03a2e", "linewidth": 1.8}

Curves = Mapping[str, Logistic | None]


def scatter_png(scores: Mapping[str, Floats], labels: Floats, curves: Curves, *, label_name: str) -> bytes:
    """Draw labels against scores, one panel a run, with the fitted logistic; return a PNG.

    Args:
        scores: run name -> (n,) on 0..100.
        labels: (n,) on 0..100.
        curves: run name -> its fit; None where there is none.
        label_name: of the column that the labels come from.
    """

    def draw(axes: Any, name: str) -> None:
        axes.scatter(scores[name], labels, **_POINTS)
        curve = curves[name]
        if curve is not None:
            x = np.linspace(scores[name].min(), scores[name].max(), 200)
            axes.plot(x, curve(x), label="logistic fit", **_LINE)
            axes.legend(loc="upper left", frameon=False)
        axes.set(xlabel="score (points of 100)", xlim=(-2, 102), ylim=(-2, 102))

    return _panels(list(scores), draw, ylabel=f"{label_name} (mapped to points of 100)")


def residuals_png(scores: Mapping[str, Floats], labels: Floats, curves: Curves, *, label_name: str) -> bytes:
    """Draw label minus fitted score against fitted score, one panel a run; return a PNG.

    Arguments are those of `scatter_png`.
    """

    def draw(axes: Any, name: str) -> None:
        curve = curves[name]
        axes.axhline(0, **_LINE)
        if curve is None:
            axes.text(50, 0, "no logistic fit", ha="center", va="bottom")
        else:
            fitted = curve(scores[name])
            axes.scatter(fitted, labels - fitted, **_POINTS)
        axes.set(xlabel="score after the fit (points of 100)", xlim=(-2, 102))

    return _panels(list(scores), draw, ylabel=f"{label_name} minus fit (points of 100)")


def _panels(names: list[str], draw: Callable[[Any, str], None], *, ylabel: str) -> bytes:
    # A second that other commands need not spend; and no pyplot, so no display and no state of its own.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(PANEL_INCHES * len(names), PANEL_INCHES), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(names), squeeze=False, sharex=True, sharey=True)[0]
    for axes, name in zip(panels, names, strict=True):
        draw(axes, name)
        axes.set_title(name.replace("$", r"\$"), fontsize=10)
        axes.grid(alpha=0.25)
    panels[0].set_ylabel(ylabel.replace("$", r"\$"))
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DOTS_PER_INCH)
    return picture.getvalue()
