"""Owns a close look at one video: the model's score of every moment and of every place in the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from operators.decode import Decode
from operators.fragment import Fragment
from operators.schema import MANIFEST, ROW_KEY, Row, pixels_of, rows_of
from operators.stage import FAILED
from securevqa_core import weights, zoo
from securevqa_core.errors import ConfigurationError, RunError
from securevqa_core.randomness import Key, generator
from securevqa_core.rendition import Rendition
from securevqa_core.sampling import continuous_sample, skip_sample
from securevqa_core.scoring import branch_outputs, inter_features
from securevqa_core.types import SamplingConfig

__all__ = ["CloseUp", "look_closely"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CloseUp:
    """The scores of one video before they are pooled, on 0..100, in order of time."""

    video_id: str
    num_draws: int
    is_of_report: bool  # whether the report's score was made of these scores; else of other draws
    seconds: NDArray[np.float64]  # (n,) into the video, of each position of each draw; all 0 without a rate
    scores: NDArray[np.float64]  # (n,)
    local_scores: NDArray[np.float64]  # (n, h, w): the head on each place of the picture alone
    pictures: NDArray[np.uint8]  # (n, side, side, 3), the nearest frame that the model saw whole


def look_closely(
    video_id: str,
    uri: str,
    *,
    content_sha256: str,
    checkpoint: weights.Checkpoint,
    key: Key,
    key_id: str | None,
    num_draws: int,
    rendition: Rendition | None = None,
) -> CloseUp:
    """Score one video here, without pooling.

    Args:
        video_id: of the report.
        uri: where its bytes are.
        content_sha256: of the bytes that were scored.
        checkpoint: that scored it; of a model with two branches or a map of places.
        key: with the report's own key these are the scores that the report's was made of.
        key_id: of the report's key.
        num_draws: of the report.
        rendition: that was scored in place of the video.

    Raises:
        ConfigurationError: the model scores no moments or places.
        RunError: the video cannot be fetched or decoded, or is no longer the one that was scored.
    """
    sampling = zoo.spec(checkpoint.architecture).sampling
    model: Any = weights.build(checkpoint)
    if not hasattr(model, "vqa_head"):
        raise ConfigurationError(
            f"video must be of a model with local scores, got {checkpoint.architecture!r}"
        )
    row = _sampled(
        video_id,
        uri,
        content_sha256=content_sha256,
        sampling=sampling,
        key=key,
        num_draws=num_draws,
        rendition=rendition,
    )
    shape = (num_draws, sampling.num_clips, sampling.clip_frames)
    side = sampling.fragment_side
    clips = pixels_of(row, "fragments", np.uint8, *shape, side, side, 3)
    here: dict[str, Any] = {"device": torch.device("cpu"), "precision": "float32"}
    features = _inter(model, row, sampling, **here)
    with torch.inference_mode():
        scored = [_score(model, f, e) for f, e in branch_outputs(model, clips, features, **here)]
    calibrated = [np.asarray(checkpoint.calibration.to_score(one)) for one in np.concatenate(scored)]
    draws = [generator(key.seed(row["content_sha256"], "skip_sampling", draw)) for draw in range(num_draws)]
    moments = np.concatenate([skip_sample(_num_moments(row), sampling, rng) for rng in draws])
    centres = np.concatenate([_centres(clip, len(scored[0])) for clip in moments])
    order = np.argsort(centres, kind="stable")
    scores = np.stack(calibrated)[order]
    grid = round((scores.shape[1] - 1) ** 0.5)
    return CloseUp(
        video_id=video_id,
        num_draws=num_draws,
        is_of_report=key.key_id == key_id,
        seconds=centres[order] / row["fps"] if row["fps"] else np.zeros(len(order)),
        scores=scores[:, 0],
        local_scores=scores[:, 1:].reshape(len(order), grid, grid),
        pictures=_pictures(centres[order], row, sampling),
    )


def _sampled(
    video_id: str,
    uri: str,
    *,
    content_sha256: str,
    sampling: SamplingConfig,
    key: Key,
    num_draws: int,
    rendition: Rendition | None,
) -> Row:
    table = pa.Table.from_pylist([{ROW_KEY: video_id, "video_id": video_id, "uri": uri}], schema=MANIFEST)
    decode = Decode(sampling=sampling, key=key, num_draws=num_draws, scratch_dir=None, rendition=rendition)
    (sampled,) = decode(table)
    (before,) = rows_of(sampled)
    if before["content_sha256"] not in (content_sha256, None):
        now = f"its bytes are {before['content_sha256']}, and {content_sha256} were scored"
        raise RunError(f"video {video_id!r} is no longer the one of the report: {now}")
    (fragmented,) = Fragment(sampling=sampling)(sampled)
    (row,) = rows_of(fragmented)
    if row["status"] == FAILED:
        raise RunError(f"video {video_id!r} cannot be looked at: {row['error_code']}, {row['error_message']}")
    return row | {"segments": before["segments"], "frames": before["frames"]}


def _inter(model: Any, row: Row, sampling: SamplingConfig, **here: Any) -> NDArray[np.float32] | None:
    """Return (1, segments, channels), as scoring has it."""
    if not sampling.num_segments:
        return None
    segments = pixels_of(row, "segments", np.int64, sampling.num_segments, sampling.segment_frames)
    return inter_features(
        model.inter, _frames(row, sampling), segments, row["inter_seeds"], sampling=sampling, **here
    )


def _frames(row: Row, sampling: SamplingConfig) -> NDArray[np.uint8]:
    side = sampling.segment_side
    return pixels_of(row, "frames", np.uint8, -1, side, side, 3)


def _score(model: Any, f: torch.Tensor, e: torch.Tensor | None) -> NDArray[np.float64]:
    """Return raw scores (t, 1 + h * w): of each position as a whole, then of each place in it alone."""
    whole = _head(model, f, e)
    places = f[0].permute(2, 3, 0, 1).flatten(0, 1)[..., None, None]  # (h * w, c, t, 1, 1)
    local = _head(model, places, None if e is None else e.expand(len(places), -1, -1))
    scores: NDArray[np.float64] = torch.cat([whole, local]).T.double().numpy()
    return scores


def _head(model: Any, f: torch.Tensor, e: torch.Tensor | None) -> torch.Tensor:
    scores: torch.Tensor = model.head(f, e)
    return scores


def _num_moments(row: Row) -> int:
    """Return how many moments samples were drawn from, by the clock that `fps` and the duration are of."""
    if row["fps"] is None or row["duration_seconds"] is None:
        return int(row["num_frames"])
    num_moments: int = round(row["fps"] * row["duration_seconds"])
    return max(1, num_moments)


def _centres(clip: NDArray[np.int64], num_positions: int) -> NDArray[np.float64]:
    """Return the mean moment behind each temporal position of a clip."""
    parts = np.array_split(clip, num_positions)
    return np.array([part.mean() if len(part) else clip[-1] for part in parts], dtype=np.float64)


def _pictures(centres: NDArray[np.float64], row: Row, sampling: SamplingConfig) -> NDArray[np.uint8]:
    if not sampling.num_segments:
        return np.zeros((len(centres), 1, 1, 3), np.uint8)
    segments = pixels_of(row, "segments", np.int64, sampling.num_segments, sampling.segment_frames)
    starts = continuous_sample(_num_moments(row), sampling)[:, 0]
    nearest = np.abs(starts[None] - centres[:, None]).argmin(axis=1)
    chosen: NDArray[np.uint8] = _frames(row, sampling)[segments[nearest, 0]]
    return chosen
