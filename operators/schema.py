"""Owns every column that crosses a stage or reaches a report: its Arrow type, unit and meaning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

__all__ = [
    "CALL",
    "FEATURED",
    "FRAGMENTED",
    "MANIFEST",
    "OUTCOME",
    "REPORT",
    "ROW_KEY",
    "SAMPLED",
    "Row",
    "byte_strings",
    "joined",
    "pixels_of",
    "row_table",
    "rows_of",
    "texts",
]

pc: Any = pyarrow.compute  # whose stubs know no function of columns of any type
Row = dict[str, Any]  # one video, column name -> Python value; payload columns hold arrays or Arrow buffers
ROW_KEY = "row_key"
CALL = "call"
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the contract."""

    name: str
    type: pa.DataType
    meaning: str
    unit: str | None = None

    @property
    def field(self) -> pa.Field[Any]:
        """The Arrow field, with meaning and unit in its metadata."""
        metadata = {"description": self.meaning} | ({"unit": self.unit} if self.unit else {})
        return pa.field(self.name, self.type, metadata=metadata)


_IDENTITY = (
    Column("video_id", pa.string(), "identifier from the manifest, or derived from the URI"),
    Column("uri", pa.string(), "where the video was read from"),
)
_FILE = (
    Column("content_sha256", pa.string(), "SHA-256 of the bytes"),
    Column("size_bytes", pa.int64(), "size of the object", "byte"),
)
_FAILURE = (
    Column("status", pa.string(), "scored, failed, or pending where it was left for another run"),
    Column("stage", pa.string(), "stage that failed: manifest, fetch, decode, fragment, inter or score"),
    Column("error_code", pa.string(), "stable code of the failure"),
    Column("error_message", pa.string(), "what failed, in words"),
    Column("attempts", pa.int32(), "times the object was fetched", "count"),
)
_SCORE = (
    Column("score", pa.float64(), "predicted quality, mean over draws", "0..100, higher is better"),
    Column("score_sd", pa.float64(), "standard deviation over draws; null for one draw", "points of 100"),
    Column("score_lower", pa.float64(), "one-sided 95% lower bound of score; verdicts use it", "0..100"),
    Column("raw_score", pa.float64(), "mean model output before calibration", "the model's own scale"),
    Column("clip_scores", pa.list_(pa.float32()), "score of each clip, draw after draw", "0..100"),
    Column("verdict", pa.string(), "pass, review or reject; review for what was not scored or is in doubt"),
)
_SUSPICION = (
    Column("suspicion", pa.float64(), "of an attack; null without --notice, --cap or a rendition", "0..1"),
    Column("suspicion_reasons", pa.list_(pa.string()), "what suspicion is taken from, in words"),
    Column("rendition_score", pa.float64(), "score of the rendition of --notice or --cap", "0..100"),
    Column("upload_score", pa.float64(), "score before --cap held it; null without --cap", "0..100"),
)
_VIDEO = (
    Column("width", pa.int32(), "frame width", "pixel"),
    Column("height", pa.int32(), "frame height", "pixel"),
    Column("fps", pa.float64(), "moments that samples are drawn from; at constant rate frames", "1/s"),
    Column("num_frames", pa.int64(), "frames the packets announce", "count"),
    Column("duration_seconds", pa.float64(), "for how long the packets are shown", "s"),
    Column("codec", pa.string(), "video codec, FFmpeg's name"),
    Column("decoder", pa.string(), "backend that read the frames"),
    Column("decode_warnings", pa.list_(pa.string()), "what was damaged or odd, but not fatal"),
)
_COPIES = (
    Column("picture_fingerprint", pa.string(), "alike for near copies; null without --incremental"),
    Column("near_copy_of", pa.string(), "video_id of the earliest video that this is a near copy of"),
    Column("near_copies", pa.int32(), "earlier videos of other bytes that this is a near copy of", "count"),
    Column("near_copy_best_score", pa.float64(), "highest score of these by the same checkpoint", "0..100"),
)
_PROVENANCE = (
    Column("checkpoint_id", pa.string(), "weights that scored the video"),
    Column("checkpoint_status", pa.string(), "trained, imported or untrained"),
    Column("as_delivered", pa.string(), "rendition that was judged, as x264:23; null: the upload itself"),
    Column("config_id", pa.string(), "digest of every setting that can change a score"),
    Column("key_id", pa.string(), "digest of the key; the key itself is nowhere"),
    Column("randomness", pa.string(), "keyed, ephemeral or public (--seed)"),
)
_TIMES = (
    Column("fetch_seconds", pa.float64(), "time to bring the bytes", "s"),
    Column("decode_seconds", pa.float64(), "time to probe and decode", "s"),
    Column("model_seconds", pa.float64(), "time in both backbones and the head", "s"),
    Column("scored_at", pa.timestamp("us", tz="UTC"), "when the row was finished"),
)
_KEY = Column(ROW_KEY, pa.string(), "digest of video, content version, checkpoint and configuration")
_CALL = Column(CALL, pa.int64(), "number of the call that brought the row; of two rows the higher counts")
_INTRA_SEEDS = Column("intra_seeds", pa.list_(pa.binary(32)), "guardian seed of each draw, intra branch")
_INTER_SEEDS = Column("inter_seeds", pa.list_(pa.binary(32)), "guardian seed of each draw, inter branch")
_LOOKS = Column("num_looks", pa.int32(), "2: after the draws come those of a rendition", "count")
_PATCHES = Column("patches", pa.large_binary(), "(draws, clips, d, G, G, S, S, 3) uint8")
_FRAGMENTS = Column("fragments", pa.large_binary(), "(draws, clips, d, G S, G S, 3) uint8, guarded")
_FRAMES = Column("frames", pa.large_binary(), "(k, side, side, 3) uint8, whole frames resized")
_SEGMENTS = Column("segments", pa.large_binary(), "(looks, num_segments, segment_frames) int64 into frames")
_STATISTICS = Column(
    "statistics",
    pa.large_binary(),
    "float32, of whole frames, look by look: VIDEVAL's 60, or features of each picture; null where none are",
)
_FEATURES = Column("features", pa.large_binary(), "(draws, num_segments, channels) float32")


