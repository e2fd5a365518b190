"""Owns `securevqa report`: a finished run as a table on the terminal, or as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operators.uris import redact
from pipeline.commands.places import file_option
from pipeline.commands.terminal import console, events, print_json, say, write_csv
from pipeline.text import counted
from securevqa_core.errors import ConfigurationError, OutputError
from securevqa_core.files import whole_file

if TYPE_CHECKING:
    from pipeline.runs.rundir import RunDirectory

__all__ = ["report_command"]

DEFAULT_ROWS = 20
DEFAULT_PICTURES = 8


def report_command(
    run_dir: Annotated[str, typer.Argument(help="Run directory of a finished run, local or s3://.")],
    rows: Annotated[
        int | None,
        typer.Option(help=f"Most rows to print; default: {DEFAULT_ROWS}, with --json and --csv all."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Counts and whole rows as one JSON object.")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Whole rows as CSV, for spreadsheets.")] = False,
    html: Annotated[
        Path | None, file_option("--html", help="Write a page instead, to this local file; default: a table.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Column to count verdicts by, on the page; default: none.")
    ] = None,
    pictures: Annotated[
        int | None,
        typer.Option(
            help="Worst and best videos on the page, with a frame of each; 0: none; "
            f"default: {DEFAULT_PICTURES}."
        ),
    ] = None,
    video: Annotated[
        str | None,
        typer.Option(
            help="One video, by name, id, URI, or the beginning of its id: all that is known; default: all."
        ),
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Checkpoint for --video on a page; default: the one that ships.")
    ] = None,
    key_file: Annotated[
        str | None, typer.Option(help="Key for --video on a page; default: SECUREVQA_KEY, else another draw.")
    ] = None,
) -> None:
    """Print the report of RUN_DIR, what failed and the worst videos first, or write it as a page."""
    _require_used(
        {"--html": html, "--json": as_json or None, "--csv": as_csv or None},
        {"--group": group, "--pictures": pictures, "--checkpoint": checkpoint, "--key-file": key_file},
        rows=rows,
        video=video,
    )
    with events.doing("loading", is_logged=False):
        from pipeline.runs.finished import finished_directory  # noqa: PLC0415 - help need not wait for it

        directory = finished_directory(run_dir)
    if html is None:
        _print(directory, rows, video, as_json=as_json, as_csv=as_csv)
        return
    pictures = DEFAULT_PICTURES if pictures is None else pictures
    if pictures < 0:
        raise ConfigurationError(f"pictures must be >= 0, got {pictures}")
    _write(html, _page(directory, group, pictures, video, checkpoint, key_file))
    say(f"written: {html}")


def _page(
    directory: RunDirectory,
    group: str | None,
    pictures: int,
    video: str | None,
    checkpoint: str | None,
    key_file: str | None,
) -> str:
    """Make the page, and say meanwhile what is being done."""
    with events.doing("reading the report"):
        # As above.
        from pipeline.pages.page import page_columns, render_page  # noqa: PLC0415
        from pipeline.pages.sections import shown_videos  # noqa: PLC0415
        from pipeline.pages.thumbnails import thumbnails  # noqa: PLC0415
        from pipeline.runs.finished import read_finished_run  # noqa: PLC0415
        from pipeline.tables import plain  # noqa: PLC0415

        run, table = read_finished_run(directory, columns=lambda names: page_columns(names, group))
        report = plain(table)
        events.update("looking closely at a video")  # first, as it may be refused
        close_up = None if video is None else _close_up(report, run, video, checkpoint, key_file)
        chosen = [row for rows in shown_videos(report, pictures) for row in rows]
        events.update(f"bringing frames of {counted(len(chosen), 'video')}")
        frames = thumbnails(chosen)
        events.update("drawing the page")
        return render_page(
            run,
            report,
            uri=directory.shown(),
            group_column=group,
            count=pictures,
            thumbnails=frames,
            close_up=close_up,
        )


def _require_used(
    forms: dict[str, Any], of_page: dict[str, Any], *, rows: int | None, video: str | None
) -> None:
    """Refuse options that exclude each other, or that would be ignored."""
    if len(given := [name for name, value in forms.items() if value is not None]) > 1:
        raise ConfigurationError(f"{' and '.join(given)} exclude each other")
    if rows is not None and (rows < 1 or forms["--html"] is not None or video is not None):
        rule = "must be >= 1" if rows < 1 else "is of the table, not of a page or a single video"
        raise ConfigurationError(f"rows {rule}, got {rows}")
    ignored = [name for name, value in of_page.items() if value is not None]
    if ignored and forms["--html"] is None:
        raise ConfigurationError(f"{ignored[0]} is of the page, so it needs --html FILE")
    close = [name for name in ("--checkpoint", "--key-file") if of_page[name] is not None]
    if close and video is None:
        raise ConfigurationError(f"{close[0]} is of the close look at one video, so it needs --video")


def _print(
    directory: RunDirectory, rows: int | None, video: str | None, *, as_json: bool, as_csv: bool
) -> None:
    from pipeline.pages import table  # noqa: PLC0415 - as above
    from pipeline.runs.finished import read_finished_run  # noqa: PLC0415
    from pipeline.tables import plain  # noqa: PLC0415

    if not (as_json or as_csv) and video is None:
        table.show_report(directory, num_rows=DEFAULT_ROWS if rows is None else rows, console=console)
        return
    run, report = read_finished_run(directory, columns=None)
    if video is not None:
        shown = plain(report.slice(table.find_video(report, video), 1))
    else:
        embeddings = (run.get("config", {}).get("embeddings") or {}).get("features", ())
        shown = plain(table.urgent_first(report.drop_columns(list(embeddings))).slice(0, rows))
    if as_csv:
        write_csv(shown)
    elif as_json:
        about = {"report": directory.shown("report"), "finished_at": run.get("finished_at")}
        counts = {"rows": report.num_rows, "kinds": dict(table.kinds(report))}
        print_json(about | counts | {"videos": shown.to_pylist()})
    else:
        table.show_video(report, str(video), console)


def _close_up(
    table: Any, run: dict[str, Any], video: str, checkpoint: str | None, key_file: str | None
) -> Any:
    from pipeline.checkpoints import read_stored  # noqa: PLC0415
    from pipeline.keys import given_key  # noqa: PLC0415
    from pipeline.pages.close_up import look_closely  # noqa: PLC0415
    from pipeline.pages.table import find_video  # noqa: PLC0415
    from securevqa_core import weights, zoo  # noqa: PLC0415
    from securevqa_core.randomness import Key  # noqa: PLC0415
    from securevqa_core.rendition import Rendition  # noqa: PLC0415

    row = table.slice(find_video(table, video), 1).to_pylist()[0]
    if row["content_sha256"] is None or row["score"] is None:
        outcome = row["error_code"] or row["status"]
        raise ConfigurationError(f"video must be one that was scored, got {video!r} ({outcome})")
    provenance = run.get("provenance", {})
    architecture = run.get("architecture", zoo.DEFAULT_MODEL)
    loaded = weights.default(architecture) if checkpoint is None else read_stored(checkpoint).checkpoint
    if loaded.checkpoint_id != provenance.get("checkpoint_id"):
        raise ConfigurationError(
            f"checkpoint must be the report's, {provenance.get('checkpoint_id')}, got {loaded.checkpoint_id}"
        )
    key = given_key(key_file) or Key.public(0)
    delivered = provenance.get("as_delivered")
    return look_closely(
        row["video_id"],
        row["uri"],
        content_sha256=row["content_sha256"],
        checkpoint=loaded,
        key=key,
        key_id=provenance.get("key_id"),
        num_draws=run.get("config", {}).get("num_draws") or zoo.spec(architecture).num_draws,
        rendition=None if delivered is None else Rendition.parse(delivered),
    )


def _write(path: Path, page: str) -> None:
    try:
        with whole_file(path) as part:
            part.write_text(page, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"page {redact(str(path))!r} cannot be written: {error.strerror}") from error
