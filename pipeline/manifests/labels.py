"""Owns labels: which column holds them, which videos they are of, their scale, and them on 0..100."""

from __future__ import annotations

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from operators.schema import REPORT
from operators.storage import redact
from pipeline.manifests.scales import LabelRange
from securevqa_core.errors import ManifestError

__all__ = [
    "LABEL_COLUMNS",
    "has_label_column",
    "label_column",
    "labels_of",
    "named_videos",
    "require_not_own",
    "row_numbers",
    "scale_doubt",
    "settled_scale",
    "videos_of",
]

LABEL_COLUMNS = ("mos", "label")  # looked for where none is named
NAMED_AT_MOST = 5  # videos
_LEAST_SPAN = 10.0  # points of 100 that labels of a data set cover; less is another scale, more likely
_USUAL = ((0, 1), (1, 5), (0, 5), (0, 10), (0, 100))  # scales that people rate on, the narrowest first
# Without pictures, which lie beside the videos that they are of.
_VIDEO_SUFFIXES = """
    .3g2 .3gp .asf .avi .divx .dv .f4v .flv .h264 .hevc .m1v .m2ts .m2v .m4v .mj2 .mkv .mov .mp4 .mpeg .mpg
    .mts .mxf .ogm .ogv .qt .ts .vob .webm .wmv .y4m
""".split()  # noqa: SIM905 - thirty quotes less
_ENCODED = "_crf_"  # before what YouTube-UGC's encodings have behind the name
_WRITTEN_AS_FLOAT = re.compile(r"[0-9]+(\.[0-9]*)?(e\+?[0-9]{1,2})?", re.IGNORECASE)
_BY_NAME, _BY_LIKENESS, _FROM_ELSEWHERE = range(3)  # how sure it is which video a label is of


def label_column(names: Sequence[str], asked_for: str | None, *, late: Sequence[str] | None = None) -> str:
    """Return the name of the column that holds the labels.

    Where none is named it is the one of `LABEL_COLUMNS` that is there, or is there but for its case.

    Args:
        names: of the columns that there are.
        asked_for: the name that was given.
        late: columns of labels that came later, which go first; None: there are none.

    Raises:
        ManifestError: it is not there, or none was named and there is none, or more than one.
    """
    shown = names if late is None else late
    if asked_for is not None:
        if asked_for not in {*names, *shown}:
            raise ManifestError(f"there is no label column {asked_for!r}, only {', '.join(shown)}")
        return asked_for
    candidates = _candidates(shown) or _candidates(names)
    if len(candidates) != 1:
        raise ManifestError(
            f"--label-column must be given unless one of {' and '.join(LABEL_COLUMNS)} is there, "
            f"got {', '.join(candidates or shown)}"
        )
    return candidates[0]


def has_label_column(names: Sequence[str]) -> bool:
    """Tell whether a column holds labels that nobody has to name."""
    return bool(_candidates(names))


def _candidates(names: Sequence[str]) -> list[str]:
    exact = [name for name in LABEL_COLUMNS if name in names]
    return exact or [name for name in names if name.lower() in LABEL_COLUMNS]


def require_not_own(asked_for: str | None) -> None:
    """Refuse a label column that a report has for itself: scores would be held against themselves.

    Raises:
        ManifestError: it is one.
    """
    if asked_for in REPORT.names:
        raise ManifestError(
            f"--label-column must not be one that every report has, got {asked_for!r}: rename it"
        )


def row_numbers(table: pa.Table) -> dict[str, int]:
    """Return which row of a table each video_id is in, numbered from 1: messages say it, whatever is kept."""
    videos: list[Any] = table["video_id"].to_pylist()
    return {video: row for row, video in enumerate(videos, start=1)}


def labels_of(
    table: pa.Table, column: str, scale: LabelRange, *, rows: Mapping[str, int] | None = None
) -> list[float | None]:
    """Return the labels of a table's rows on 0..100, None where there is none (null, or empty text).

    Args:
        table: with the labels.
        column: that holds them.
        scale: that they are on.
        rows: video_id -> row of the file that a person wrote; None: unknown.

    Raises:
        ManifestError: a label is no number or out of range; its row and its video are named.
    """
    points = []
    for place, value in enumerate(_values(table, column, rows)):
        if value is not None and not scale.low <= value <= scale.high:
            where = f"{_place(table, place, rows)}: column {column!r}"
            wanted = f"must be in {scale.low:g}..{scale.high:g}, got {value:g}"
            raise ManifestError(f"{where} {wanted}: --label-range LOW HIGH says what labels are on")
        points.append(None if value is None else scale.to_points(value))
    return points


