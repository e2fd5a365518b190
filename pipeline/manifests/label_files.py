"""Owns the label files of public data sets as manifests, however they circulate.

KoNViD-1k     flickr_id,mos                        videos are named by id
LIVE-VQC      data.mat: video_list, mos            also as CSV
YouTube-UGC   vid,MOSFull,... or vid,...,MOS full  no extension; encodings have more behind the name
LSVQ          name,height,width,mos,frame_number   no extension; of the 1080p file many columns more
fast-vqa      path, duration, fps, MOS             -1 where unknown; of any data set, those above too

Commas, tabs or semicolons separate cells. What cannot be told from all rows needs a header.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, TypeAlias

import pyarrow as pa
from scipy.io import loadmat, whosmat

from operators.storage import StorageError, as_text, join, read_bytes, redact, scheme_of
from pipeline.manifests.label_videos import named_videos, videos_of
from pipeline.manifests.listing import list_videos
from pipeline.manifests.scales import LABEL_FORMATS, LabelRange
from pipeline.text import counted
from securevqa_core.errors import ConfigurationError, ManifestError

__all__ = [
    "VIDEO_NAMES",
    "column_key",
    "read_label_file",
    "read_label_rows",
    "require_table",
    "shown_format",
]

READ_SECONDS = 600.0
_UNKNOWN = -1.0
# Columns that hold what a video is called.
VIDEO_NAMES = (
    *("name", "flickr_id", "vid", "file", "filename", "file_name", "video", "video_name", "path"),
    *("video_list", "video_id"),
)
_FIELDS = {"mos": "mos", "mosfull": "mos", "duration": "duration", "fps": "fps", "framerate": "fps"}
_NO_LABEL = frozenset({"", "nan", "na", "n/a", "null", "none", "-"})
_RATINGS = LabelRange(low=1, high=5)  # of YouTube-UGC, whose chunks have some besides
_HEADERS = {
    "konvid-1k": {"flickrid"},
    "youtube-ugc": {"vid", "mosfull"},
    "lsvq": {"name", "height", "width", "mos", "framenumber"},
}

_Fits: TypeAlias = Callable[[Sequence[str]], bool]  # of the cells behind the name
_Positive: TypeAlias = Callable[[str, str, str], float | None]  # of a name, a cell and its place


@dataclass(frozen=True, slots=True, kw_only=True)
class _Label:
    """One row of a label file."""

    place: str  # in the file
    name: str
    mos: float | None
    seconds: float | None = None
    fps: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One row of a text."""

    number: int  # of its first line
    text: str
    cells: list[str]
    separator: str

    def split(self, num_last: int) -> list[str]:
        """Return the name, which may hold separators, and the last cells."""
        return [self.separator.join(self.cells[:-num_last]).strip(), *map(str.strip, self.cells[-num_last:])]


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

    Videos are looked for below `video_root`, as `videos_of` does. Rows whose video is not there are left
    out. Where nothing can be listed, as on the web, names are taken as they are.

    Args:
        location: the label file, local or in any store; its layout is told by its header or its cells.
        label_format: a name in `LABEL_FORMATS`, whose scale, where it has one, labels must keep to.
        video_root: folder or URI that the paths in the file are relative to; None: the file's own folder.
        tell: is told once how many videos are missing.

    Raises:
        ConfigurationError: no such format.
        ManifestError: the file cannot be read, or breaks a rule, which is named with its line; a name fits
            two videos, or a video has two labels; or no video is there.
    """
    where = f"label file {redact(location)!r}"
    labels = _labels(location, where, label_format)
    uris = _found([one.name for one in labels], video_root or join(location, ".."), where)
    missing = [one.name for one, uri in zip(labels, uris, strict=True) if uri is None]
    if len(missing) == len(labels):
        raise ManifestError(
            f"{where}: none of its {counted(len(labels), 'video')} is there, {named_videos(missing)}"
        )
    if missing:
        tell(
            f"{len(missing)} of {len(labels)} labelled videos are not there and left out: "
            f"{named_videos(missing)}"
        )
    kept: dict[str, _Label] = {}
    for one, uri in zip(labels, uris, strict=True):
        if uri is not None and (first := kept.setdefault(uri, one)).mos != one.mos:
            raise ManifestError(
                f"{where}, {first.place} and {one.place}: both are of {redact(uri)!r}, "
                f"with MOS {_shown(first.mos)} and {_shown(one.mos)}"
            )
    return pa.table(
        {
            "uri": list(kept),
            "mos": pa.array([one.mos for one in kept.values()], pa.float64()),
            "listed_seconds": pa.array([one.seconds for one in kept.values()], pa.float64()),
            "listed_fps": pa.array([one.fps for one in kept.values()], pa.float64()),
        }
    )


def _shown(mos: float | None) -> str:
    return "unknown" if mos is None else f"{mos:g}"


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


def shown_format(location: str) -> str | None:
    """Return the format of a label file that was given as a table, None where it is none.

    It is a data set's where its columns and labels are that one's beyond doubt, else fast-vqa.
    """
    try:
        content = _content(location, "")
        header = set() if _is_matlab(content) else set(map(column_key, _rows(content, "")[0].cells))
    except (ManifestError, IndexError):
        return None
    if "uri" in header:
        return None
    known = "live-vqc" if _is_matlab(content) else None
    known = known or next((name for name, columns in _HEADERS.items() if columns <= header), None)
    for name in filter(None, (known, "fast-vqa")):
        with contextlib.suppress(ManifestError):
            _parsed(content, "", name)
            return name
    return None


def column_key(name: str) -> str:
    """Return the name of a column as it is compared: `MOS full`, `full_mos` and `MOSFull` are one."""
    return re.sub(r"[\s_-]", "", name).lower().replace("fullmos", "mosfull")


def _labels(location: str, where: str, label_format: str) -> list[_Label]:
    if label_format not in LABEL_FORMATS:
        raise ConfigurationError(
            f"--labels-format must be one of {', '.join(LABEL_FORMATS)}, got {label_format!r}"
        )
    return _parsed(_content(location, where), where, label_format)


def _content(location: str, where: str) -> bytes:
    try:
        return read_bytes(location, timeout_seconds=READ_SECONDS)
    except StorageError as error:
        raise ManifestError(f"{where} cannot be read: {error}") from error


def _parsed(content: bytes, where: str, label_format: str) -> list[_Label]:
    labels = (_matlab if _is_matlab(content) else _text)(content, where, label_format)
    if not labels:
        raise ManifestError(f"{where} is empty")
    return labels


def _is_matlab(content: bytes) -> bool:
    return content.startswith(b"MATLAB")


def _matlab(content: bytes, where: str, label_format: str) -> list[_Label]:
    file: Any = io.BytesIO(content)
    try:
        names = {name.lower(): name for name, *_ in sorted(whosmat(file))}
        wanted = [names[key] for key in ("video_list", "mos")]
        videos, mos = map(loadmat(file, variable_names=wanted).__getitem__, wanted)
        videos = [str(cell.item()).strip() for cell in videos.ravel()]
        numbers = [str(value) for value in mos.ravel()]
    except Exception as error:  # scipy raises a dozen kinds of what is damaged
        raise ManifestError(f"{where} must be a MATLAB file of video_list and mos: {error}") from error
    if len(videos) != len(numbers):
        raise ManifestError(
            f"{where}: video_list and mos must be as long, got {len(videos)} and {len(numbers)}"
        )
    return [
        _label({"name": name, "mos": number}, f"row {row}", where, label_format, positive=_positive)
        for row, (name, number) in enumerate(zip(videos, numbers, strict=True), start=1)
    ]


def _text(content: bytes, where: str, label_format: str) -> list[_Label]:
    rows = _rows(content, where)
    if not rows:
        return []
    header = _header(rows[0].cells)
    if header is None:
        positive: _Positive = _positive
        header, cells = _laid_out(rows, where, label_format)
    else:
        positive = _positive_if_any
        rows, cells = rows[1:], _below(header, rows, where)
    return [
        _label(
            dict(zip(header, row_cells, strict=True)),
            f"line {row.number}",
            where,
            label_format,
            positive=positive,
        )
        for row, row_cells in zip(rows, cells, strict=True)
    ]


def _rows(content: bytes, where: str) -> list[_Row]:
    """Return rows with something in them; of comments before the first one, the last that is a header."""
    lines = _lines(content, where)
    is_comment = [line.lstrip().startswith("#") or not line.strip() for line in lines]
    start = next((at for at, comment in enumerate(is_comment) if not comment), len(lines))
    first = "".join(lines[start : start + 1]).strip()
    separator = _separator(first)
    comments = [line.strip(" \t\n#") for line in lines[:start]]
    headers = [at for at, line in enumerate(comments) if _is_whole(_header(line.split(separator)) or ())]
    kept = headers[-1:] if _header(first.split(separator)) is None else []
    lines[:start] = [f"{line}\n" if at in kept else "\n" for at, line in enumerate(comments)]
    taken: list[str] = []
    reader = csv.reader(_kept(lines, taken), delimiter=separator, skipinitialspace=True)
    rows: list[_Row] = []
    try:
        for cells in reader:
            number, text = reader.line_num - len(taken) + 1, "".join(taken).rstrip("\n")
            taken.clear()
            # Names without quotes keep their spaces.
            as_is = cells if '"' in text else text.split(separator)
            rows.append(_Row(number=number, text=text, cells=as_is, separator=separator))
    except csv.Error as error:
        raise ManifestError(f"{where}, line {reader.line_num}: not readable CSV: {error}") from error
    for row in rows:
        if "\n" in row.text and row.text.count('"') % 2:  # and has taken rows for its own
            raise ManifestError(f"{where}, line {row.number}: a quote does not end")
    return [row for row in rows if any(map(str.strip, row.cells))]


def _kept(lines: Iterable[str], taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line


def _lines(content: bytes, where: str) -> list[str]:
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ManifestError(f"{where} is not {error.encoding.upper()}: byte {error.start}") from error
    return io.StringIO(text, newline=None).readlines()


def _separator(line: str) -> str:
    if re.search(r"[^,\s] *\t(?! *,)", line):  # and not beside a comma, for looks
        return "\t"
    return "," if "," in line or ";" not in line else ";"


def _header(cells: Sequence[str]) -> tuple[str, ...] | None:
    """Return what each column is, "" where it is not used; None where the cells are a row, as numbers are."""
    keys = list(map(column_key, cells))
    named = [key for key in map(column_key, VIDEO_NAMES) if key in keys]
    labelled = [key for key, field in _FIELDS.items() if field == "mos" and key in keys]
    if any(_float(cell) is not None for cell in cells) or not (named or labelled):
        return None
    fields = {key: field for key, field in _FIELDS.items() if field != "mos"}
    fields |= dict.fromkeys(named[:1], "name") | dict.fromkeys(labelled[-1:], "mos")
    return tuple(fields.get(key, "") for key in keys)


def _is_whole(header: Sequence[str]) -> bool:
    return header.count("name") == header.count("mos") == 1


def _below(header: Sequence[str], rows: Sequence[_Row], where: str) -> list[list[str]]:
    if not _is_whole(header):
        known = ", ".join(VIDEO_NAMES)
        raise ManifestError(f"{where}: the header must have one of {known} and MOS, got {rows[0].text!r}")
    for row in rows[1:]:
        if len(row.cells) != len(header):
            raise ManifestError(
                f"{where}, line {row.number}: has {len(row.cells)} cells, the header has {len(header)}"
            )
    return [[cell.strip() for cell in row.cells] for row in rows[1:]]


def _laid_out(rows: Sequence[_Row], where: str, label_format: str) -> tuple[tuple[str, ...], list[list[str]]]:
    """Return what each column is where no header says it, and the cells."""
    layout = _layout(rows, where, label_format)
    split = [row.split(len(layout)) for row in rows]
    for row, (name, *last) in zip(rows, split, strict=True):
        if len(last) != len(layout) or not name:
            wanted = ", ".join(("name" if len(layout) == 1 else "path", *layout))
            raise ManifestError(f"{where}, line {row.number}: must be {wanted}, got {row.text!r}")
    return ("name", *(_FIELDS.get(column_key(field), "") for field in layout)), split


def _layout(rows: Sequence[_Row], where: str, label_format: str) -> tuple[str, ...]:
    """Return what follows the name: how many numbers end the first row tells it, and what is in all rows."""
    are_values = [_float(cell) is not None or _is_no_label(cell) for cell in rows[0].cells[1:]]
    num_values = next((at for at, is_value in enumerate(are_values[::-1]) if not is_value), len(are_values))
    if are_values == [True, True, False]:  # of a layout with a broken last cell, which is then named
        num_values = 3
    doubtful = rows[:1]
    for layout, formats, fits in _layouts(num_values):
        if label_format in formats:
            whole = [row for row in rows if len(row.cells) > num_values]
            doubtful = [row for row in whole if not fits(row.split(num_values)[1:])]
            if not doubtful:
                return layout
    raise ManifestError(
        f"{where}, line {doubtful[0].number}: needs a header to be understood, got {doubtful[0].text[:100]!r}"
    )


def _layouts(num_values: int) -> Iterator[tuple[tuple[str, ...], Collection[str], _Fits]]:
    """Yield what numbers behind the name may be, in files of which formats, and whether a row's fit."""
    if num_values == 1:
        yield ("mos",), LABEL_FORMATS, lambda _cells: True
    if num_values == 3:
        yield ("duration", "fps", "MOS"), LABEL_FORMATS, lambda cells: _is_no_rating(cells[1])
    if num_values == 4:
        sizes = ("height", "width", "mos", "frame_number")
        yield sizes, ("lsvq", "fast-vqa"), lambda cells: all(map(_is_no_rating, cells[:2]))
    if num_values > 1:
        chunks = ("MOSFull", *["chunk"] * (num_values - 1))
        yield chunks, ("youtube-ugc", "fast-vqa"), lambda cells: all(map(_is_rating, cells))


