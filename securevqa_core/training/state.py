"""Owns what a training run leaves on disk: the state to resume from, and the log of its metrics.

OUTPUT/
  training_state.pt   weights, averaged weights, best weights, optimiser and place; replaced as a whole
  metrics.jsonl       one line an epoch
  tensorboard/        the same for TensorBoard, where it is installed
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from securevqa_core.errors import CheckpointError, ConfigurationError, OutputError
from securevqa_core.files import whole_file
from securevqa_core.fitting import read_torch

__all__ = ["Place", "differences", "metric_log", "read_state", "write_state"]

STATE_FILE = "training_state.pt"
METRICS_FILE = "metrics.jsonl"
FORMAT_VERSION = 1


@dataclass(slots=True, kw_only=True)
class Place:
    """How far a training has come; changes as it goes on."""

    epoch: int = 0  # the one being worked on; == epochs when done
    step: int = 0  # steps done in this epoch
    sums: dict[str, float] = field(default_factory=dict)  # of the metrics over the steps of this epoch
    history: list[dict[str, Any]] = field(default_factory=list)  # metrics of each epoch done
    best_epoch: int | None = None
    best_srcc: float | None = None  # on validation; None where no epoch has one
    best_weights: dict[str, Tensor] | None = None
    best_scores: list[float] | None = None  # raw, of the validation videos, in their order


def write_state(
    output: Path, place: Place, *, identity: Mapping[str, Any], tensors: Mapping[str, Any]
) -> None:
    """Write the state under a temporary name, then rename it.

    Args:
        output: folder.
        place: how far the training has come.
        identity: JSON values that a resumed training must share.
        tensors: state dicts.

    Raises:
        OutputError: it cannot be written.
    """
    content = {
        "format_version": FORMAT_VERSION,
        "identity": json.dumps(identity, sort_keys=True),
        "place": {name: getattr(place, name) for name in Place.__slots__},
        **tensors,
    }
    path = output / STATE_FILE
    try:
        output.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as part:
            torch.save(content, part)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise OutputError(f"training state {str(path)!r} cannot be written: {error}") from error


def read_state(output: Path, *, identity: Mapping[str, Any]) -> tuple[Place, dict[str, Any]] | None:
    """Return what `write_state` wrote, on the CPU; None where nothing was written.

    Raises:
        CheckpointError: the file is damaged or of another format.
        ConfigurationError: it is of a training with other settings or data, which are named.
    """
    path = output / STATE_FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(f"training state {str(path)!r} cannot be read: {error}") from error
    content: Any = read_torch(data, where=f"training state {str(path)!r}")
    version = content.pop("format_version", None) if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"training state {str(path)!r} has format_version {version!r}, and only {FORMAT_VERSION} is known"
        )
    _require_same(json.loads(content.pop("identity")), json.loads(json.dumps(identity)), path)
    return Place(**content.pop("place")), content


def _require_same(earlier: dict[str, Any], now: dict[str, Any], path: Path) -> None:
    if found := differences(earlier, now):
        raise ConfigurationError(
            f"{str(path)!r} is of another training: {found}; choose another output, or the same settings"
        )


def differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return by which settings two trainings differ, as in `epochs: 1 -> 2; batch_size: 4 -> 6`; "" for none.

    Args:
        earlier: JSON values by name; those of a mapping are settings too.
        now: likewise.
    """
    was, wanted = _flat(earlier), _flat(now)
    names = [name for name in dict.fromkeys([*wanted, *was]) if was.get(name) != wanted.get(name)]
    return "; ".join(f"{name}: {_shown(was.get(name))} -> {_shown(wanted.get(name))}" for name in names)


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value) if isinstance(value, Mapping) else {name: value}
    return flat


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)


class MetricLog:
    """Appends the metrics of epochs to a JSON lines file and, where it is installed, to TensorBoard."""

    def __init__(self, path: Path, board: Any) -> None:
        self._path = path
        self._board = board

    def add(self, metrics: Mapping[str, Any]) -> None:
        """Log one epoch; `metrics` holds its number under "epoch"."""
        with self._path.open("a") as file:
            file.write(json.dumps(metrics) + "\n")
        for name, value in metrics.items():
            if self._board is not None and name != "epoch" and isinstance(value, int | float):
                self._board.add_scalar(name, value, metrics["epoch"])
        if self._board is not None:
            self._board.flush()


@contextlib.contextmanager
def metric_log(output: Path, history: list[dict[str, Any]]) -> Iterator[MetricLog]:
    """Open the log, brought to where `history` ends: lines of epochs that will run again are dropped."""
    path = output / METRICS_FILE
    output.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        part.write_text("".join(json.dumps(metrics) + "\n" for metrics in history))
    board = _tensorboard(output / "tensorboard", len(history))
    try:
        yield MetricLog(path, board)
    finally:
        if board is not None:
            board.close()


def _tensorboard(folder: Path, next_epoch: int) -> Any:
    """Return TensorBoard's writer, None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an optional dependency
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=next_epoch)
