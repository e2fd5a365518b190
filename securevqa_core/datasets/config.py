"""Owns the settings of a data set: what it is made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from securevqa_core.errors import ConfigurationError
from securevqa_core.types import require_range

__all__ = ["BuildConfig"]


_KINDS = ("grey_share", "still_share", "large_share")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildConfig:
    """What a data set is made of.

    Raises:
        ConfigurationError: a field is out of range.
    """

    seed: int = 0
    views_per_source: int = 3  # clips taken from one source, at most
    ladders_per_view: int = 2  # families of faults, each at all its levels
    mixtures_per_view: int = 2  # a fault, then an encoding
    edits_per_view: int = 2  # an encoding, then a fault
    val_share: float = 0.1  # of the sources
    test_share: float = 0.2  # of the sources
    grey_share: float = 0.0  # of the views, without colour
    still_share: float = 0.0  # of the views, one frame held
    large_share: float = 0.0  # of the views, large more often than small
    families: tuple[str, ...] = ()  # of faults that ladders are of; none: all
    as_is: bool = False  # videos are listed as they are, and nothing is made of them

    def __post_init__(self) -> None:
        require_range("seed", self.seed, low=0, high=2**63)
        require_range("views_per_source", self.views_per_source, low=1, high=1000)
        for name in ("ladders_per_view", "mixtures_per_view", "edits_per_view"):
            require_range(name, getattr(self, name), low=0, high=1000)
        for name in ("val_share", "test_share", *_KINDS):
            require_range(name, getattr(self, name), low=0, high=1)
        if self.families:
            # Arrays, which those who only choose settings need not wait for.
            from securevqa_core.datasets.families import FAMILIES  # noqa: PLC0415

            known = [name for name in FAMILIES if name in self.families]
            if len(known) != len(self.families):
                given = ", ".join(self.families)
                raise ConfigurationError(
                    f"families must be some of {', '.join(FAMILIES)}, each once, got {given}"
                )
        if self.val_share + self.test_share >= 1:
            raise ConfigurationError(
                f"val_share + test_share must be < 1, got {self.val_share} + {self.test_share}"
            )

    def settings(self) -> dict[str, Any]:
        """Return all that decides what is built besides the sources, as JSON values.

        Raises:
            DatasetError: there is no FFmpeg.
        """
        from securevqa_core import ffmpeg  # noqa: PLC0415 - arrays, as above
        from securevqa_core.datasets.recipes import table_digest  # noqa: PLC0415
        from securevqa_core.datasets.views import FRAMES, NUM_FRAMES  # noqa: PLC0415

        chosen = asdict(self) | {"families": list(self.families)}
        for name in ("as_is", "families", *_KINDS):  # data sets of before know of none
            if not chosen[name]:
                del chosen[name]
        recipes = table_digest(num_frames=NUM_FRAMES)
        return chosen | {"recipes": recipes, "ffmpeg_version": ffmpeg.version(), "frames": FRAMES}
