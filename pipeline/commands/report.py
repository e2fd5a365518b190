"""Owns `securevqa report`: a finished run as a table on the terminal, or as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from operators.storage import redact
from pipeline.commands.terminal import console, say
from pipeline.keys import given_key
from pipeline.pages.table import DEFAULT_ROWS, show_report
from pipeline.runs.finished import read_finished_run
from pipeline.runs.rundir import RunDirectory
from securevqa_core.errors import ConfigurationError, OutputError
from securevqa_core.files import whole_file
from securevqa_core.randomness import Key

__all__ = ["report_command"]

DEFAULT_PICTURES = 8


def report_command(
    run_dir: Annotated[str, typer.Argument(help="Run directory of a finished run, local or s3://.")],
    rows: Annotated[int, typer.Option(help="Most rows to print.")] = DEFAULT_ROWS,
    html: Annotated[Path | None, typer.Option(help="Write a page instead, to this file.")] = None,
    group: Annotated[str | None, typer.Option(help="Column to count verdicts by, on the page.")] = None,
    pictures: Annotated[
        int, typer.Option(help="Worst and best videos on the page, with a frame of each; 0: none.")
    ] = DEFAULT_PICTURES,
    video: Annotated[str | None, typer.Option(help="video_id to look at closely, on the page.")] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Checkpoint for --video; default: the one that ships.")
    ] = None,
    key_file: Annotated[str | None, typer.Option(help="Key for --video; or set SECUREVQA_KEY.")] = None,
) -> None:
    """Print the report of RUN_DIR, the worst videos first, or write it as a page."""
    directory = RunDirectory(run_dir)
    if html is None:
        show_report(directory, num_rows=rows, console=console)
        return
    # Seconds of imports that other commands need not wait for.
    from pipeline.pages.page import page_columns, render_page, shown_videos  # noqa: PLC0415
    from pipeline.pages.thumbnails import thumbnails  # noqa: PLC0415

    if pictures < 0:
        raise ConfigurationError(f"pictures must be >= 0, got {pictures}")
    run, table = read_finished_run(directory, columns=None)
    columns = page_columns(table, group)
    chosen = [row for rows_ in shown_videos(table, pictures) for row in rows_]
    page = render_page(
        run,
        table.select(columns),
        uri=directory.shown(),
        group_column=group,
        count=pictures,
        pictures=thumbnails({row["video_id"]: row["uri"] for row in chosen}),
        close_up=None if video is None else _close_up(table, run, video, checkpoint, key_file),
    )
    _write(html, page)
    say(f"written: {html}")


def _close_up(
    table: Any, run: dict[str, Any], video: str, checkpoint: str | None, key_file: str | None
) -> Any:
    from pipeline.commands.weights import read_checkpoint  # noqa: PLC0415
    from pipeline.pages.close_up import look_closely  # noqa: PLC0415
    from securevqa_core import weights, zoo  # noqa: PLC0415

    uris = dict(zip(table["video_id"].to_pylist(), table["uri"].to_pylist(), strict=True))
    if video not in uris:
        raise ConfigurationError(f"video must be a video_id of the report, got {video!r}")
    provenance = run.get("provenance", {})
    architecture = run.get("architecture", zoo.DEFAULT_MODEL)
    loaded = weights.default(architecture) if checkpoint is None else read_checkpoint(checkpoint).checkpoint
    if loaded.checkpoint_id != provenance.get("checkpoint_id"):
        raise ConfigurationError(
            f"checkpoint must be the report's, {provenance.get('checkpoint_id')}, got {loaded.checkpoint_id}"
        )
    key = given_key(key_file) or Key.public(0)
    words = _OWN_DRAW if key.key_id == provenance.get("key_id") else _ANOTHER_DRAW
    return look_closely(video, uris[video], checkpoint=loaded, key=key, words=words)


_OWN_DRAW = "The scores that the report's first draw was made of."
_ANOTHER_DRAW = "Another draw than the report's, as its key was not given: scores differ by chance."


def _write(path: Path, page: str) -> None:
    try:
        with whole_file(path) as part:
            part.write_text(page, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"page {redact(str(path))!r} cannot be written: {error.strerror}") from error
