"""Owns the options of commands that run every night over a backlog."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options import ScoreOptions, complete_models
from pipeline.commands.places import require_checkpoint, require_output, require_there
from pipeline.runs.budget import DEFAULT_MAX_TRIES

if TYPE_CHECKING:
    from pipeline.scoring.config import ScoreConfig
    from securevqa_core.randomness import Key

__all__ = ["NightlyOptions"]

_NIGHT = "Every night"


@dataclass(frozen=True, slots=True, kw_only=True)
class NightlyOptions(ScoreOptions):
    """How videos are scored and by what, what earlier runs count for, and when a run ends."""

    model: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete_models,
            help="Architecture, as in `securevqa models`; default: the checkpoint's.",
        ),
    ] = None
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint: a file, a URI, or a model's name for what ships; default: secure-vqa-compact."
        ),
    ] = None
    incremental: Annotated[
        str | None,
        typer.Option(
            help="Folder of the rows that several runs share: score what is new; default: none.",
            rich_help_panel=_NIGHT,
        ),
    ] = None
    since_run: Annotated[
        str | None,
        typer.Option(
            help="Run directory whose rows are taken over: score what is new; default: none.",
            rich_help_panel=_NIGHT,
        ),
    ] = None
    max_tries: Annotated[
        int,
        typer.Option(
            help="Of a video whose failure may pass, over all runs that share rows.", rich_help_panel=_NIGHT
        ),
    ] = DEFAULT_MAX_TRIES
    max_videos: Annotated[
        int | None,
        typer.Option(help="Most videos worked on by this call; default: all.", rich_help_panel=_NIGHT),
    ] = None
    time_budget: Annotated[
        str | None,
        typer.Option(
            help="No video is begun after 6h, 90m or 30s, as given; default: no end.", rich_help_panel=_NIGHT
        ),
    ] = None
    keep_days: Annotated[
        float | None,
        typer.Option(
            help="Forget rows older than this that MANIFEST names no more; default: never.",
            rich_help_panel=_NIGHT,
        ),
    ] = None

    def require_places(self, output: str) -> None:
        """Refuse local places that a run could not use.

        Raises:
            ConfigurationError: `output` or `incremental` cannot be written, or `since_run` is not there.
        """
        require_output("output", output)
        if self.incremental is not None:
            require_output("incremental", self.incremental)
        if self.since_run is not None:
            require_there("since_run", self.since_run)

    def of_runs(self) -> tuple[str, ...]:
        """Return the options that only a run with an output looks at."""
        night = ("incremental", "since_run", "max_tries", "max_videos", "time_budget", "keep_days")
        return (*ScoreOptions.of_runs(self), *night)

    def config(
        self, *, manifest: str, output: str, key: Key, model: str | None, checkpoint: str | None
    ) -> ScoreConfig:
        """Return the settings of a run.

        Raises:
            ConfigurationError: an option is out of range.
            AbsentCheckpointError: there is no local file of the checkpoint's name, and none ships.
        """
        # Seconds of imports, which help need not wait for.
        from pipeline.runs.budget import BacklogConfig, seconds_of  # noqa: PLC0415

        if self.checkpoint is not None:
            require_checkpoint(self.checkpoint)
        backlog = BacklogConfig(
            incremental=self.incremental,
            since_run=self.since_run,
            max_tries=self.max_tries,
            max_videos=self.max_videos,
            time_budget_seconds=None if self.time_budget is None else seconds_of(self.time_budget),
            keep_days=self.keep_days,
        )
        # Not super(): a dataclass with slots is another class than the one this method was defined in.
        config = ScoreOptions.config(
            self, manifest=manifest, output=output, key=key, model=model, checkpoint=checkpoint
        )
        return dataclasses.replace(config, backlog=backlog)