def _schema(*groups: Iterable[Column]) -> pa.Schema:
    return pa.schema([column.field for group in groups for column in group])


# The report, in the order its readers see; every other column of the manifest follows, unchanged.
REPORT = _schema(_IDENTITY, _FILE, _FAILURE, _SCORE, _SUSPICION, _VIDEO, _COPIES, _PROVENANCE, _TIMES)

# What crosses each boundary, from the manifest to the rows that are written.
MANIFEST = _schema([_KEY], _IDENTITY)
_OUTCOME_SO_FAR = ([_KEY], _IDENTITY, _FILE, _FAILURE, _SUSPICION[1:2], _VIDEO, _COPIES[:1], _TIMES, [_LOOKS])
SAMPLED = _schema(*_OUTCOME_SO_FAR, [_INTRA_SEEDS, _INTER_SEEDS, _PATCHES, _FRAMES, _SEGMENTS, _STATISTICS])
FRAGMENTED = _schema(*_OUTCOME_SO_FAR, [_INTER_SEEDS, _FRAGMENTS, _FRAMES, _SEGMENTS, _STATISTICS])
FEATURED = _schema(*_OUTCOME_SO_FAR, [_FRAGMENTS, _FEATURES])
OUTCOME = pa.schema([_KEY.field, *REPORT, _CALL.field])


def row_table(row: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    """Make a one-row table of the columns of `schema`; columns that `row` lacks are null."""
    return pa.table([_one(row.get(field.name), field.type) for field in schema], schema=schema)


def rows_of(table: pa.Table) -> Iterable[Row]:
    """Yield every row of `table`; payload columns stay Arrow buffers, not copied."""
    for batch in table.to_batches():
        for index in range(batch.num_rows):
            yield {
                name: _payload(column, index)
                if pa.types.is_large_binary(column.type)
                else column[index].as_py()
                for name, column in zip(batch.schema.names, batch.columns, strict=True)
            }


def pixels_of(row: Row, name: str, dtype: type[np.generic], *shape: int) -> NDArray[Any]:
    """View a payload column as a read-only array of `shape` (one -1 allowed)."""
    return np.frombuffer(row[name], dtype=dtype).reshape(shape)


def joined(arrays: Sequence[NDArray[T]]) -> NDArray[T]:
    """Return at least one array as one, which is the array itself where there is no other."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _payload(column: Any, index: int) -> pa.Buffer | None:
    """View one value of a large_binary array; Arrow's own scalars would copy it."""
    _, offsets, data = column.buffers()
    if column.slice(index, 1).null_count:
        return None
    start, end = np.frombuffer(offsets, dtype=np.int64)[column.offset + index :][:2].tolist()
    return pa.py_buffer(b"") if data is None else data.slice(start, end - start)


def _one(value: Any, kind: pa.DataType) -> pa.Array[Any]:
    if not pa.types.is_large_binary(kind) or value is None:
        return pa.array([value], type=kind)
    contents: Any = np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value
    data = pa.py_buffer(contents)
    offsets = pa.py_buffer(np.array([0, data.size], dtype=np.int64).tobytes())
    return pa.Array.from_buffers(kind, 1, [None, offsets, data])


def texts(table: pa.Table, name: str) -> list[str]:
    """Return the values of a string column that are not null."""
    return [str(value) for value in table[name].to_pylist() if value is not None]


def byte_strings(texts: NDArray[np.bytes_] | pa.ChunkedArray[Any] | Sequence[str]) -> NDArray[np.bytes_]:
    """Return texts without a null as numpy's UTF-8, each as wide as the widest.

    Where all are of one width, as digests are, no Python object is made of any.
    """
    if isinstance(texts, np.ndarray):
        return texts
    column: Any = texts if isinstance(texts, pa.ChunkedArray) else pa.chunked_array([texts], pa.string())
    if not len(column):
        return np.empty(0, "S1")
    lengths = pc.min_max(pc.binary_length(column)).as_py()
    width = max(1, lengths["max"])
    if lengths["min"] != width or column.type != pa.string():
        return np.array([text.encode() for text in column.to_pylist()], f"S{width}")
    return np.concatenate([_view(chunk, width) for chunk in column.chunks if len(chunk)])


def _view(chunk: Any, width: int) -> NDArray[np.bytes_]:
    _, offsets, data = chunk.buffers()
    start = np.frombuffer(offsets, np.int32)[chunk.offset]
    return np.frombuffer(data, f"S{width}", count=len(chunk), offset=start)
