"""Owns the settings of training."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from securevqa_core.errors import ConfigurationError
from securevqa_core.types import Precision, require_range

__all__ = ["InterMode", "Losses", "Optimiser", "TrainConfig"]

InterMode = Literal["cached", "frozen", "trained"]
Losses = Literal["paper", "released"]
Optimiser = Literal["adamw", "adam"]

RANK_WEIGHTS: dict[Losses, float] = {"paper": 1.0, "released": 0.3}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How a model is trained; defaults are those of the published code where it has them.

    Raises:
        ConfigurationError: a field is out of range.
    """

    seed: int = 0  # decides order, draws, guardian maps, flips and dropout of every step
    epochs: int = 30
    steps_per_epoch: int = 0  # 0: as many as use every clip once
    batch_size: int = 12  # clips in one batch of one worker; the losses are of a batch, so at least 2
    clips_per_content: int = 1  # that lie side by side in a batch, of one reference or else of one source
    accumulate: int = 1  # batches whose gradients make one step
    optimiser: Optimiser = "adamw"
    learning_rate: float = 1e-3
    backbone_factor: float = 0.1  # learning rate of the backbones / learning_rate
    weight_decay: float = 0.05  # not of norms, biases and position-bias tables
    warmup_epochs: float = 2.5  # linear, then a cosine to 0
    max_gradient_norm: float = 1.0  # 0: no clipping
    ema_decay: float = 0.999  # of the averaged weights, which are the ones kept; 0: no averaging
    precision: Precision = "float32"  # of the backbones' arithmetic
    losses: Losses = "paper"  # paper: PLCC and soft SRCC; released: those of the published code
    rank_weight: float | None = None  # of the rank loss; None: 1 for paper, 0.3 for released
    rank_softness: float = 1.0  # of the paper's soft ranks
    distance_weight: float = 0.0  # of the smooth L1 distance of raw scores from standardised labels
    pair_weight: float = 0.0  # of the order of clips of one content, where batches hold several
    adversarial_epsilon: float = 0.0  # 8-bit levels that half of a batch's pixels are moved by, up or down
    adversarial_steps: int = 1  # gradients that are taken on the way
    distils: bool = False  # learn what the first weights score each clip, in place of its label
    difference_weight: float = 1.0  # of what fragments have lost, where videos have references
    inter: InterMode = "frozen"  # cached: features computed once; trained: batch norms and all
    num_feature_draws: int = 4  # guardian maps (and flips) of each video for inter = cached
    num_statistics_draws: int = (
        0  # guardian maps (and flips) of each draw for a statistics stem; 0: ever new ones
    )
    train_segments: int = 0  # segments of the inter branch in a step, spread over the video; 0: all
    flip: bool = True  # mirror clips at random, both branches alike
    checkpoint_minutes: float = 10.0  # between saves within an epoch; every epoch ends with one

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            require_range(name, getattr(self, name), low=low, high=high)
        if self.rank_weight is not None:
            require_range("rank_weight", self.rank_weight, low=0, high=1e6)
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in get_args(choices):
                known = ", ".join(get_args(choices))
                raise ConfigurationError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        if self.adversarial_epsilon and (self.num_statistics_draws or self.inter != "trained"):
            raise ConfigurationError(
                "adversarial_epsilon > 0 needs pixels: num_statistics_draws=0 and inter='trained', "
                f"got {self.num_statistics_draws} and {self.inter!r}"
            )

    @property
    def effective_rank_weight(self) -> float:
        """The weight of the rank loss, the losses' own where none was given."""
        return RANK_WEIGHTS[self.losses] if self.rank_weight is None else self.rank_weight

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return asdict(self)


_CHOICES = {"optimiser": Optimiser, "precision": Precision, "losses": Losses, "inter": InterMode}
_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**63 - 1),
    "epochs": (1, 100_000),
    "steps_per_epoch": (0, 1_000_000_000),
    "batch_size": (2, 65_536),
    "clips_per_content": (1, 65_536),
    "accumulate": (1, 65_536),
    "learning_rate": (1e-12, 1e3),
    "backbone_factor": (0, 1e3),
    "weight_decay": (0, 1e3),
    "warmup_epochs": (0, 100_000),
    "max_gradient_norm": (0, 1e9),
    "ema_decay": (0, 1 - 1e-9),
    "rank_softness": (1e-9, 1e9),
    "distance_weight": (0, 1e6),
    "pair_weight": (0, 1e6),
    "adversarial_epsilon": (0, 255),
    "adversarial_steps": (1, 1000),
    "difference_weight": (0, 1e6),
    "num_feature_draws": (1, 1024),
    "num_statistics_draws": (0, 1024),
    "train_segments": (0, 4096),
    "checkpoint_minutes": (0, 1e6),
}
