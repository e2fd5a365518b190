"""Owns the settings of a run of the attack lab."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from pipeline.manifests.labelled import EvaluationSettings
from securevqa_core import weights, zoo
from securevqa_core.attacks.attack import AttackConfig
from securevqa_core.attacks.differentiable import FrameScorer
from securevqa_core.defences import defended
from securevqa_core.errors import ConfigurationError
from securevqa_core.scoring import Thresholds
from securevqa_core.types import require_range

__all__ = ["AttackRunConfig", "LoadedTarget", "Regime", "TargetConfig", "labels_asked"]

Regime = Literal["key", "no-key", "replay"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedTarget:
    """A model behind its defences, and what turns its raw scores into points."""

    scorer: FrameScorer
    checkpoint: weights.Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetConfig:
    """Which model, behind which defences."""

    model: str | None = None  # None: the checkpoint's, or the default
    checkpoint: Path | None = None  # None: the one that ships
    defences: tuple[str, ...] = ()

    def in_its_place(
        self, *, model: str | None, checkpoint: Path | None, defences: Sequence[str] | None
    ) -> TargetConfig | None:
        """Return what an attacker has instead: another model, or this one behind other defences; or None."""
        if model is not None or checkpoint is not None:
            return TargetConfig(model=model, checkpoint=checkpoint, defences=tuple(defences or ()))
        return None if defences is None else replace(self, defences=tuple(defences))

    def is_same_model(self, other: TargetConfig) -> bool:
        """Whether both have the same weights, whatever their defences."""
        return (self.model, self.checkpoint) == (other.model, other.checkpoint)

    def load(self) -> LoadedTarget:
        """Return the target.

        Raises:
            CheckpointError: the file cannot be read, or is of another architecture.
            ConfigurationError: no such model or defence.
        """
        if self.checkpoint is not None:
            checkpoint = weights.find(str(self.checkpoint), architecture=self.model)
        else:
            checkpoint = weights.default(self.model or zoo.DEFAULT_MODEL)
        zoo.require_pixels(checkpoint.architecture, purpose="to be attacked")
        sampling = zoo.spec(checkpoint.architecture).sampling
        return LoadedTarget(
            scorer=defended(weights.build(checkpoint), sampling, self.defences, checkpoint=checkpoint),
            checkpoint=checkpoint,
        )

    def settings(self, loaded: LoadedTarget) -> dict[str, Any]:
        """Return what decides its scores, as JSON values."""
        checkpoint = loaded.checkpoint
        return {
            "checkpoint_id": checkpoint.checkpoint_id,
            "checkpoint_status": checkpoint.status,
            "defences": list(self.defences),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackRunConfig:
    """Everything a run of the attack lab was asked to do.

    Raises:
        ConfigurationError: a field is out of range, or direction boundary has no labels, or a surrogate
            whose raw scores are on another scale.
    """

    manifest: str
    output: Path  # local folder
    attack: AttackConfig
    target: TargetConfig = field(default_factory=TargetConfig)
    surrogate: TargetConfig | None = None  # what the attacker has in its place: transfer
    regime: Regime = "no-key"  # what the attacker knows of the draws that will be scored
    num_draws: int = 4  # that every score is the mean of
    seconds: float = 1.0  # of each video, from its start
    max_height: int = 360  # pixels; higher videos are shrunk
    max_videos: int | None = None  # chosen by the seed; None: all
    fit_videos: int = 4  # others, that the universal perturbation is fitted to
    codec_crfs: tuple[int, ...] = ()  # rates at which both videos are encoded with x264 and scored again
    keeps_videos: bool = False  # as lossless files
    measures_vmaf: bool = False  # of attacked videos against the clean ones; needs securevqa[train]
    seed: int = 0  # of draws and attacks: public, as befits research
    uri_column: str = "uri"
    labels: EvaluationSettings | None = None  # which rows, and the column of their labels; None: no labels
    thresholds: Thresholds = field(default_factory=Thresholds)

    def __post_init__(self) -> None:
        if self.regime not in get_args(Regime):
            raise ConfigurationError(
                f"regime must be one of {', '.join(get_args(Regime))}, got {self.regime!r}"
            )
        require_range("draws", self.num_draws, low=1, high=256)
        require_range("seconds", self.seconds, low=0.01, high=3600)
        require_range("max_videos", 1 if self.max_videos is None else self.max_videos, low=1, high=1_000_000)
        require_range("fit_videos", self.fit_videos, low=1, high=10_000)
        require_range("seed", self.seed, low=0, high=2**63)
        for crf in self.codec_crfs:
            require_range("codec_crfs", crf, low=0, high=51)
        if self.attack.direction == "boundary" and self.labels is None:
            raise ConfigurationError("direction boundary needs label_column, the name of a column of labels")
        surrogate = self.surrogate or self.target
        if self.attack.direction == "boundary" and not self.target.is_same_model(surrogate):
            raise ConfigurationError(
                f"direction boundary needs a surrogate of the target's own weights, got {surrogate}"
            )

    @property
    def num_fitted(self) -> int:
        """Videos that are kept apart to fit to."""
        return self.fit_videos if self.attack.attack == "universal" else 0

    def settings(self, target: LoadedTarget, surrogate: LoadedTarget | None) -> dict[str, Any]:
        """Return what decides a row, as JSON values."""
        names = ("regime", "num_draws", "seconds", "max_height", "measures_vmaf", "keeps_videos", "seed")
        values: dict[str, Any] = {name: getattr(self, name) for name in names}
        values["codec_crfs"] = list(self.codec_crfs)
        values["attack"] = asdict(self.attack)
        values["target"] = self.target.settings(target)
        values["surrogate"] = None
        if self.surrogate is not None and surrogate is not None:
            values["surrogate"] = self.surrogate.settings(surrogate)
        return values


def labels_asked(column: str | None, where: Sequence[str] | None) -> EvaluationSettings | None:
    """Return which rows are attacked and the column of their labels; None: all, without labels.

    Raises:
        ConfigurationError: rows are chosen without a column of labels.
    """
    if where and column is None:
        raise ConfigurationError(f"where needs label_column, got {where[0]!r} alone")
    return None if column is None else EvaluationSettings(label_column=column, where=tuple(where or ()))
