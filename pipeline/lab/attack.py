"""Owns a run of the attack lab: every video of a manifest attacked, resumable video by video."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from operators.schema import Row
from operators.storage import redact
from pipeline.events import duration
from pipeline.files import write_json, write_rows
from pipeline.lab.config import AttackRunConfig
from pipeline.lab.video import VMAF_NAMES, KeptPictures, Lab
from pipeline.lab.work import Runner, Task, lab_of, run_here
from pipeline.manifests.labelled import keep_rows
from pipeline.manifests.labels import label_column, labels_of, row_numbers, settled_scale
from pipeline.manifests.manifest import read_manifest
from pipeline.manifests.rows import DEFAULT_ALLOW_SCHEMES
from pipeline.tables import file_names
from pipeline.text import counted
from securevqa_core.attacks.measures import ScoreChange, score_change
from securevqa_core.attacks.universal import fit_universal
from securevqa_core.bootstrap import Estimate, Resamples, Rows, estimate, resample
from securevqa_core.errors import ManifestError, OutputError, UndefinedError, VideoError, may_pass
from securevqa_core.metrics import plcc, srcc

__all__ = ["attack_videos", "summary"]

RECORD_FILE = "attack.json"  # written last
_PHASES = {"clean": "scoring {} as they are", "attacked": "attacking {}"}  # what is told of each


def attack_videos(
    config: AttackRunConfig, *, tell: Callable[[str], None], run: Runner = run_here
) -> dict[str, Any]:
    """Attack every video that has no row yet, and write what came out.

    Args:
        config: what to do.
        tell: is given one line a video.
        run: where.

    Returns:
        The content of `attack.json`, which is written last, after `attack.parquet`.

    Raises:
        OutputError: the output holds rows of other settings, or cannot be written.
        ManifestError: the manifest is none, or lacks videos to fit to.
        RunError: workers died over one video again and again.
    """
    videos, fitted = _chosen(config, tell=tell)
    lab = lab_of(config)
    settings = config.settings(lab.target, lab.surrogate)
    settings |= {"videos": _digest(videos), "fitted": _digest(fitted)}
    folder = _opened(config.output, settings)
    for name in ("target", "surrogate"):
        if settings[name] is not None and settings[name]["checkpoint_status"] == "untrained":
            tell(f"{name} {settings[name]['checkpoint_id']} is untrained: its scores mean nothing")

    def clean(number: int) -> Task:
        video = videos[number]
        return Task(config=config, uri=video["uri"], row=video | {"uri": redact(video["uri"])})

    rows = _kept_rows(videos, folder, "clean", clean, run=run, tell=tell)
    goals = _goals(config, rows)
    tile = None
    if fitted and not all(_is_final(_row_path(folder, video, "attacked")) for video in videos):
        tile = _fitted_tile(lab, fitted, tell)

    def attacked(number: int) -> Task:
        return Task(
            config=config,
            uri=videos[number]["uri"],
            row=rows[number],
            goal=goals[number],
            tile=tile,
            kept=_pictures(config, videos[number], number),
        )

    rows = _kept_rows(videos, folder, "attacked", attacked, run=run, tell=tell)
    write_rows(config.output / "attack.parquet", rows)
    record = {"settings": settings} | summary(rows, config)
    write_json(config.output / RECORD_FILE, record)
    return record


def summary(rows: list[Row], config: AttackRunConfig) -> dict[str, Any]:
    """Return the measures of the attack, and of chance alone between two clean scorings."""
    scored = [row for row in rows if row["status"] == "attacked"]
    record: dict[str, Any] = {"num_attacked": len(scored), "num_failed": len(rows) - len(scored)}
    names = ("attack", "noise_floor", "agreement", "codec", "spent")
    if not scored:
        return record | dict.fromkeys(names)

    def column(name: str) -> NDArray[np.float64]:
        return np.array([row[name] for row in scored], dtype=np.float64)

    resamples = resample(len(scored), rng=np.random.default_rng(config.seed))
    targets = {"inflate": 100.0, "deflate": 0.0}
    target = targets.get(config.attack.direction, column("goal"))

    def measured(before: str, after: str) -> dict[str, Any]:
        change: ScoreChange = score_change(
            column(before), column(after), target=target, resamples=resamples, thresholds=config.thresholds
        )
        return asdict(change)

    seen = VMAF_NAMES if config.measures_vmaf else ()
    spent = ("l2", "linf", "psnr", "ssim", *seen, "num_gradients", "num_queries", "seconds")
    values = (
        measured("score_clean", "score_attacked"),
        measured("score_clean", "score_clean_again"),
        _agreement(column("label"), column, resamples) if "label" in scored[0] else None,
        {crf: measured(f"score_clean_crf{crf}", f"score_attacked_crf{crf}") for crf in config.codec_crfs},
        {name: _mean([row[name] for row in scored]) for name in spent},
    )
    return record | dict(zip(names, values, strict=True))


def _agreement(
    labels: NDArray[np.float64], column: Callable[[str], NDArray[np.float64]], resamples: Resamples
) -> dict[str, Any]:
    """Return SRCC and PLCC with the labels before and after."""

    def of(statistic: Callable[[Any, Any], float], scores: NDArray[np.float64]) -> Estimate:
        def of_rows(rows: Rows) -> float:
            return statistic(scores[rows], labels[rows])

        return estimate(of_rows, resamples)

    return {
        f"{name}_{when}": asdict(of(statistic, column(f"score_{when}")))
        for name, statistic in (("srcc", srcc), ("plcc", plcc))
        for when in ("clean", "attacked")
    }


def _mean(values: list[float | None]) -> float | None:
    """Return the mean, None where a value is not defined."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _chosen(config: AttackRunConfig, *, tell: Callable[[str], None]) -> tuple[list[Row], list[Row]]:
    """Return the videos to attack, in the manifest's order, and those to fit to."""
    table = read_manifest(config.manifest, uri_column=config.uri_column, allow_schemes=DEFAULT_ALLOW_SCHEMES)
    labels: list[float | None] | None = None
    if config.labels is not None:
        places = row_numbers(table)
        table = keep_rows(table, config.labels)
        column = label_column(table.column_names, config.labels.label_column)
        scale = settled_scale(table, column, config.labels.label_range, rows=places, tell=tell)
        labels = labels_of(table, column, scale, rows=places)
    rows: list[Row] = table.select(["video_id", "uri"]).to_pylist()
    if labels is not None:
        labelled = zip(rows, labels, strict=True)
        rows = [row | {"label": label} for row, label in labelled if label is not None]
    num_wanted = len(rows) - config.num_fitted if config.max_videos is None else config.max_videos
    if config.num_fitted and not 0 < num_wanted <= len(rows) - config.num_fitted:
        raise ManifestError(
            f"universal needs {counted(config.num_fitted, 'video')} to fit to "
            f"and {max(num_wanted, 1)} to attack, got {len(rows)}"
        )
    order = np.random.default_rng(config.seed).permutation(len(rows)).tolist()
    fitted = order[len(order) - config.num_fitted :]
    return [rows[number] for number in sorted(order[:num_wanted])], [rows[number] for number in fitted]


