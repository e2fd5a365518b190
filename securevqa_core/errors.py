"""Owns every error this project raises on purpose, and the stable code each one carries.

    SecureVqaError
    ├── CallError            the call was wrong, nothing was started      exit code 2
    │   ├── ConfigurationError
    │   └── ManifestError
    ├── RunError             the run itself failed                        exit code 1
    │   ├── CheckpointError
    │   ├── DatasetError     a data set cannot be built, or a clip not be made again
    │   ├── OutputError
    │   └── UndefinedError   a statistic or a fit has no value for the data
    └── VideoError           one video could not be scored                a row of the report
        ├── FetchError
        ├── DecodeError
        └── ScoreError

A call that names a run or a checkpoint where there is none is wrong, and caught with what is broken:
AbsentRunError is a CallError and an OutputError, AbsentCheckpointError a CallError and a CheckpointError.

Errors that come from outside are chained and name the path or URI. No message carries a key, a credential or
a query string.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = [
    "ERROR_CODES",
    "AbsentCheckpointError",
    "AbsentRunError",
    "CallError",
    "CheckpointError",
    "ConfigurationError",
    "DatasetError",
    "DecodeError",
    "ErrorCode",
    "FetchError",
    "ManifestError",
    "OutputError",
    "RunError",
    "ScoreError",
    "SecureVqaError",
    "UndefinedError",
    "VideoError",
    "an",
    "did_you_mean",
    "may_pass",
    "or_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorCode:
    """What a report's `error_code` means."""

    stage: str  # the stage that failed: manifest, fetch, decode or score
    retryable: bool  # True where the same file may succeed another time
    meaning: str  # one sentence for a runbook


def _code(stage: str, meaning: str, *, retryable: bool = False) -> ErrorCode:
    return ErrorCode(stage=stage, retryable=retryable, meaning=meaning)


ERROR_CODES: dict[str, ErrorCode] = {
    "row_incomplete": _code(
        "manifest", "the manifest's row has no URI, or no video_id where others have one"
    ),
    "row_repeated": _code("manifest", "the manifest's row is of the same video as an earlier one"),
    "scheme_not_allowed": _code("manifest", "the URI's scheme is not one of --allow-scheme"),
    "fetch_not_found": _code("fetch", "no object at the URI, or a folder or FIFO in its place"),
    "fetch_denied": _code("fetch", "the store refused the credentials or the access", retryable=True),
    "fetch_unreachable": _code(
        "fetch", "the store could not be reached or did not answer in time", retryable=True
    ),
    "fetch_redirect_refused": _code(
        "fetch",
        "the web server sends on to plain http, to an address that is not public, or on and on",
        retryable=True,
    ),
    "fetch_too_large": _code("fetch", "the object is larger than --max-bytes"),
    "fetch_failed": _code("fetch", "the store failed in another way", retryable=True),
    "scratch_full": _code("fetch", "the scratch disk is full", retryable=True),
    "empty_file": _code("decode", "the object has no bytes"),
    "not_a_video": _code("decode", "no allowed container recognises the bytes, or an MP4 has lost its index"),
    "container_not_allowed": _code("decode", "the container is recognised but not on the allow-list"),
    "codec_not_allowed": _code("decode", "the video codec is not on the allow-list"),
    "no_video_stream": _code("decode", "the file holds no video stream (audio only, for example)"),
    "picture_too_late": _code("decode", "the picture begins too far behind the sound to be found"),
    "no_frames": _code("decode", "the video stream holds no frame that can be decoded"),
    "too_many_pixels": _code("decode", "a frame has more pixels than the limit"),
    "too_many_streams": _code("decode", "the file has more streams than the limit"),
    "too_long": _code("decode", "the video lasts longer than the limit"),
    "display_not_understood": _code(
        "decode", "what a player would show cannot be told or made here, so it was not scored"
    ),
    "decode_corrupt": _code("decode", "too few of the sampled frames could be decoded"),
    "decode_failed": _code("decode", "the decoder refused the file"),
    "decode_timeout": _code("decode", "decoding outlasted --decode-timeout and was killed"),
    "decode_crashed": _code("decode", "the decoder process died and was replaced"),
    "decode_memory": _code("decode", "the decoder outgrew its memory limit"),
    "rendition_failed": _code("decode", "what viewers would get could not be encoded, of --as-delivered"),
    "score_not_finite": _code("score", "the model returned a value that is not finite"),
    "worker_lost": _code("score", "no worker returned the row, on any attempt", retryable=True),
    "internal_error": _code("score", "an unexpected error; a defect of this project", retryable=True),
}


def may_pass(code: str) -> bool:
    """Tell whether what failed with a code may succeed another time; of another version's codes none may."""
    return code in ERROR_CODES and ERROR_CODES[code].retryable


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """Return a hint to the one of `known` that a misspelt word is most like, in any case; "" if none is."""
    by_lower = {name.lower(): name for name in known}
    like = difflib.get_close_matches(text.lower(), by_lower, n=1)
    return f" (did you mean {by_lower[like[0]]!r}?)" if like else ""


def an(noun: str) -> str:
    """Return a noun, of a type or a model, after a or an, as it is spoken; None has no article."""
    if noun == "NoneType":
        return "None"
    return f"{'an' if _SPOKEN_AS_VOWEL.match(noun) else 'a'} {noun}"


_SPOKEN_AS_VOWEL = re.compile(r"[aeio]|hvs|mdt|ndarray|nss", re.IGNORECASE)  # some letter by letter


def or_of(text: str, known: Sequence[str]) -> str:
    """Return a hint to the one of `known` that a misspelt word is most like, or else all there are."""
    return did_you_mean(text, known) or f", only {', '.join(known)}"


class SecureVqaError(Exception):
    """Root of the tree."""


class CallError(SecureVqaError):
    """The call was wrong; nothing was started."""


class ConfigurationError(CallError, ValueError):
    """A setting is outside its documented range; a ValueError too, as Python's own of a wrong value."""


class ManifestError(CallError):
    """The manifest is missing, unreadable or breaks a rule."""


class RunError(SecureVqaError):
    """The run itself failed."""


class CheckpointError(RunError):
    """A checkpoint file is missing, damaged or of another architecture."""


class DatasetError(RunError):
    """A data set cannot be made or read."""


class OutputError(RunError):
    """The output location cannot be written or holds something else."""


class AbsentCheckpointError(CallError, CheckpointError):
    """There is no checkpoint where the call names one."""


class AbsentRunError(CallError, OutputError):
    """There is no finished run where the call names one."""


class UndefinedError(RunError):
    """A statistic or a fit has no value for the data it was given, constants for example."""


class VideoError(SecureVqaError):
    """One video could not be scored; becomes a row with `code` and `stage`.

    Raises:
        KeyError: `code` is not in `ERROR_CODES`.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.stage = ERROR_CODES[code].stage
        self.known: dict[str, object] = {}  # columns of the row that were known when it failed
        super().__init__(message)

    def __reduce__(self) -> tuple[type[VideoError], tuple[str, str]]:
        return type(self), (self.code, str(self))


class FetchError(VideoError):
    """The bytes could not be brought to this machine."""


class DecodeError(VideoError):
    """The bytes could not be turned into frames."""


class ScoreError(VideoError):
    """The model could not turn frames into a score."""
