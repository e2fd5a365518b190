"""Owns `securevqa models`: which models there are, what ships of them, their size, and what they look at."""

from __future__ import annotations

import textwrap

from pipeline.commands.terminal import console, events
from pipeline.results import Result

__all__ = ["models_command"]


def models_command() -> Result:
    """List the models: which ship with weights, their size, and what they look at."""
    with events.doing("loading", is_logged=False):
        from pipeline.checkpoints import model_facts  # noqa: PLC0415 - seconds of imports
        from securevqa_core import zoo  # noqa: PLC0415

        models = [model_facts(name) for name in zoo.names()]
    lines = []
    for one in models:
        note = " (default)" if one["is_default"] else ""
        lines.append(
            f"{one['model'] + note:34} {one['weights']:6} {one['num_weights'] / 1e6:7.3g} million weights"
        )
        words = textwrap.wrap(f"{one['description']} {one['looks_at']}", width=console.width - 4)
        lines += [f"    {line}" for line in words]
    meant = (
        "ships = trained ones come along, and the name may stand wherever a checkpoint may; "
        "bring = `securevqa weights import` or `securevqa train` makes them."
    )
    lines += textwrap.wrap(meant, width=console.width)
    return Result(record=models, shown=lines)
