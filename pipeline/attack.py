"""Owns a run of the attack lab: every video of a manifest attacked in turn, resumable video by video."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from operators.fetch import fetch
from operators.schema import Row
from operators.storage import redact
from pipeline.files import write_json, write_rows
from pipeline.manifest import DEFAULT_ALLOW_SCHEMES, read_manifest
from securevqa_core import weights, zoo
from securevqa_core.attacks.attack import AttackConfig, Victim
from securevqa_core.attacks.differentiable import FrameScorer, VideoDraw, fresh_draws, keyed_draws
from securevqa_core.attacks.frames import read_frames
from securevqa_core.attacks.measures import ScoreChange, distortion, score_change
from securevqa_core.attacks.run import run_attack
from securevqa_core.bootstrap import resample
from securevqa_core.errors import ConfigurationError, OutputError, VideoError
from securevqa_core.randomness import Key
from securevqa_core.scoring import Thresholds, summarise
from securevqa_core.types import require_range

__all__ = ["AttackRunConfig", "attack_videos", "summary"]

Regime = Literal["key", "no-key"]
_MAX_BYTES, _FETCH_SECONDS = 20 << 30, 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackRunConfig:
    """Everything a run of the attack lab was asked to do.

    Raises:
        ConfigurationError: a field is out of range.
    """

    manifest: str
    output: Path  # local folder
    attack: AttackConfig
    regime: Regime = "no-key"  # whether the attacker knows the draws that will be scored
    num_draws: int = 4  # that every score is the mean of
    seconds: float = 1.0  # of each video, from its start
    max_height: int = 360  # pixels; higher videos are shrunk
    seed: int = 0  # of draws and attacks: public, as befits research
    model: str | None = None
    checkpoint: Path | None = None
    uri_column: str = "uri"
    thresholds: Thresholds = field(default_factory=Thresholds)

    def __post_init__(self) -> None:
        if self.regime not in get_args(Regime):
            raise ConfigurationError(
                f"regime must be one of {', '.join(get_args(Regime))}, got {self.regime!r}"
            )
        require_range("draws", self.num_draws, low=1, high=256)
        require_range("seconds", self.seconds, low=0.01, high=3600)
        require_range("seed", self.seed, low=0, high=2**63)

    def settings(self, checkpoint_id: str) -> dict[str, Any]:
        """Return what decides a row, as JSON values."""
        names = ("regime", "num_draws", "seconds", "max_height", "seed")
        chosen = {name: getattr(self, name) for name in names}
        return chosen | {"attack": asdict(self.attack), "checkpoint_id": checkpoint_id}


def attack_videos(config: AttackRunConfig, *, tell: Callable[[str], None]) -> dict[str, Any]:
    """Attack every video that has no row yet, one after the other, and write what came out.

    Args:
        config: what to do.
        tell: is given one line a video.

    Returns:
        The content of `attack.json`, which is written last, after `attack.parquet`.

    Raises:
        OutputError: the output holds rows of other settings, or cannot be written.
        ManifestError: the manifest is none.
    """
    torch.set_num_threads(1)  # more would make the last bits of a score depend on the machine
    table = read_manifest(config.manifest, uri_column=config.uri_column, allow_schemes=DEFAULT_ALLOW_SCHEMES)
    checkpoint = _checkpoint(config)
    settings = config.settings(checkpoint.checkpoint_id)
    folder = _opened(config.output, settings)
    scorer = FrameScorer(weights.build(checkpoint), zoo.spec(checkpoint.architecture).sampling)
    rows = []
    for number, video in enumerate(table.select(["video_id", "uri"]).to_pylist(), start=1):
        video_id, uri = str(video["video_id"]), str(video["uri"])
        kept = folder / f"{hashlib.sha256(f'{video_id} {uri}'.encode()).hexdigest()[:24]}.json"
        if not kept.exists():
            row = {"video_id": video_id, "uri": redact(uri)} | _attacked_row(uri, scorer, checkpoint, config)
            write_json(kept, row)
        rows.append(json.loads(kept.read_text()))
        tell(f"{number} of {table.num_rows}: {_line(rows[-1])}")
    write_rows(config.output / "attack.parquet", rows)
    record = {"settings": settings} | summary(rows, config)
    write_json(config.output / "attack.json", record)
    return record


def summary(rows: list[Row], config: AttackRunConfig) -> dict[str, Any]:
    """Return the measures of the attack, and of chance alone between two clean scorings."""
    scored = [row for row in rows if row["status"] == "attacked"]
    record: dict[str, Any] = {"num_attacked": len(scored), "num_failed": len(rows) - len(scored)}
    if not scored:
        return record | {"attack": None, "noise_floor": None}
    clean, again, after = (
        np.array([row[name] for row in scored])
        for name in ("score_clean", "score_clean_again", "score_attacked")
    )
    resamples = resample(len(scored), rng=np.random.default_rng(config.seed))
    target = 100.0 if config.attack.direction == "inflate" else 0.0

    def measured(scores: NDArray[np.float64]) -> ScoreChange:
        return score_change(clean, scores, target=target, resamples=resamples, thresholds=config.thresholds)

    return record | {"attack": asdict(measured(after)), "noise_floor": asdict(measured(again))}


def _attacked_row(
    uri: str, scorer: FrameScorer, checkpoint: weights.Checkpoint, config: AttackRunConfig
) -> Row:
    """Attack one video; a video that cannot be read is a row that says so."""
    started = time.perf_counter()
    try:
        with tempfile.TemporaryFile() as target:
            fetched = fetch(uri, target, max_bytes=_MAX_BYTES, timeout_seconds=_FETCH_SECONDS)
            frames = read_frames(
                target.fileno(), max_seconds=config.seconds, max_height=config.max_height
            ).pixels
    except VideoError as error:
        return {"status": "failed", "error_code": error.code, "error_message": str(error)}
    rng = np.random.default_rng([config.seed, int(fetched.content_sha256[:16], 16)])
    keyed = keyed_draws(Key.public(config.seed), fetched.content_sha256, config.num_draws)
    is_known = config.regime == "key"
    victim = Victim(scorer, known_draws=keyed if is_known else None, num_draws=config.num_draws, rng=rng)
    found = run_attack(frames, victim, config.attack, rng=rng)

    def score(pixels: NDArray[np.uint8], draws: tuple[VideoDraw, ...]) -> float:
        return summarise(scorer.measure(pixels, draws), checkpoint.calibration).score

    # An attacked file has other bytes, so that without the key it meets draws that no one has seen.
    judges = keyed if is_known else fresh_draws(rng, config.num_draws)
    return {
        "status": "attacked",
        "content_sha256": fetched.content_sha256,
        "num_frames": len(frames),
        "height": frames.shape[1],
        "width": frames.shape[2],
        "score_clean": score(frames, keyed),
        "score_clean_again": score(frames, fresh_draws(rng, config.num_draws)),
        "score_attacked": score(found.frames, judges),
        **asdict(distortion(frames, found.frames)),
        "num_gradients": found.num_gradients,
        "num_queries": found.num_queries,
        "seconds": time.perf_counter() - started,
    }


def _checkpoint(config: AttackRunConfig) -> weights.Checkpoint:
    if config.checkpoint is not None:
        return weights.read(config.checkpoint, architecture=config.model)
    return weights.default(config.model or zoo.DEFAULT_MODEL)


def _opened(output: Path, settings: dict[str, Any]) -> Path:
    """Return the folder of finished rows, all of them made with `settings`."""
    known = output / "settings.json"
    try:
        (output / "rows").mkdir(parents=True, exist_ok=True)
        if not known.exists():
            write_json(known, settings)
        found = json.loads(known.read_text())
    except (OSError, ValueError) as error:
        raise OutputError(f"output {str(output)!r} cannot be used: {error}") from error
    differing = sorted(name for name in settings if found.get(name) != settings[name])
    if differing:
        raise OutputError(f"output {str(output)!r} holds rows of other settings: {', '.join(differing)}")
    return output / "rows"


def _line(row: Row) -> str:
    if row["status"] == "failed":
        return f"{row['video_id']}: {row['error_code']}"
    clean, after = row["score_clean"], row["score_attacked"]
    return f"{row['video_id']}: {clean:.1f} -> {after:.1f} in {row['seconds']:.0f} s"