def _values(table: pa.Table, column: str, rows: Mapping[str, int] | None) -> list[float | None]:
    """Return the labels on their own scale, None where there is none."""
    values: list[float | None] = []
    for place, value in enumerate(table[column].to_pylist()):
        try:
            values.append(None if value is None or value == "" else _number(value))
        except ValueError as error:
            raise ManifestError(f"{_place(table, place, rows)}: column {column!r} {error}") from error
    return values


def _place(table: pa.Table, place: int, rows: Mapping[str, int] | None) -> str:
    """Return what a person calls a row: where it stands in the file, as far as is known, and its video."""
    if "uri" not in table.column_names:
        return f"row {place + 1}"
    video = repr(redact(str(table["uri"][place].as_py())))
    return (
        f"video {video}" if rows is None else f"row {rows[table['video_id'][place].as_py()]}, video {video}"
    )


def settled_scale(
    table: pa.Table,
    column: str,
    given: LabelRange | None,
    *,
    rows: Mapping[str, int] | None = None,
    tell: Callable[[str], None],
) -> LabelRange:
    """Return the scale of the labels: the one that was given, else the narrowest usual one that holds them.

    Fewer than two labels that differ tell nothing, and are on 0..100.

    Args:
        table: with the labels.
        column: that holds them.
        given: the scale, where it is known.
        rows: as `labels_of` takes them.
        tell: is told which scale was guessed, and what is doubtful about one that was given.

    Raises:
        ManifestError: a label is no number, or out of the scale; or no usual scale holds them all.
    """
    if given is not None:
        if (doubt := scale_doubt(labels_of(table, column, given, rows=rows), given)) is not None:
            tell(doubt)
        return given
    values = _values(table, column, rows)
    known = sorted({value for value in values if value is not None})
    if not known:
        return LabelRange()
    fitting = (0, 100) if len(known) == 1 and 0 <= known[0] <= 100 else None
    fitting = fitting or next((ends for ends in _USUAL if ends[0] <= known[0] and known[-1] <= ends[1]), None)
    span = f"labels of column {column!r} span {known[0]:g}..{known[-1]:g}"
    if fitting is None:
        raise ManifestError(f"{span}, which no usual scale holds: say --label-range LOW HIGH")
    scale = LabelRange(low=fitting[0], high=fitting[1])
    tell(f"{span}: taken to be on {scale.low:g}..{scale.high:g}; --label-range LOW HIGH says otherwise")
    return scale


def scale_doubt(labels: Sequence[float | None], scale: LabelRange) -> str | None:
    """Return what to tell a person where labels cover so little of a scale that it is likely another one.

    Args:
        labels: on 0..100, from `labels_of`; None where there is none.
        scale: that they were read on.
    """
    known = [label for label in labels if label is not None]
    if len(known) < 2 or max(known) - min(known) >= _LEAST_SPAN:
        return None
    size = (scale.high - scale.low) / 100
    low, high = (scale.low + end * size for end in (min(known), max(known)))
    likely = next((pair for pair in _USUAL if pair[0] <= low and high <= pair[1] < scale.high), None)
    said = f"labels span {low:g}..{high:g} of {scale.low:g}..{scale.high:g}"
    if likely is None:
        return said
    return f"{said}: if they are on {likely[0]}..{likely[1]}, say --label-range {likely[0]} {likely[1]}"


def _number(value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]  # what is no number says so
    except (TypeError, ValueError) as error:
        raise ValueError(f"must be a number, got {value!r}") from error
    if not math.isfinite(number):
        raise ValueError(f"must be finite, got {number:g}")
    return number


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """What a label takes for its video."""

    place: int  # of the video
    doubt: int
    folder: tuple[str, ...]  # that the label gives, the innermost first


