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
    words: str  # what these scores are, for people
    seconds: NDArray[np.float64]  # (n,) into the video, of each position; frame numbers without a rate
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
    words: str,
    rendition: Rendition | None = None,
) -> CloseUp:
    """Score one video here, without pooling; its first draw only.

    Args:
        video_id: of the report.
        uri: where its bytes are.
        content_sha256: of the bytes that were scored.
        checkpoint: that scored it; of a model with two branches or a map of places.
        key: with the report's own key these are the scores that its first draw was made of.
        words: what to say of them.
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
        video_id, uri, content_sha256=content_sha256, sampling=sampling, key=key, rendition=rendition
    )
    side = sampling.fragment_side
    clips = pixels_of(row, "fragments", np.uint8, 1, sampling.num_clips, sampling.clip_frames, side, side, 3)
    here: dict[str, Any] = {"device": torch.device("cpu"), "precision": "float32"}
    features = _inter(model, row, sampling, **here)
    with torch.inference_mode():
        scored = [_score(model, f, e) for f, e in branch_outputs(model, clips, features, **here)]
    calibrated = [np.asarray(checkpoint.calibration.to_score(one)) for one in np.concatenate(scored)]
    return _in_time(video_id, np.stack(calibrated), row, sampling, key, words=words)


def _sampled(
    video_id: str,
    uri: str,
    *,
    content_sha256: str,
    sampling: SamplingConfig,
    key: Key,
    rendition: Rendition | None,
) -> Row:
    table = pa.Table.from_pylist([{ROW_KEY: video_id, "video_id": video_id, "uri": uri}], schema=MANIFEST)
    decode = Decode(sampling=sampling, key=key, num_draws=1, scratch_dir=None, rendition=rendition)
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
        model.inter, _frames(row, sampling), segments, row["inter_seeds"][:1], sampling=sampling, **here
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


def _in_time(
    video_id: str, scores: NDArray[np.float64], row: Row, sampling: SamplingConfig, key: Key, *, words: str
) -> CloseUp:
    """Put the positions of all clips in order of the moments that they stand for."""
    rng = generator(key.seed(row["content_sha256"], "skip_sampling", 0))
    clips = skip_sample(_num_moments(row), sampling, rng)  # (clips, d)
    per_clip = len(scores) // sampling.num_clips
    centres = np.concatenate([_centres(clip, per_clip) for clip in clips])
    order = np.argsort(centres, kind="stable")
    grid = round((scores.shape[1] - 1) ** 0.5)
    return CloseUp(
        video_id=video_id,
        words=words,
        seconds=centres[order] / (row["fps"] or 1.0),
        scores=scores[order, 0],
        local_scores=scores[order, 1:].reshape(len(order), grid, grid),
        pictures=_pictures(centres[order], row, sampling),
    )


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
