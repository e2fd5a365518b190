"""Owns `securevqa weights`: published weights in, checkpoints shown and verified."""

from __future__ import annotations

import typer

__all__ = ["weights_app"]

weights_app = typer.Typer(no_args_is_help=True)


@weights_app.callback()
def _about() -> None:
    """Bring published weights, and look into checkpoints."""