def _goals(config: AttackRunConfig, rows: list[Row]) -> list[float | None]:
    """Return the raw score that the benchmark attack wants of each video: far on the other side of its label.

    A label from the median up is pushed to where the line through labels and scores has label 0, one below
    it to where it has 100, the ends of the scale.
    """
    if config.attack.direction != "boundary":
        return [None] * len(rows)
    scored = [row for row in rows if row["status"] == "scored"]
    labels, raw = (np.array([row[name] for row in scored]) for name in ("label", "raw_clean"))
    if len(scored) < 2 or not labels.std():
        raise UndefinedError(f"direction boundary needs labels that differ, got {labels.tolist()}")
    ends = np.where(labels >= np.median(labels), 0.0, 100.0)
    wanted = (ends - labels.mean()) / labels.std() * raw.std() + raw.mean()
    goal_of = {row["video_id"]: float(goal) for row, goal in zip(scored, wanted, strict=True)}
    return [goal_of.get(row["video_id"]) for row in rows]


def _fitted_tile(lab: Lab, videos: list[Row], tell: Callable[[str], None]) -> Tensor:
    frames = []
    for video in videos:
        try:
            frames.append(lab.frames(video["uri"]))
        except VideoError as error:
            tell(f"not fitted to {video['video_id']}: {error.code}")
    rng = np.random.default_rng([lab.config.seed, 2])
    victim = lab.victim(rng, digest=None, of_surrogate=True)
    return fit_universal(frames, victim, lab.config.attack, rng=rng)