def _is_no_rating(cell: str) -> bool:
    """Tell whether a cell is above all ratings, or -1; text is no rating, and what is wrong in its column."""
    value = _float(cell)
    return not _is_no_label(cell) if value is None else value > _RATINGS.high or value == _UNKNOWN


def _is_rating(cell: str) -> bool:
    value = _float(cell)
    is_one = value is not None and (_RATINGS.low <= value <= _RATINGS.high or value == _UNKNOWN)
    return is_one or _is_no_label(cell)


def _is_no_label(cell: str) -> bool:
    return cell.strip().lower() in _NO_LABEL


def _label(
    cells: dict[str, str], place: str, where: str, label_format: str, *, positive: _Positive
) -> _Label:
    at, scale = f"{where}, {place}", LABEL_FORMATS[label_format]
    mos = None if _is_no_label(cells["mos"]) else _number("MOS", cells["mos"], at)
    seconds, fps = (positive(name, cells.get(name, ""), at) for name in ("duration", "fps"))
    if mos is not None and scale is not None and not scale.low <= mos <= scale.high:
        raise ManifestError(f"{at}: MOS must be in {scale.low:g}..{scale.high:g} or -1, got {mos:g}")
    if not cells["name"]:
        raise ManifestError(f"{at}: the name of a video must not be empty, got {cells['name']!r}")
    return _Label(place=place, name=cells["name"], mos=mos, seconds=seconds, fps=fps)


