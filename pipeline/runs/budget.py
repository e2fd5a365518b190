"""Owns how a run relates to those before it, and when it ends: settings that cost little to import."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import Any

from operators.uris import absolute_uri, redact
from securevqa_core.errors import ConfigurationError

__all__ = ["DEFAULT_MAX_TRIES", "BacklogConfig", "seconds_of"]

DEFAULT_MAX_TRIES = 3
MAX_KEEP_DAYS = 36_500  # a hundred years; before the year 1 there are no dates
_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class BacklogConfig:
    """How a run relates to those before it, and when it ends.

    Raises:
        ConfigurationError: a field is out of range, or both places of earlier rows are given.
    """

    incremental: str | None = None  # URI of the rows that all runs share; None: each output has its own
    since_run: str | None = None  # run directory whose rows are taken over
    max_tries: int = DEFAULT_MAX_TRIES  # of a video that fails for a reason that may pass
    max_videos: int | None = None  # worked on by one call; None: all
    time_budget_seconds: float | None = None  # after which no video is started; None: no end
    keep_days: float | None = None  # of rows that the manifest names no more; None: for ever

    def __post_init__(self) -> None:
        if self.incremental is not None and self.since_run is not None:
            raise ConfigurationError(
                f"incremental and since_run exclude each other, got {redact(self.incremental)!r} "
                f"and {redact(self.since_run)!r}"
            )
        if self.max_tries < 1:
            raise ConfigurationError(f"max_tries must be >= 1, got {self.max_tries}")
        if self.max_videos is not None and self.max_videos < 1:
            raise ConfigurationError(f"max_videos must be >= 1, got {self.max_videos}")
        if self.time_budget_seconds is not None and not 0 < self.time_budget_seconds < math.inf:
            raise ConfigurationError(f"time_budget must be > 0 s and finite, got {self.time_budget_seconds}")
        if self.keep_days is not None and not 0 < self.keep_days <= MAX_KEEP_DAYS:
            raise ConfigurationError(f"keep_days must be > 0 and <= {MAX_KEEP_DAYS}, got {self.keep_days:g}")

    @property
    def is_nightly(self) -> bool:
        """Tell whether earlier runs count, so that failures that may pass are tried again unasked."""
        return self.incremental is not None or self.since_run is not None

    @property
    def looks_for_copies(self) -> bool:
        """Tell whether videos get fingerprints, which are looked for among those of earlier runs."""
        return self.incremental is not None

    def public_settings(self) -> dict[str, Any]:
        """Return the settings as JSON values, without secrets."""
        settings = asdict(self)
        for name in ("incremental", "since_run"):
            settings[name] = settings[name] and redact(absolute_uri(settings[name]))
        return settings


def seconds_of(text: str) -> float:
    """Return the seconds in `45s`, `30m`, `6h` or `1h30m`; 6 may be meant for hours, and is none of these.

    Raises:
        ConfigurationError: it is none of these.
    """
    duration = _DURATION.fullmatch(text)
    if not text or duration is None:
        raise ConfigurationError(f"time_budget must be like 6h, 1h30m, 90m or 30s, got {text!r}")
    return sum(
        float(number) * seconds
        for number, seconds in zip(duration.groups(), _UNIT_SECONDS.values(), strict=True)
        if number is not None
    )
