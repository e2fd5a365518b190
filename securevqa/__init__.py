"""Scores how good videos look, without a reference: the Python face of SecureVQA.

import securevqa

securevqa.score("clip.mp4").score                       # one video
with securevqa.Scorer(key=key) as scorer:               # several: the model is loaded once
    scores = [one.score for one in scorer.score_many(paths)]

Importing this starts nothing and sets nothing; PyTorch is imported where the first `Scorer` is made.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os

    from securevqa_core.errors import CheckpointError, ConfigurationError
    from securevqa_core.randomness import Key
    from securevqa_core.scorer import Scorer, Video
    from securevqa_core.video_score import ClipScore, Failure, VideoScore
    from securevqa_core.weights import Checkpoint

    __version__: str

__all__ = [
    "CheckpointError",
    "ClipScore",
    "ConfigurationError",
    "Failure",
    "Key",
    "Scorer",
    "VideoScore",
    "__version__",
    "score",
]

_PLACES = {
    "CheckpointError": "errors",
    "ClipScore": "video_score",
    "ConfigurationError": "errors",
    "Failure": "video_score",
    "Key": "randomness",
    "Scorer": "scorer",
    "VideoScore": "video_score",
}


def score(
    video: Video,
    *,
    checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
    key: Key | bytes | None = None,
    fps: float | None = None,
) -> VideoScore:
    """Score one video; for more than one, a `Scorer` loads the model once.

    Args:
        video: the path of a file, a file's bytes, a file that is open for them, or frames: an array or a
            tensor (t, h, w, 3) uint8, RGB.
        checkpoint: the name of a model that ships, the path of a file, or a checkpoint; None: the default.
        key: decides where the score looks; None takes `SECUREVQA_KEY`, or else makes one for this call, and
            another call then scores the same video a little apart.
        fps: frames a second, of frames; a file has its own.

    Returns:
        The score, or why there is none: a file that cannot be scored raises nothing.

    Raises:
        ConfigurationError: an argument is none of these.
        CheckpointError: the checkpoint is missing or damaged.
    """
    from securevqa_core.scorer import Scorer  # noqa: PLC0415 - NumPy and PyAV, which `import` need not wait for

    with Scorer(checkpoint, key=key) as scorer:
        return scorer.score(video, fps=fps)


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for."""
    if name == "__version__":
        return import_module("importlib.metadata").version("securevqa")
    if name in _PLACES:
        return getattr(import_module(f"securevqa_core.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'securevqa' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
