"""Owns whole runs of many short videos: what each took, in turns with those of another checkout's code."""

from __future__ import annotations

import json
import statistics
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.dataset as pads

from pipeline.bench.processes import HERE, Cost, measured, securevqa_command
from securevqa_core.decoding.bench_config import BenchClip, BenchConfig
from securevqa_core.decoding.benchmark import make_clip
from securevqa_core.errors import ConfigurationError

__all__ = [
    "NO_ADDRESS",
    "RunCost",
    "checkouts",
    "make_videos",
    "run_in_turns",
    "score_arguments",
    "scored_moments",
    "typical",
]

_TIMEOUT_SECONDS = 3600.0
_INTERVAL_SECONDS = 0.1  # between two looks at Ray's many processes, so that looking takes little
_CLIP = BenchClip(height=540, width=960, codec="h264")
NO_ADDRESS = {"RAY_ADDRESS": ""}  # so that arguments alone say where a run takes place
_NUMBERED = struct.Struct(">I4sI")  # an MP4 box that players skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCost:
    """What one run took."""

    cost: Cost
    first_seconds: float  # from the start of the command until a video was scored
    stage_seconds: float  # that videos spent in the stages, all together

    def share(self, cores: int) -> float:
        """Return the part of the cores' time that videos spent in the stages."""
        return self.stage_seconds / (cores * self.cost.wall_seconds)


def checkouts(against: Sequence[Path]) -> dict[str, Path]:
    """Return the code that runs, by the name that a table has for it: this, then others.

    Raises:
        ConfigurationError: a folder holds no code of this project.
    """
    found = {"this": HERE}
    for folder in against:
        if not (folder / "securevqa_core").is_dir():
            raise ConfigurationError(
                f"against must be a checkout, as `git worktree add` makes one, got {str(folder)!r}"
            )
        found[folder.resolve().name] = folder.resolve()
    return found


def make_videos(num_videos: int, folder: Path, *, clip_seconds: float, footage: Path | None = None) -> Path:
    """Write so many 540p H.264 files, no two of the same bytes, and return their folder.

    Raises:
        DatasetError: FFmpeg is missing or fails.
    """
    clip = make_clip(_CLIP, BenchConfig(footage=footage, clip_seconds=clip_seconds), folder).read_bytes()
    videos = folder / "videos"
    videos.mkdir()
    for number in range(num_videos):
        skipped = _NUMBERED.pack(_NUMBERED.size, b"free", number)
        (videos / f"video_{number:05d}.mp4").write_bytes(clip + skipped)
    return videos


def score_arguments(videos: Path, output: Path, *, address: str) -> list[str]:
    """Return the arguments of `securevqa` for a run; without an address the code chooses how."""
    asked = ["--address", address] if address else []
    return ["score", str(videos), "--output", str(output), "--seed", "0", *asked]


def run_in_turns(
    videos: Path,
    folder: Path,
    codes: Mapping[str, Path],
    *,
    address: str,
    num_repeats: int,
    told: Callable[[str], None] = lambda _: None,
) -> dict[str, list[RunCost]]:
    """Score the same videos with each code, in turns, so many times.

    Raises:
        RunError: a run fails.
    """
    costs: dict[str, list[RunCost]] = {name: [] for name in codes}
    for repeat in range(num_repeats):
        for name, checkout in codes.items():
            told(f"{name}, {repeat + 1} of {num_repeats}")
            output = folder / f"{name}_{repeat}"
            costs[name].append(_run(score_arguments(videos, output, address=address), output, checkout))
    return costs


def typical(runs: Sequence[RunCost], what: Callable[[RunCost], float]) -> float:
    """Return the median of a measure."""
    return statistics.median(what(run) for run in runs)


def _run(arguments: Sequence[str], output: Path, checkout: Path) -> RunCost:
    started = time.time()
    cost = measured(
        securevqa_command(*arguments, checkout=checkout),
        timeout_seconds=_TIMEOUT_SECONDS,
        environment=NO_ADDRESS,
        checkout=checkout,
        interval_seconds=_INTERVAL_SECONDS,
    )
    stages = json.loads((output / "run.json").read_text())["stages"]
    return RunCost(
        cost=cost,
        first_seconds=scored_moments(output)[0] - started,
        stage_seconds=sum(stage["seconds"] for stage in stages.values()),
    )


def scored_moments(output: Path) -> tuple[float, float]:
    """Return when the first and the last video of a run were scored, seconds since the epoch."""
    rows = pads.dataset(output / "report").to_table(columns=["scored_at"])
    ends = pc.min_max(rows["scored_at"])
    return ends["min"].as_py().timestamp(), ends["max"].as_py().timestamp()
