"""Owns the label files of public data sets as manifests, however they circulate.

KoNViD-1k     flickr_id,mos                        videos are named by id
LIVE-VQC      data.mat: video_list, mos            also as CSV
YouTube-UGC   vid,MOSFull,... or vid,...,MOS full  no extension; encodings have more behind the name
LSVQ          name,height,width,mos,frame_number   no extension; of the 1080p file many columns more
fast-vqa      path, duration, fps, MOS             -1 where unknown; of any data set, those above too
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa
from scipy.io import loadmat

from operators.storage import StorageError, as_text, join, read_bytes, redact, scheme_of
from pipeline.manifests.listing import list_videos
from pipeline.manifests.scales import LABEL_FORMATS, LabelRange
from pipeline.text import counted
from securevqa_core.errors import ConfigurationError, ManifestError

__all__ = [
    "VIDEO_NAMES",
    "VIDEO_SUFFIXES",
    "format_hint",
    "read_label_file",
    "read_label_rows",
    "require_table",
]

READ_SECONDS = 600.0
NAMED_AT_MOST = 5  # missing videos
_UNKNOWN = -1.0
# Columns that hold what a video is called.
VIDEO_NAMES = ("name", "flickr_id", "vid", "file", "filename", "file_name", "video", "video_name", "path")
_FIELDS = {"mos": "mos", "mosfull": "mos", "duration": "duration", "fps": "fps", "framerate": "fps"}
_MOS_SPELT = re.compile(r"mos[ _]+(full)")
# What follows the name where no header says it, by how many numbers there are.
_LAYOUTS = {
    1: ("mos",),
    3: ("duration", "fps", "MOS"),
    4: ("height", "width", "mos", "frame_number"),
}
VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".ts", ".y4m"})
_ENCODED = "_crf_"  # before what YouTube-UGC's encodings have behind the name


@dataclass(frozen=True, slots=True, kw_only=True)
class _Label:
    """One line of a label file."""

    name: str
    mos: float | None
    seconds: float | None = None
    fps: float | None = None


def require_table(uri_column: str, label_format: str | None) -> None:
    """Refuse a column of URIs that somebody names of a label file, whose columns are its own.

    Raises:
        ConfigurationError: it is named.
    """
    if label_format is not None and uri_column != "uri":
        raise ConfigurationError(
            f"--uri-column is of a table, got {uri_column!r} and a file of {label_format}"
        )


def read_label_file(
    location: str,
    *,
    label_format: str,
    video_root: str | None = None,
    tell: Callable[[str], None] = lambda _line: None,
) -> pa.Table:
    """Return a labelled manifest: uri, mos, listed_seconds and listed_fps, null where unknown.

    Videos are looked for below `video_root`, by path, by name and by name without extension. Rows whose video
    is not there are left out. Where nothing can be listed, as on the web, names are taken as they are.

    Args:
        location: the label file, local or in any store; its layout is told by its header or its cells.
        label_format: a name in `LABEL_FORMATS`, whose scale, where it has one, labels must keep to.
        video_root: folder or URI that the paths in the file are relative to; None: the file's own folder.
        tell: is told once how many videos are missing.

    Raises:
        ConfigurationError: no such format.
        ManifestError: the file cannot be read, or breaks a rule, which is named with its line; a name fits
            two videos; or no video is there.
    """
    where = f"label file {redact(location)!r}"
    labels = _labels(location, where, label_format)
    uris = _found([one.name for one in labels], video_root or join(location, ".."), where)
    missing = [one.name for one, uri in zip(labels, uris, strict=True) if uri is None]
    if len(missing) == len(labels):
        raise ManifestError(
            f"{where}: none of its {counted(len(labels), 'video')} is there, {_named(missing)}"
        )
    if missing:
        tell(f"{len(missing)} of {len(labels)} labelled videos are not there and left out: {_named(missing)}")
    kept = [(uri, one) for uri, one in zip(uris, labels, strict=True) if uri is not None]
    return pa.table(
        {
            "uri": [uri for uri, _ in kept],
            "mos": pa.array([one.mos for _, one in kept], pa.float64()),
            "listed_seconds": pa.array([one.seconds for _, one in kept], pa.float64()),
            "listed_fps": pa.array([one.fps for _, one in kept], pa.float64()),
        }
    )


def read_label_rows(location: str, *, label_format: str) -> pa.Table:
    """Return what a label file says, whether its videos are there or not: name and mos, null where unknown.

    Raises:
        ConfigurationError, ManifestError: as `read_label_file`, but for what is said of videos.
    """
    labels = _labels(location, f"label file {redact(location)!r}", label_format)
    return pa.table(
        {
            "name": [one.name for one in labels],
            "mos": pa.array([one.mos for one in labels], pa.float64()),
        }
    )


def format_hint(location: str) -> str:
    """Return what to add to an error where a file that was read as a table is a label file; else nothing."""
    try:
        _labels(location, "", "fast-vqa")
    except ManifestError:
        return ""
    return f"; it looks like a label file: say --labels-format, one of {', '.join(LABEL_FORMATS)}"


def _labels(location: str, where: str, label_format: str) -> list[_Label]:
    if label_format not in LABEL_FORMATS:
        raise ConfigurationError(
            f"--labels-format must be one of {', '.join(LABEL_FORMATS)}, got {label_format!r}"
        )
    content = _content(location, where)
    read = _matlab if content.startswith(b"MATLAB") else _text
    labels = read(content, where, LABEL_FORMATS[label_format])
    if not labels:
        raise ManifestError(f"{where} is empty")
    return labels


def _content(location: str, where: str) -> bytes:
    try:
        return read_bytes(location, timeout_seconds=READ_SECONDS)
    except StorageError as error:
        raise ManifestError(f"{where} cannot be read: {error}") from error


def _matlab(content: bytes, where: str, scale: LabelRange | None) -> list[_Label]:
    try:
        variables = loadmat(io.BytesIO(content), variable_names=["video_list", "mos"])  # type: ignore[arg-type]
        names = [str(cell.item()) for cell in variables["video_list"].ravel()]
        numbers = [str(value) for value in variables["mos"].ravel()]
    except (KeyError, NotImplementedError, ValueError, AttributeError, TypeError) as error:
        raise ManifestError(f"{where} must be a MATLAB file of video_list and mos: {error}") from error
    if len(names) != len(numbers):
        raise ManifestError(
            f"{where}: video_list and mos must be as long, got {len(names)} and {len(numbers)}"
        )
    return [
        _label({"name": name, "mos": number}, f"{where}, row {row}", scale)
        for row, (name, number) in enumerate(zip(names, numbers, strict=True), start=1)
    ]


def _text(content: bytes, where: str, scale: LabelRange | None) -> list[_Label]:
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ManifestError(f"{where} is not UTF-8: byte {error.start}") from error
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        return []
    header = _header(numbered[0][1], where)
    if header is not None:
        rows = [(number, _cells(line)) for number, line in numbered[1:]]
        for number, cells in rows:
            if len(cells) != len(header):
                raise ManifestError(
                    f"{where}, line {number}: has {len(cells)} cells, the header has {len(header)}"
                )
    else:
        layout = _layout(numbered[0][1], where)
        header = ("name", *(field.lower() for field in layout))
        rows = [
            (number, [cell.strip() for cell in line.rsplit(",", len(layout))]) for number, line in numbered
        ]
        for (number, cells), (_, line) in zip(rows, numbered, strict=True):
            if len(cells) != len(header) or not cells[0]:
                names = "name" if len(layout) == 1 else "path"
                raise ManifestError(
                    f"{where}, line {number}: must be {', '.join((names, *layout))}, got {line!r}"
                )
    return [
        _label(dict(zip(header, cells, strict=True)), f"{where}, line {number}", scale)
        for number, cells in rows
    ]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line]))]


def _header(line: str, where: str) -> tuple[str, ...] | None:
    """Return what each column is, None where the first line is a row; columns that are not used are "".

    A header has a column for names and one for MOS, and no numbers. `MOS full` and `mos_full` are `MOSFull`.
    """
    cells = [_MOS_SPELT.sub(r"mos\1", cell.lower()) for cell in _cells(line)]
    if any(map(_is_number, cells)):
        return None
    named = [cell for cell in VIDEO_NAMES if cell in cells]
    labelled = [cell for cell, field in _FIELDS.items() if field == "mos" and cell in cells]
    if not named and not labelled:
        return None
    if not named or not labelled:
        known = ", ".join(VIDEO_NAMES)
        raise ManifestError(f"{where}: the header must have one of {known} and MOS, got {line!r}")
    chosen = {named[0]: "name", labelled[-1]: "mos"} | {
        cell: field for cell, field in _FIELDS.items() if field != "mos"
    }
    return tuple(chosen.get(cell, "") for cell in cells)


def _layout(line: str, where: str) -> tuple[str, ...]:
    """Return what follows the name, from how many numbers end the first line."""
    cells = [cell.strip() for cell in line.split(",")]
    numbers = [_is_number(cell) for cell in cells[1:]]
    num_numbers = len(numbers) if all(numbers) else numbers[::-1].index(False)
    if not num_numbers and len(cells) > 3:  # of a layout with a broken last cell, which is then named
        num_numbers = 3
    if num_numbers not in _LAYOUTS:
        raise ManifestError(f"{where}, line 1: needs a header to be understood, got {line[:100]!r}")
    return _LAYOUTS[num_numbers]


def _label(cells: dict[str, str], where: str, scale: LabelRange | None) -> _Label:
    mos, seconds, fps = (
        _number(name, cells.get(name.lower(), ""), where) for name in ("MOS", "duration", "fps")
    )
    for name, value in (("duration", seconds), ("fps", fps)):
        if value is not None and value <= 0:
            raise ManifestError(f"{where}: {name} must be above 0 or -1, got {value:g}")
    if mos is not None and scale is not None and not scale.low <= mos <= scale.high:
        raise ManifestError(f"{where}: MOS must be in {scale.low:g}..{scale.high:g} or -1, got {mos:g}")
    if not cells["name"]:
        raise ManifestError(f"{where}: the name of a video must not be empty, got {cells['name']!r}")
    return _Label(name=cells["name"], mos=mos, seconds=seconds, fps=fps)


def _number(name: str, cell: str, where: str) -> float | None:
    if not cell:
        return None
    try:
        value = float(cell)
    except ValueError as error:
        raise ManifestError(f"{where}: {name} must be a number, got {cell!r}") from error
    if not math.isfinite(value):
        raise ManifestError(f"{where}: {name} must be finite, got {cell!r}")
    return None if value == _UNKNOWN else value


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _found(names: Sequence[str], root: str, where: str) -> list[str | None]:
    """Return the URI of each video, None where it is not below `root`."""
    if scheme_of(root) in {"http", "https"}:
        return [join(root, name) for name in names]
    listed = list_videos(root, has_manifest_suffix=False)
    if listed is None:
        raise ManifestError(f"--video-root must be a folder, got {redact(root)!r}")
    places = _places(list(map(as_text, listed.uris)), as_text(join(root, ".")))
    found: list[str | None] = []
    for name in names:
        fitting = next((places[key] for key in (name, PurePosixPath(name).name) if key in places), set())
        if len(fitting) > 1:
            raise ManifestError(f"{where}: {name!r} fits {len(fitting)} videos, {_named(sorted(fitting))}")
        found.append(next(iter(fitting), None))
    return found


def _places(uris: Sequence[str], root: str) -> dict[str, set[str]]:
    """Return files by all that a label file may call them; whole names win over names without extension."""
    whole: dict[str, set[str]] = defaultdict(set)
    short: dict[str, set[str]] = defaultdict(set)
    for uri in uris:
        path = PurePosixPath(uri.removeprefix(root).lstrip("/"))
        for name in {str(path), path.name}:
            whole[name].add(uri)
        if path.suffix.lower() in VIDEO_SUFFIXES:
            for one in {path.with_suffix(""), path.with_name(path.stem.partition(_ENCODED)[0])}:
                for name in {str(one), one.name}:
                    short[name].add(uri)
    return {**short, **whole}


def _named(names: Sequence[str]) -> str:
    rest = len(names) - NAMED_AT_MOST
    shown = ", ".join(repr(redact(name)) for name in names[:NAMED_AT_MOST])
    return f"{shown} and {rest} more" if rest > 0 else shown
