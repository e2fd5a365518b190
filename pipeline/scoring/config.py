"""Owns the settings of a scoring run, checked without tensors, and the digest that tells two apart."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, get_args

from operators.limits import FetchLimits
from operators.uris import absolute_uri, redact
from pipeline.runs.budget import BacklogConfig
from securevqa_core.errors import ConfigurationError
from securevqa_core.model_names import DEFAULT_MODEL, require_model
from securevqa_core.randomness import Key
from securevqa_core.rendition import Rendition
from securevqa_core.suspicion import CleanDrops, clean_drops, compared_rendition
from securevqa_core.types import (
    DecodeLimits,
    Decoder,
    EmbeddingConfig,
    Precision,
    SamplingConfig,
    Thresholds,
    require_range,
)

if TYPE_CHECKING:
    from securevqa_core.weights import Checkpoint

__all__ = ["GPUS_PER_ACTOR", "MAX_DRAWS", "ScoreConfig"]

GPUS_PER_ACTOR = 0.5  # where nobody says how many: two actors share a GPU
MAX_DRAWS = 16  # every draw adds its fragments, up to 20 MB, to the row that crosses the object store

# What can change a score besides the sampling and the key. Limits decide only which videos fail, and verdicts
# follow their thresholds when a report is written.
_DECISIVE = ("num_draws", "precision", "decoder", "randomness")
_RENDITIONS = ("as_delivered", "notice", "cap")  # settings; at most one is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreConfig:
    """Everything a scoring run was asked to do.

    Raises:
        ConfigurationError: a field is out of range.
    """

    manifest: str  # or one video
    more_videos: tuple[str, ...] = ()  # after those of `manifest`, each likewise
    output: str
    key: Key
    model: str | None = None  # zoo name; None: the checkpoint's, or the default
    checkpoint: str | None = None  # URI of a checkpoint file; None: the one that ships
    backlog: BacklogConfig = field(default_factory=BacklogConfig)
    embeddings: EmbeddingConfig | None = None  # kept beside the score; None: none
    retry_failed: bool = False  # try again what failed and may succeed another time
    uri_column: str = "uri"
    strict: bool = False  # refuse a manifest as a whole where one of its rows breaks a rule
    allow_schemes: frozenset[str]
    num_draws: int | None = None  # None: the model's own
    precision: Precision = "float32"
    thresholds: Thresholds = field(default_factory=Thresholds)
    decode_limits: DecodeLimits = field(default_factory=DecodeLimits)
    fetch_limits: FetchLimits = field(default_factory=FetchLimits)
    decoder: Decoder = "auto"
    as_delivered: str | None = None  # rendition that is judged, as x264:23; None: the video itself
    notice: str | None = None  # rendition that is scored besides, to notice attacks by; None: none is
    cap: str | None = None  # rendition that is scored besides and holds the score; None: none does
    scratch_dir: str | None = None
    address: str | None = None  # of a Ray cluster; None: RAY_ADDRESS, or start Ray here
    gpus_per_actor: float = GPUS_PER_ACTOR

    def __post_init__(self) -> None:
        if self.model is not None:
            require_model(self.model)
        if self.num_draws is not None:
            most = MAX_DRAWS if self.notice is None and self.cap is None else MAX_DRAWS // 2
            require_range("draws", self.num_draws, low=1, high=most)
        require_range("gpus_per_actor", self.gpus_per_actor, low=0, high=64)
        if self.gpus_per_actor > 1 and self.gpus_per_actor % 1:
            raise ConfigurationError(f"gpus_per_actor above 1 must be whole, got {self.gpus_per_actor:g}")
        for name, kind in (("precision", Precision), ("decoder", Decoder)):
            if getattr(self, name) not in get_args(kind):
                known = ", ".join(get_args(kind))
                raise ConfigurationError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        for name in _RENDITIONS:
            if getattr(self, name) is not None:  # one text for one rendition, as it is part of a digest
                object.__setattr__(self, name, str(Rendition.parse(getattr(self, name), name=name)))
        compared_rendition(notice=self.notice, cap=self.cap, as_delivered=self.as_delivered)

    @property
    def rendition(self) -> Rendition | None:
        """What is judged in place of a video; None: the video itself."""
        return None if self.as_delivered is None else Rendition.parse(self.as_delivered)

    @property
    def compared(self) -> Rendition | None:
        """What is scored besides; None: nothing is."""
        return compared_rendition(notice=self.notice, cap=self.cap, as_delivered=None)

    def config_id(self, sampling: SamplingConfig) -> str:
        """Return a digest of every setting that can change a score; all ephemeral keys count as one."""
        key_id = "ephemeral" if self.key.randomness == "ephemeral" else self.key.key_id
        public = self.public_settings()
        settings = {name: public[name] for name in _DECISIVE} | {
            "sampling": sampling.as_dict(),
            "key_id": key_id,
        }
        settings |= {name: public[name] for name in _RENDITIONS if public[name] is not None}
        if self.embeddings is not None:
            settings["embeddings"] = public["embeddings"]
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]

    def load_checkpoint(self) -> Checkpoint:
        """Return the weights to score with: a file, what ships by a name, or the default of an architecture.

        Raises:
            CheckpointError: the file is missing, damaged or of another architecture than asked for.
        """
        # Seconds of imports, before which a setting out of range is said.
        from pipeline.checkpoints import read_checkpoint  # noqa: PLC0415
        from securevqa_core import weights  # noqa: PLC0415

        if self.checkpoint is None:
            return weights.default(self.model or DEFAULT_MODEL)
        return read_checkpoint(self.checkpoint, architecture=self.model)

    def settled(self, checkpoint: Checkpoint) -> ScoreConfig:
        """Return the same settings with the model's own number of draws, where none was asked for.

        Raises:
            CheckpointError, ConfigurationError: as `clean`.
        """
        from securevqa_core import zoo  # noqa: PLC0415 - as above

        draws = self.num_draws or zoo.spec(checkpoint.architecture).num_draws
        settled = replace(self, num_draws=draws)
        settled.clean(checkpoint)
        return settled

    def clean(self, checkpoint: Checkpoint) -> CleanDrops | None:
        """Return what uploads are compared by, None where nobody asked.

        Raises:
            CheckpointError: what the checkpoint knows of clean videos is not valid.
            ConfigurationError: it knows of none in that rendition, or there are fewer draws than those had.
        """
        compared = self.compared
        if compared is None:
            return None
        assert self.num_draws is not None, "the model's own number of draws is filled in before"
        return clean_drops(
            checkpoint.card,
            compared,
            num_draws=self.num_draws,
            name=checkpoint.checkpoint_id,
            use="notice" if self.cap is None else "cap",
        )

    def provenance(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Return the columns that say what a video was scored with."""
        from securevqa_core import zoo  # noqa: PLC0415 - as above

        return {
            "checkpoint_id": checkpoint.checkpoint_id,
            "checkpoint_status": checkpoint.status,
            "as_delivered": self.as_delivered,
            "config_id": self.config_id(zoo.spec(checkpoint.architecture).sampling),
            "key_id": self.key.key_id,
            "randomness": self.key.randomness,
        }

    def limits(self) -> dict[str, float]:
        """Return what decides a failure: `fetch.max_bytes` and the like, more of which lets more pass."""
        groups = {"fetch": asdict(self.fetch_limits), "decode": asdict(self.decode_limits)}
        return {f"{name}.{key}": value for name, group in groups.items() for key, value in group.items()}

    def public_settings(self) -> dict[str, Any]:
        """Return the settings as JSON values, with `key_id` in place of the key."""
        settings = {name: getattr(self, name) for name in self.__slots__ if name != "key"}
        for name in ("thresholds", "decode_limits", "fetch_limits"):
            settings[name] = asdict(settings[name])
        for name in ("manifest", "output", "checkpoint"):
            settings[name] = settings[name] and redact(absolute_uri(settings[name]))
        settings["more_videos"] = [redact(absolute_uri(uri)) for uri in self.more_videos]
        settings["embeddings"] = self.embeddings and asdict(self.embeddings)
        settings["backlog"] = self.backlog.public_settings()
        settings["allow_schemes"] = sorted(self.allow_schemes)
        return settings | {"key_id": self.key.key_id, "randomness": self.key.randomness}
