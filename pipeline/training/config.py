"""Owns the settings of `securevqa train`: what is trained on which rows, and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from operators.limits import FetchLimits
from operators.storage import redact, scheme_of
from pipeline.manifests.scales import LabelRange
from securevqa_core.errors import ConfigurationError
from securevqa_core.training.config import TrainConfig
from securevqa_core.types import DecodeLimits, SamplingConfig, require_range

__all__ = ["CHECKPOINT_FILE", "SETTINGS_FILE", "TrainRun", "UseGpu"]

SETTINGS_FILE = "train.json"  # a folder with one is a training's
CHECKPOINT_FILE = "checkpoint.safetensors"

UseGpu = Literal["auto", "yes", "no"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRun:
    """Everything a training was asked to do.

    Raises:
        ConfigurationError: a field is out of range.
    """

    manifest: str
    output: str  # a folder that every worker can write to
    train: TrainConfig
    model: str | None = None  # zoo name; None: the one of `init`, or the default
    init: str | None = None  # URI of a checkpoint to start from; None: seeded weights
    finetune: bool = False  # the protocol of repeated splits
    num_splits: int = 10  # of that protocol
    test_share: float = 0.2  # of that protocol, of the sources
    validation_share: float = 0.15  # of the sources that are left, where the manifest has no split
    label_column: str | None = None  # None: whichever of `labels.LABEL_COLUMNS` is there
    label_range: LabelRange = field(default_factory=LabelRange)
    split_column: str = "split"
    source_column: str = "source"
    reference_column: str | None = None  # URIs of the same videos undistorted; None: none are known
    num_cached_draws: int = 8  # random draws of each training video kept on disk
    num_validation_draws: int = 1  # draws of each validation video, as in scoring
    cache_dir: str | None = None  # None: OUTPUT/cache
    sampling: SamplingConfig | None = None  # for trials; None: the model's own, which scoring uses
    workers: int = 0  # 0: one, or one a GPU
    use_gpu: UseGpu = "auto"
    threads: int = 0  # of a worker on the CPU; 0: its share of this machine's cores
    address: str | None = None  # of a Ray cluster; None: RAY_ADDRESS, or start Ray here
    decode_limits: DecodeLimits = field(default_factory=DecodeLimits)
    fetch_limits: FetchLimits = field(default_factory=FetchLimits)

    def __post_init__(self) -> None:
        for name in ("output", "cache_dir"):
            value = getattr(self, name)
            if value is not None and (not value or scheme_of(value) != "file"):
                raise ConfigurationError(f"{name} must be a folder, got {redact(value)!r}")
        require_range("num_splits", self.num_splits, low=1, high=10_000)
        require_range("test_share", self.test_share, low=0.01, high=0.9)
        require_range("validation_share", self.validation_share, low=0.01, high=0.9)
        require_range("workers", self.workers, low=0, high=4096)
        require_range("threads", self.threads, low=0, high=4096)
        if self.use_gpu not in get_args(UseGpu):
            raise ConfigurationError(f"use_gpu must be one of auto, yes, no, got {self.use_gpu!r}")

    def public_settings(self) -> dict[str, Any]:
        """Return what decides the outcome, as JSON values."""
        return {
            "manifest": redact(self.manifest),
            "model": self.model,
            "init": self.init and redact(self.init),
            "finetune": self.finetune,
            "num_splits": self.num_splits if self.finetune else None,
            "test_share": self.test_share if self.finetune else None,
            "validation_share": self.validation_share,
            "label_column": self.label_column,
            "label_range": [self.label_range.low, self.label_range.high],
            "split_column": self.split_column,
            "source_column": self.source_column,
            "reference_column": self.reference_column,
            "num_cached_draws": self.num_cached_draws,
            "num_validation_draws": self.num_validation_draws,
            "sampling": self.sampling and self.sampling.as_dict(),
            "train": self.train.as_dict(),
        }