def _positive(name: str, cell: str, at: str) -> float | None:
    value = _number(name, cell, at) if cell else None
    if value is not None and value <= 0:
        raise ManifestError(f"{at}: {name} must be above 0 or -1, got {value:g}")
    return value


def _positive_if_any(_name: str, cell: str, _at: str) -> float | None:
    """Return a number or a fraction above 0, None of anything else: with a header nobody needs it."""
    above, _, below = cell.partition("/")
    value = (_float(above) or math.nan) / (_float(below or "1") or math.nan)
    return value if 0 < value < math.inf else None


def _number(name: str, cell: str, at: str) -> float | None:
    value = _float(cell)
    if value is None:
        raise ManifestError(f"{at}: {name} must be a number, got {cell!r}")
    if not math.isfinite(value):
        raise ManifestError(f"{at}: {name} must be finite, got {cell!r}")
    return None if value == _UNKNOWN else value


def _float(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _found(names: Sequence[str], root: str, where: str) -> list[str | None]:
    """Return the URI of each video, None where it is not below `root`."""
    if scheme_of(root) in {"http", "https"}:
        return [join(root, name) for name in names]
    listed = list_videos(root, has_manifest_suffix=False)
    if listed is None:
        raise ManifestError(f"--video-root must be a folder, got {redact(root)!r}")
    uris, home = list(map(as_text, listed.uris)), as_text(join(root, "."))
    # Without their folders all videos may lie in one.
    movable = {at for at, uri in enumerate(uris) if PurePosixPath(uri).parent == PurePosixPath(home)}
    places = videos_of(names, uris, where=where, root=home, movable=movable)
    return [None if place is None else uris[place] for place in places]