def videos_of(
    names: Sequence[str],
    uris: Sequence[str],
    *,
    where: str,
    root: str = "",
    movable: Collection[int] | None = None,
    any_suffix: bool = True,
) -> list[int | None]:
    """Return which of the videos each label is of, None where it is not there.

    | a label says               | the file                                        |
    |----------------------------|-------------------------------------------------|
    | a/1.mp4, 1.mp4, a/1, 1     | a/1.mp4                                         |
    | A\\1.MP4, a/1.mkv, 1.0     | the same, if no label has its name              |
    | 1                          | 1_crf_10.mp4, if there is no 1.mp4              |
    | b/1.mp4                    | 1.mp4 that is movable, if no other label has it |

    Args:
        names: what labels call their videos.
        uris: of the videos.
        where: the labels are, for messages.
        root: folder that the names start at.
        movable: videos whose folder tells nothing; None: all, if no label has the folder of a video.
        any_suffix: take a name with the extension of another video for its video.

    Raises:
        ManifestError: a name fits several videos.
    """
    claims: dict[int, _Claim] = {}
    for spelt in (str, _loosely):
        if len(claims) < len(names):
            videos = _Videos(uris, root, spelt, any_suffix=any_suffix)
            claims |= {
                row: claim
                for row, name in enumerate(names)
                if row not in claims and (claim := videos.claim(name, movable or (), where))
            }
    if movable is None and len(claims) < len(names) and not any(one.folder for one in claims.values()):
        every = range(len(uris))
        return videos_of(names, uris, where=where, root=root, movable=every, any_suffix=any_suffix)
    rivals: dict[int, list[_Claim]] = defaultdict(list)
    for claim in claims.values():
        rivals[claim.place].append(claim)
    upheld = {row: claim.place for row, claim in claims.items() if _is_upheld(claim, rivals[claim.place])}
    return [upheld.get(row) for row in range(len(names))]


def _is_upheld(claim: _Claim, rivals: Sequence[_Claim]) -> bool:
    if claim.doubt > min(one.doubt for one in rivals):
        return False
    return claim.doubt < _FROM_ELSEWHERE or len({one.folder for one in rivals}) == 1


def _loosely(text: str) -> str:
    return text.replace("\\", "/").casefold()


class _Videos:
    """Videos by all that a label may call them."""

    def __init__(
        self, uris: Sequence[str], root: str, spelt: Callable[[str], str], *, any_suffix: bool
    ) -> None:
        self._uris, self._spelt, self._any_suffix = uris, spelt, any_suffix
        self._root = PurePosixPath(spelt(root))
        paths = [PurePosixPath(spelt(uri)) for uri in uris]
        self._folders = [path.parent for path in paths]
        whole, short, original, rest = self._names = [defaultdict[str, list[int]](list) for _ in range(4)]
        for place, path in enumerate(paths):
            whole[path.name].append(place)
            if path.suffix.lower() in _VIDEO_SUFFIXES:
                short[path.stem].append(place)
                original[path.stem.partition(_ENCODED)[0]].append(place)
            else:
                rest[path.stem].append(place)

    def claim(self, name: str, movable: Collection[int], where: str) -> _Claim | None:
        """Return what a label takes for its video.

        Raises:
            ManifestError: there are several.
        """
        path = PurePosixPath(self._spelt(name))
        folder = tuple(part for part in path.parts[-2::-1] if part not in {"/", ".."})
        for called, (way, known) in itertools.product(self._calls(path), enumerate(self._names)):
            fitting = known.get(called, [])
            is_sure = called == path.name and way < 2 and self._spelt is str
            doubt = _BY_NAME if is_sure else _BY_LIKENESS
            if folder and fitting:
                shared = {place: self._num_shared(place, path) for place in fitting}
                most = max(shared.values())
                fitting = [place for place in fitting if shared[place] == most]
                if not most:  # another folder is another file
                    doubt = _FROM_ELSEWHERE
                    fitting = [place for place in fitting if place in movable]
                    fitting = fitting if len(fitting) == 1 else []
            if len(fitting) > 1:
                uris = named_videos(sorted(self._uris[place] for place in fitting))
                raise ManifestError(f"{where}: {redact(name)!r} fits {len(fitting)} videos, {uris}")
            if fitting:
                return _Claim(place=fitting[0], doubt=doubt, folder=folder)
        return None

    def _calls(self, path: PurePosixPath) -> list[str]:
        calls = [path.name]
        if self._any_suffix and path.suffix.lower() in _VIDEO_SUFFIXES:
            calls.append(path.stem)
        if _WRITTEN_AS_FLOAT.fullmatch(path.name) and float(path.name).is_integer():
            calls.append(str(int(float(path.name))))
        return calls

    def _num_shared(self, place: int, path: PurePosixPath) -> float:
        """Return how many folders of a path, from its end, are those of a video; of the same path, inf."""
        if self._folders[place] == self._root / path.parent:
            return math.inf
        pairs = zip(self._folders[place].parts[::-1], path.parts[-2::-1], strict=False)
        return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def named_videos(names: Sequence[str]) -> str:
    """Return what is said of videos: the first of them, and how many more there are."""
    rest = len(names) - NAMED_AT_MOST
    shown = ", ".join(repr(redact(name)) for name in names[:NAMED_AT_MOST])
    return f"{shown} and {rest} more" if rest > 0 else shown
