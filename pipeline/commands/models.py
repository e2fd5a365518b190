"""Owns `securevqa models`: which models there are, what ships of them, their size, and what they look at."""

from __future__ import annotations

import textwrap
from typing import Annotated, Any

import torch
import typer

from pipeline.commands.terminal import console, print_json, say
from securevqa_core import weights, zoo

__all__ = ["models_command"]


def models_command(
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead, with the sampling.")] = False,
) -> None:
    """List the models: which ship with weights, their size, and what they look at."""
    models = [_facts(name) for name in zoo.names()]
    if json:
        print_json(models)
        return
    for one in models:
        note = " (default)" if one["is_default"] else ""
        say(f"{one['model'] + note:34} {one['weights']:6} {one['num_weights'] / 1e6:7.3g} million weights")
        words = textwrap.fill(f"{one['description']} {one['looks_at']}", width=console.width - 4)
        say(textwrap.indent(words, "    "))
    say(
        "ships = trained ones come along, and the name may stand wherever a checkpoint may; "
        "bring = `securevqa weights import` or `securevqa train` makes them."
    )


def _facts(name: str) -> dict[str, Any]:
    spec = zoo.spec(name)
    path = weights.shipped(name)
    return {
        "model": name,
        "is_default": name == zoo.DEFAULT_MODEL,
        "weights": "ships" if path.exists() else "bring",
        "checkpoint_bytes": path.stat().st_size if path.exists() else None,
        "num_weights": _num_weights(spec),
        "description": spec.description,
        "looks_at": _looks_at(spec),
        "draws": spec.num_draws,
        "sampling": spec.sampling.as_dict(),
    }


def _num_weights(spec: zoo.ModelSpec) -> int:
    """Count the values of a model's weights without making them."""
    with torch.device("meta"):
        return sum(one.numel() for one in spec.make(spec).state_dict().values())


def _looks_at(spec: zoo.ModelSpec) -> str:
    """Say what of a video is looked at in one draw."""
    sampling = spec.sampling
    if sampling.picture_rate:
        size = f"{sampling.picture_width} x {sampling.picture_height}"
        return f"Per second: {sampling.picture_rate} whole frame in {size}."
    if sampling.has_statistics:
        return "Needs every frame decoded, at its own size."
    clips = f"{sampling.num_clips} x {sampling.clip_frames} frames in {sampling.fragment_side} pixels"
    segments = f"{sampling.num_segments} x {sampling.segment_frames} whole frames in {sampling.segment_side}"
    looked = [clips] if sampling.fragment_side > 32 else []
    looked += [segments] if sampling.num_segments else []
    return f"Per draw: {', '.join(looked)}."
