"""Owns `securevqa weights` as a whole: commands that look into checkpoints, and those that measure too."""

from __future__ import annotations

from pipeline.commands.calibrate import calibrate_command
from pipeline.commands.describe import describe_command
from pipeline.commands.suspicion import suspicion_command
from pipeline.commands.weights import weights_app

__all__ = ["weights_app"]

weights_app.command("calibrate")(calibrate_command)
weights_app.command("describe")(describe_command)
weights_app.command("suspicion")(suspicion_command)
