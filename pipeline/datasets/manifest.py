"""Owns the manifest of a data set: its columns, the groups and splits of its sources, one row by its URI."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.datasets.opinions import Rated
from pipeline.datasets.progress import Progress
from pipeline.files import write_whole
from securevqa_core.datasets.build import ClipRecord, split_of
from securevqa_core.datasets.config import BuildConfig
from securevqa_core.datasets.duplicates import HASH_BITS, Bits, group_sources, hash_pictures
from securevqa_core.datasets.families import TEMPORAL
from securevqa_core.datasets.folder import DatasetFolder
from securevqa_core.datasets.rebuild import plan_columns
from securevqa_core.datasets.sources import Source
from securevqa_core.datasets.views import View
from securevqa_core.errors import DatasetError, ManifestError

__all__ = ["MANIFEST", "Finished", "Listed", "read_row", "write_manifest"]


# Of each view one clip is pristine and many are damaged a little: met once, it is taken for one of them.
PRISTINE_REPEATS = 2


def _column(name: str, kind: pa.DataType, meaning: str) -> pa.Field[Any]:
    return pa.field(name, kind, metadata={"meaning": meaning})


MANIFEST = pa.schema(
    [
        _column("uri", pa.string(), "absolute path of the clip"),
        _column("label", pa.float64(), "quality, 0..100, higher is better; of a video as it is, its opinion"),
        _column(
            "opinion", pa.float64(), "of people, 0..100, as VIDEVAL predicts it; null where none was wanted"
        ),
        _column("opinion_sd", pa.float64(), "its standard deviation over bootstrap fits, points of 100"),
        _column("joined", pa.float64(), "opinion of the pristine clip x label / 100; as it is, its opinion"),
        _column(
            "teacher", pa.string(), "whose opinion: the version of VIDEVAL, and of what it was fitted to"
        ),
        _column("vmaf", pa.float64(), "VMAF v0.6.1, 0..100, of what quality_factor does not cover"),
        _column("vmaf_neg", pa.float64(), "VMAF NEG v0.6.1, 0..100, likewise"),
        _column(
            "quality_factor", pa.float64(), "label = vmaf_neg x quality_factor; null where VMAF is right"
        ),
        _column("family", pa.string(), "kind of fault, or pristine, mixture, edit, as_is"),
        _column("level", pa.int64(), "of the fault, 1 is mild; 0 of a pristine clip; else a number"),
        _column("ladder", pa.string(), "clips that differ by level alone; null for other clips"),
        _column("source", pa.string(), "the file that the clip was taken from"),
        _column("view", pa.string(), "the place and time in the source"),
        _column("split", pa.string(), "train, val or test; one for all of a group"),
        _column("recipe", pa.string(), "family and level"),
        _column(
            "reference",
            pa.string(),
            "the pristine clip of the view; null where moments differ from it, or it is not known",
        ),
        _column("repeats", pa.int64(), "times that an epoch of training meets the clip; 2 of a pristine one"),
        _column("width", pa.int64(), "pixels"),
        _column("height", pa.int64(), "pixels"),
        _column("fps", pa.float64(), "frames a second"),
        _column("group", pa.string(), "sources that show the same footage, by the first of them"),
        _column("source_uri", pa.string(), "absolute path of the source when the manifest was written"),
        _column("source_sha256", pa.string(), "of the source's bytes"),
        _column(
            "view_plan",
            pa.string(),
            "JSON: size, frame rate, length; start or boxes in the source; null as it is",
        ),
        _column("steps", pa.string(), "JSON: what was done to the pristine clip, in order; null as it is"),
        _column("ffmpeg_version", pa.string(), "of the FFmpeg that the clip was made with; null as it is"),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A view whose clips are all made."""

    view: View
    records: tuple[ClipRecord, ...]
    rated: Rated


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What a manifest lists."""

    records: tuple[ClipRecord, ...]  # in its order, with its splits
    groups: tuple[tuple[str, ...], ...]  # ids of sources that show the same footage, two or more in each


def write_manifest(
    folder: DatasetFolder,
    sources: Sequence[Source],
    finished: Sequence[Finished],
    config: BuildConfig,
    *,
    teacher: str,
    workers: int,
    progress: Progress,
) -> Listed:
    """Write the rows of all finished views, in the order of their URIs.

    The groups are those of all sources, with clips or without, so that a build that goes on moves no clip to
    another split.

    Raises:
        DatasetError: records are not of the view they are named after.
    """
    groups = group_sources(_hashes(folder, sources, workers=workers, progress=progress))
    rows, records = [], []
    for item in finished:
        first = next((one.uri for one in item.records if one.family == "pristine"), None)
        pristine = None if first is None else str(folder.clip(first))
        plans = plan_columns(item.view, item.records, folder, config)
        for record, plan in zip(item.records, plans, strict=True):
            group = groups[record.source]
            record = replace(record, split=split_of(group, config))  # noqa: PLW2901 - the same clip
            uri = str(folder.clip(record.uri))
            learnt = {
                "reference": None if record.family in TEMPORAL else pristine,
                "repeats": PRISTINE_REPEATS if record.family == "pristine" else 1,
            }
            thought = _opinion_columns(record, item.rated, first, teacher)
            rows.append(asdict(record) | plan | {"uri": uri, "group": group} | learnt | thought)
            records.append(record)
    rows.sort(key=lambda row: str(row["uri"]))
    table = pa.Table.from_pylist(rows, schema=MANIFEST)
    write_whole(folder.manifest, lambda part: pq.write_table(table, part))
    return Listed(
        records=tuple(sorted(records, key=lambda record: record.uri)),
        groups=_several(groups),
    )


def _opinion_columns(record: ClipRecord, rated: Rated, pristine: str | None, teacher: str) -> dict[str, Any]:
    """Return the columns that opinions are in; a video as it is has no other label."""
    opinion, of_source = rated.get(record.uri), None if pristine is None else rated.get(pristine)
    mean = None if opinion is None else opinion.mean
    label = mean if record.label is None else record.label
    joined = mean if record.label is None else None
    if record.label is not None and of_source is not None:
        joined = of_source.mean * record.label / 100
    return {
        "label": label,
        "opinion": mean,
        "opinion_sd": None if opinion is None else opinion.sd,
        "joined": joined,
        "teacher": None if opinion is None else teacher,
    }


def read_row(manifest: Path, uri: str) -> dict[str, Any]:
    """Return the row of a clip.

    Args:
        manifest: written by `write_manifest`.
        uri: as in the manifest, or its end from a slash on.

    Raises:
        ManifestError: the manifest cannot be read, or not exactly one row is meant.
    """
    try:
        table = pq.read_table(manifest)
        uris = table["uri"]
    except (OSError, pa.ArrowException, KeyError) as error:
        raise ManifestError(f"manifest {str(manifest)!r} cannot be read: {error}") from error
    meant = [one == uri or str(one).endswith(f"/{uri}") for one in uris.to_pylist()]
    rows: list[dict[str, Any]] = table.filter(pa.array(meant)).to_pylist()
    if len(rows) != 1:
        raise ManifestError(f"row_uri must mean one row of {str(manifest)!r}, got {len(rows)} for {uri!r}")
    return rows[0]


def _hashes(
    folder: DatasetFolder, sources: Sequence[Source], *, workers: int, progress: Progress
) -> dict[str, Bits]:
    found = {}
    with ThreadPoolExecutor(workers) as pool:
        for source, hashes in zip(sources, pool.map(lambda one: _hash(folder, one), sources), strict=True):
            found[source.source_id] = hashes
            progress.advance()
    return found


def _hash(folder: DatasetFolder, source: Source) -> Bits:
    """Return the hashes of a source, which are kept; none of one that cannot be decoded."""
    path = folder.hashes(source.source_id)
    try:
        record = json.loads(path.read_text())
        return np.array([[bit == "1" for bit in row] for row in record], dtype=np.bool_).reshape(
            -1, HASH_BITS
        )
    except (OSError, ValueError, TypeError):
        pass  # not made yet, or damaged
    try:
        hashes = hash_pictures(source)
    except DatasetError:
        return np.empty((0, HASH_BITS), dtype=np.bool_)  # it has no clips either
    folder.write(path, json.dumps(["".join("01"[int(bit)] for bit in row) for row in hashes]))
    return hashes


def _several(groups: dict[str, str]) -> tuple[tuple[str, ...], ...]:
    members = defaultdict(list)
    for source, group in groups.items():
        members[group].append(source)
    return tuple(tuple(sorted(names)) for _, names in sorted(members.items()) if len(names) > 1)
