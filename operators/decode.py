"""Owns the decode stage: bring the bytes, hash them, let a confined process take what the model samples."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa

from operators.fetch import FetchAttemptError, fetch
from operators.limits import FetchLimits
from operators.schema import ROW_KEY, SAMPLED, Row, joined, rows_of
from operators.stage import run_stage
from securevqa_core.decoding.backend import Decoder
from securevqa_core.decoding.extract import DecodedSample
from securevqa_core.decoding.header import NOT_UNDERSTOOD
from securevqa_core.decoding.sandbox import DecodeSandbox
from securevqa_core.errors import DecodeError, FetchError, VideoError
from securevqa_core.fingerprints import fingerprint
from securevqa_core.inputs import Look, decode_request, look
from securevqa_core.randomness import DrawSource, VideoDraw
from securevqa_core.rendition import Rendition
from securevqa_core.suspicion import no_rendition
from securevqa_core.types import DecodeLimits, Precision, SamplingConfig
from securevqa_core.whole_frames import StatisticsSink

__all__ = ["Decode", "FetchLimits", "fetch_into", "fingerprint_of", "scratch_file"]

BEGIN_SECONDS = 300.0  # for the tally to be started again; a video that is not in writing is not begun


@dataclass(frozen=True, kw_only=True)
class Decode:
    """uri -> content_sha256, patches, frames, segments; the frames of the video never leave its process.

    The tally has every video in writing before it is begun. After the deadline none is; they are left out.
    """

    sampling: SamplingConfig
    key: DrawSource  # what is sent to workers holds no key, and asks it
    num_draws: int
    scratch_dir: str | None  # None: the system's temporary folder
    decode_limits: DecodeLimits = field(default_factory=DecodeLimits)
    fetch_limits: FetchLimits = field(default_factory=FetchLimits)
    decoder: Decoder = "auto"
    checkpoint: Any = None  # reference to the weights of a network that sees whole frames; None: none does
    precision: Precision = "float32"  # of its arithmetic
    takes_fingerprints: bool = False
    rendition: Rendition | None = None  # of the file, that is sampled in its place
    compared: Rendition | None = None  # of the file, that is sampled besides
    needs_compared: bool = False  # whether there is no score without it
    deadline: float | None = None  # seconds since the epoch; None: no end
    tally: Any = None

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """Yield one row of `SAMPLED` for every row of `MANIFEST`."""
        return run_stage(self._begun(table), self._sample, stage="decode", schema=SAMPLED)

    def _begun(self, table: pa.Table) -> Iterator[Row]:
        for row in rows_of(table):
            if self.deadline is not None and time.time() >= self.deadline:
                return
            if self.tally is not None:
                # Not ray.get, which lends this task's processor to another task for as long as it waits.
                self.tally.begin.remote(row[ROW_KEY]).future().result(timeout=BEGIN_SECONDS)
            yield row

    def _sample(self, row: Row) -> Row:
        """Fetch and decode; what is known when a step fails stays in the row."""
        known: Row = {}
        try:
            with scratch_file(self.scratch_dir) as target:
                known |= fetch_into(row["uri"], target, self.fetch_limits)
                return known | self._decode(known, target)
        except VideoError as error:
            if isinstance(error, FetchAttemptError):
                known["attempts"] = error.attempts
            error.known = known
            raise

    def _decode(self, known: Row, target: BinaryIO) -> Row:
        if not known["size_bytes"]:
            raise DecodeError("empty_file", "the object has no bytes")
        draws = self.key.draws(known["content_sha256"], self.num_draws)
        path = f"/proc/{os.getpid()}/fd/{target.fileno()}"
        started = time.perf_counter()
        try:
            looks = [self._look(path, draws, self.rendition)]
            if self.compared is not None:
                try:
                    looks.append(self._look(path, draws, self.compared))
                except DecodeError as error:
                    if self.needs_compared:
                        raise
                    known["suspicion_reasons"] = list(no_rendition(error).suspicion_reasons or ())
        except DecodeError as error:
            if error.code == NOT_UNDERSTOOD:  # the file is sound, but odd
                known["decode_warnings"] = [f"{error.code}: {error}"]
            raise
        finally:
            known["decode_seconds"] = time.perf_counter() - started
        sample = looks[0].sample
        return (
            asdict(sample.info)
            | {
                "decoder": sample.decoder,
                "decode_warnings": list(sample.warnings),
                "picture_fingerprint": fingerprint_of(sample),
                "num_looks": len(looks),
                "intra_seeds": [draw.guardian_intra for draw in draws] * len(looks),
                "inter_seeds": [draw.guardian_inter for draw in draws] * len(looks),
            }
            | _payload(looks)
        )

    def _look(self, path: str, draws: Sequence[VideoDraw], rendition: Rendition | None) -> Look:
        request = decode_request(
            self.sampling,
            draws,
            limits=self.decode_limits,
            decoder=self.decoder,
            takes_glances=self.takes_fingerprints,
            rendition=rendition,
        )
        return look(functools.partial(_sandbox(self.decode_limits).decode, path), request, self._sink())

    def _sink(self) -> StatisticsSink | None:
        """Return what takes statistics of whole frames, where there are any to take."""
        if not self.sampling.has_statistics:
            return None
        import torch  # noqa: PLC0415 - seconds and megabytes that decoding does not need otherwise

        from securevqa_core.loaded import whole_frames_sink  # noqa: PLC0415 - it needs torch

        torch.set_num_threads(1)  # more would make the last bits of a score depend on the machine
        model = None if self.checkpoint is None else _model(self.checkpoint)
        return whole_frames_sink(model, self.sampling, device=torch.device("cpu"), precision=self.precision)


def _payload(looks: Sequence[Look]) -> Row:
    """Return what was sampled, one look after the other; segments point into the frames of all."""
    samples = [one.sample for one in looks]
    starts = np.cumsum([0, *(len(sample.frames) for sample in samples)])
    statistics = [one.statistics for one in looks if one.statistics is not None]
    return {
        "patches": joined([sample.patches for sample in samples]),
        "frames": joined([sample.frames for sample in samples]),
        "segments": joined([one.segments + start for one, start in zip(samples, starts, strict=False)]),
        "statistics": joined(statistics) if statistics else None,
    }


@contextlib.contextmanager
def scratch_file(folder: str | None) -> Iterator[BinaryIO]:
    """Open a file without a name: it is gone when this process is, however it ends.

    Raises:
        FetchError: scratch_full.
    """
    try:
        target = cast("BinaryIO", tempfile.TemporaryFile(dir=folder))  # noqa: SIM115 - closed below
    except OSError as error:
        raise FetchError("scratch_full", f"no scratch file can be made: {error.strerror}") from error
    try:
        yield target
    finally:
        with contextlib.suppress(OSError):  # on a full disk closing tries to write once more
            target.close()


def fetch_into(uri: str, target: BinaryIO, limits: FetchLimits) -> Row:
    """Bring the bytes of a video; return the columns that say so.

    Raises:
        FetchAttemptError: they cannot be brought.
    """
    fetched = fetch(
        uri,
        target,
        max_bytes=limits.max_bytes,
        timeout_seconds=limits.timeout_seconds,
        max_attempts=limits.max_attempts,
    )
    target.flush()
    return {
        "content_sha256": fetched.content_sha256,
        "size_bytes": fetched.size_bytes,
        "attempts": fetched.attempts,
        "fetch_seconds": fetched.seconds,
    }


def fingerprint_of(sample: DecodedSample) -> str | None:
    """Return the fingerprint of a video, None where none was asked for or its pictures are too flat."""
    return None if sample.glances is None else fingerprint(sample.glances)


@functools.lru_cache(maxsize=1)
def _model(checkpoint: Any) -> Any:
    """Return this worker's model, built once from a reference to its weights."""
    from securevqa_core import weights  # noqa: PLC0415 - it needs torch

    # Not ray.get, which lends this task's processor to another task for as long as it waits.
    return weights.build(checkpoint.future().result(timeout=BEGIN_SECONDS))


@functools.lru_cache(maxsize=1)
def _sandbox(limits: DecodeLimits) -> DecodeSandbox:
    """Return this worker's decoding process, warm from the last video."""
    return DecodeSandbox(limits)