def _kept_rows(
    videos: list[Row],
    folder: Path,
    phase: str,
    task: Callable[[int], Task],
    *,
    run: Runner,
    tell: Callable[[str], None],
) -> list[Row]:
    """Return a row a video, those that are there already as they are, but for failures that may pass.

    Told is what is done, and how every video of this call ended.
    """
    paths = [_row_path(folder, video, phase) for video in videos]
    missing = [number for number, path in enumerate(paths) if not _is_final(path)]
    tell(_PHASES[phase].format(counted(len(missing), "video")) + _before(len(videos) - len(missing)))
    started = time.perf_counter()
    for done, (index, row) in enumerate(run([task(number) for number in missing]), start=1):
        write_json(paths[missing[index]], row)
        left = (time.perf_counter() - started) / done * (len(missing) - done)
        tell(f"{done} of {len(missing)}, {duration(left)} left: {_line(row)}")
    return [json.loads(path.read_text()) for path in paths]


def _before(number: int) -> str:
    """Say how many videos an earlier call is done with."""
    return f"; {counted(number, 'video')} done before" if number else ""


def _is_final(path: Path) -> bool:
    """Whether there is a row that another try would not change."""
    if not path.exists():
        return False
    code = json.loads(path.read_text()).get("error_code")
    return code is None or not may_pass(code)


def _row_path(folder: Path, video: Row, phase: str) -> Path:
    return folder / f"{_digest([video])}.{phase}.json"


def _pictures(config: AttackRunConfig, video: Row, number: int) -> KeptPictures:
    name = f"{_digest([video])}.mkv"
    return KeptPictures(
        lossless=config.output / "videos" / name if config.keeps_videos else None,
        picture=config.output / "difference.png" if number == 0 else None,
    )


def _digest(videos: list[Row]) -> str:
    texts = [" ".join(str(value) for value in video.values()) for video in videos]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:24]


def _opened(output: Path, settings: dict[str, Any]) -> Path:
    """Return the folder of finished rows, all of them made with `settings`."""
    known = output / "settings.json"
    try:
        (output / "rows").mkdir(parents=True, exist_ok=True)
        if not known.exists():
            write_json(known, settings)
        earlier = json.loads(known.read_text())
    except (OSError, ValueError) as error:
        raise OutputError(f"output {str(output)!r} cannot be used: {error}") from error
    differing = sorted(name for name in settings if earlier.get(name) != settings[name])
    if differing:
        raise OutputError(f"output {str(output)!r} holds rows of other settings: {', '.join(differing)}")
    return output / "rows"


def _line(row: Row) -> str:
    (name,) = file_names([row["uri"]])
    if row["status"] != "attacked":
        return f"{name}: {row.get('error_code') or row['status']}"
    clean, after = row["score_clean"], row["score_attacked"]
    return f"{name}: {clean:.1f} -> {after:.1f} in {row['seconds']:.0f} s"
