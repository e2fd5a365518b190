"""Owns `securevqa dataset`: footage in, labelled clips and their manifest out, and any one clip again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.commands.naming import option_of
from pipeline.commands.places import file_option, folder_option
from pipeline.commands.terminal import events, resumable
from pipeline.environment import forget_credentials
from pipeline.results import Result
from securevqa_core.datasets.config import BuildConfig
from securevqa_core.errors import ConfigurationError
from securevqa_core.opinions.versions import DEFAULT_TEACHER, VERSIONS

__all__ = ["dataset_app"]

_DEFAULTS = BuildConfig()

dataset_app = typer.Typer(no_args_is_help=True)


@dataset_app.callback()
def _about() -> None:
    """Make labelled clips from real footage."""
    forget_credentials()  # all is read from disks and written there, some by decoders that are not confined


@dataset_app.command("build")
def build_command(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Folders or files of footage, with 48 frames and 300 pixels on the shorter side at least, "
            "and photographs, with 330 pixels."
        ),
    ],
    output: Annotated[Path, folder_option("--output", "-o", help="Folder of the data set, local.")],
    seed: Annotated[int, typer.Option(help="Decides views, recipes and splits.")] = _DEFAULTS.seed,
    views_per_source: Annotated[
        int, typer.Option(help="Most clips to take from one source.")
    ] = _DEFAULTS.views_per_source,
    ladders_per_view: Annotated[
        int, typer.Option(help="Families of faults a view gets, each at all levels.")
    ] = _DEFAULTS.ladders_per_view,
    mixtures_per_view: Annotated[
        int, typer.Option(help="Faults followed by an encoding a view gets.")
    ] = _DEFAULTS.mixtures_per_view,
    edits_per_view: Annotated[
        int, typer.Option(help="Encodings followed by a fault a view gets.")
    ] = _DEFAULTS.edits_per_view,
    grey_share: Annotated[
        float, typer.Option(help="Of the views, without colour, 0..1.")
    ] = _DEFAULTS.grey_share,
    still_share: Annotated[
        float, typer.Option(help="Of the views, one frame held, 0..1.")
    ] = _DEFAULTS.still_share,
    large_share: Annotated[
        float, typer.Option(help="Of the views, large more often than small, 0..1.")
    ] = _DEFAULTS.large_share,
    families: Annotated[
        list[str] | None,
        typer.Option(help="Families of faults that ladders are of; repeat; default: all."),
    ] = None,
    as_is: Annotated[
        bool, typer.Option("--as-is", help="Make nothing: list videos as they are, with their opinion.")
    ] = False,
    opinions: Annotated[
        str,
        typer.Option(help="Clips that get people's opinion, as predicted: none, pristine, all."),
    ] = "all",
    teacher: Annotated[
        str, typer.Option(help=f"Who predicts it: {', '.join(VERSIONS)}; the later, the quicker.")
    ] = DEFAULT_TEACHER,
    val_share: Annotated[float, typer.Option(help="Of the sources, 0..1.")] = _DEFAULTS.val_share,
    test_share: Annotated[float, typer.Option(help="Of the sources, 0..1.")] = _DEFAULTS.test_share,
    workers: Annotated[
        int | None, typer.Option(help="Views made at a time; default: one for each processor.")
    ] = None,
    max_clips: Annotated[
        int | None, typer.Option(help="Begin no view once so many clips are there; default: no end.")
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(help="Begin no view after so many minutes; default: no end.")
    ] = None,
) -> Result:
    """Distort clips of SOURCES in every way uploads are, and label them: OUTPUT/manifest.parquet."""
    made: dict[str, Any] = {
        "views_per_source": views_per_source,
        "ladders_per_view": ladders_per_view,
        "mixtures_per_view": mixtures_per_view,
        "edits_per_view": edits_per_view,
        "grey_share": grey_share,
        "still_share": still_share,
        "large_share": large_share,
        "families": tuple(families or ()),
    }
    _require_used(made, as_is=as_is, opinions=opinions, teacher=teacher)
    config = BuildConfig(
        seed=seed,
        **made,
        val_share=val_share,
        test_share=test_share,
        as_is=as_is,
    )
    with events.doing("loading", is_logged=False):
        from pipeline.datasets.build import Budget, build_dataset  # noqa: PLC0415 - seconds, as below
        from pipeline.datasets.opinions import Opinions  # noqa: PLC0415
        from pipeline.datasets.summary import summary  # noqa: PLC0415

    budget = Budget(max_clips=max_clips, max_minutes=max_minutes)
    wanted = Opinions(of=opinions, teacher=teacher)  # type: ignore[arg-type]  # validated by Opinions
    with resumable():
        built = build_dataset(
            sources, output, config, opinions=wanted, budget=budget, workers=workers, events=events
        )
    for item in built.left_out:
        events.note(f"left out {item.name}: {item.reason}")
    return summary(built, config)


def _require_used(made: dict[str, Any], *, as_is: bool, opinions: str, teacher: str) -> None:
    """Refuse options that would be ignored."""
    given = [name for name, value in made.items() if value != getattr(_DEFAULTS, name)]
    if as_is and given:
        raise ConfigurationError(f"{option_of(given[0])} is of clips that are made, and --as-is makes none")
    if opinions == "none" and teacher != DEFAULT_TEACHER:
        raise ConfigurationError(f"--teacher predicts opinions, got {teacher!r} and --opinions none")


@dataset_app.command("rebuild")
def rebuild_command(
    manifest: Annotated[Path, typer.Argument(help="manifest.parquet of a data set.")],
    row_uri: Annotated[str, typer.Argument(help="A clip's uri, or its end, as in VIEW/blur-2.mp4.")],
    output: Annotated[Path, file_option("--output", "-o", help="File to write, .mp4, local.")],
    sources: Annotated[
        list[Path] | None,
        typer.Option(help="Where the footage is now; it is known by its bytes; default: where it was."),
    ] = None,
    any_ffmpeg: Annotated[
        bool, typer.Option("--any-ffmpeg", help="Even if the pixels may differ a little.")
    ] = False,
) -> Result:
    """Make the clip ROW_URI of MANIFEST again from its source: the same pixels."""
    with events.doing("loading", is_logged=False):
        from pipeline.datasets.manifest import read_row  # noqa: PLC0415 - as above
        from securevqa_core.datasets.rebuild import rebuild_clip  # noqa: PLC0415

    with events.doing(f"making {row_uri}", is_logged=False):
        row = read_row(manifest, row_uri)
        rebuild_clip(row, output, roots=sources or [], any_ffmpeg=any_ffmpeg)
    return Result(record={"uri": row["uri"], "output": str(output)}, shown=[f"written: {output}"])
