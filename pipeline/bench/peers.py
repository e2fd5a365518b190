"""Owns the comparison with other models and with FFmpeg's full-reference metric: the same clips, one run."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.bench.processes import Cost, measured, securevqa_command
from securevqa_core import ffmpeg, weights, zoo
from securevqa_core.decoding.bench_config import BenchClip, BenchConfig
from securevqa_core.decoding.benchmark import make_clip

__all__ = ["CLIPS", "PEERS", "VMAF", "PeerClip", "compare_peers"]

VMAF = "libvmaf"
PEERS = (zoo.DEFAULT_MODEL, "fast-vqa", "dover", "uvq-1.5", "videval", VMAF)
_TIMEOUT_SECONDS = 3600.0  # of one peer on one clip


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerClip:
    """A size and a length."""

    height: int  # pixels
    width: int  # pixels
    seconds: float

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.height}p, {self.seconds:g} s"


CLIPS = (PeerClip(height=540, width=960, seconds=10), PeerClip(height=1080, width=1920, seconds=20))


def compare_peers(
    clips: tuple[PeerClip, ...],
    peers: tuple[str, ...],
    folder: Path,
    *,
    footage: Path | None = None,
    num_repeats: int = 1,
    told: Callable[[str], None] = lambda _: None,
) -> dict[tuple[str, str], Cost]:
    """Score each clip by each peer, in turn, each in a process of its own, from its start to its end.

    Models without weights that ship have untrained ones, which take as long.

    Args:
        clips: what is scored.
        peers: names of the zoo, and `VMAF`, which compares a clip with itself: that costs what any copy does.
        folder: where clips and weights are written.
        footage: what clips are made from; None: what FFmpeg draws.
        num_repeats: rounds; of each the cheapest counts.
        told: is told what is being done.

    Returns:
        By the names of peer and clip.

    Raises:
        DatasetError: FFmpeg is missing or fails.
        RunError: a peer fails.
    """
    paths = {}
    for clip in clips:
        told(f"making {clip.name}")
        size = BenchClip(height=clip.height, width=clip.width, codec="h264")
        config = BenchConfig(footage=footage, clip_seconds=clip.seconds)
        paths[clip.name] = make_clip(size, config, folder)
    checkpoints = {peer: _checkpoint(peer, folder) for peer in peers if peer != VMAF}
    costs: dict[tuple[str, str], Cost] = {}
    for _ in range(num_repeats):
        for clip in clips:
            for peer in peers:
                told(f"{peer} on {clip.name}")
                command = _command(paths[clip.name], checkpoints.get(peer))
                cost = measured(command, timeout_seconds=_TIMEOUT_SECONDS)
                before = costs.get((peer, clip.name))
                if before is None or cost.processor_seconds < before.processor_seconds:
                    costs[peer, clip.name] = cost
    return costs


def _checkpoint(peer: str, folder: Path) -> Path:
    """Return a file of weights: what ships, or else untrained ones that are written to `folder`."""
    if peer in weights.shipped_names():
        return weights.shipped(peer)
    path = folder / f"{peer}.safetensors"
    weights.save(
        path,
        zoo.build(peer),
        architecture=peer,
        calibration=zoo.spec(peer).calibration,
        status="untrained",
        card={},
    )
    return path


def _command(clip: Path, checkpoint: Path | None) -> list[str]:
    if checkpoint is not None:
        timeout = ("--decode-timeout", str(_TIMEOUT_SECONDS))  # in which VIDEVAL computes its statistics
        return securevqa_command("score", str(clip), "--checkpoint", str(checkpoint), "--seed", "0", *timeout)
    inputs = ["-threads", "1", "-i", str(clip)] * 2
    graph = "[0:v]settb=1/1000,setpts=N*40[d];[1:v]settb=1/1000,setpts=N*40[r];[d][r]libvmaf=n_threads=1"
    quiet = ["-hide_banner", "-v", "error", "-nostdin"]
    return [ffmpeg.executable(), *quiet, *inputs, "-lavfi", graph, "-f", "null", os.devnull]
