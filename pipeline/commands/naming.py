"""Owns what settings are called on the command line: errors name the option, `--draws`, and not a keyword.

Configurations are made from Python too, and name their fields: `draws must be in 1..16, got 0`. The same text
reaches a terminal through `options_named`, as `--draws must be in 1..16, got 0`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from securevqa_core.errors import CallError

__all__ = ["called", "given_text", "option_of", "options_named"]

# Fields that an option sets under another name, in commands that have it.
_ALSO = {
    "clip_seconds": "seconds",
    "codec_crfs": "crf",
    "key file": "key_file",
    "label range": "label_range",
    "model": "arch",
    "num_cached_draws": "cached_draws",
    "num_repeats": "repeats",
    "num_resamples": "resamples",
    "num_splits": "splits",
    "quiet": "quiet_levels",
}
# What follows a setting that a message begins with, and no file that is called by its kind, say.
_RULE = r"(?: '[^']*'| [a-z]+)? (?:must|needs?|cannot|holds|excludes?)\b| (?:>|above) | of \S+ are "


def option_of(name: str) -> str:
    """Return the option that sets a parameter: `max_bytes` -> `--max-bytes`."""
    return f"--{name.replace('_', '-')}"


def given_text(value: object) -> str:
    """Return how a message ends that names an option: with its value, and of a flag without."""
    return "" if value is True else f", got {value!r}"


@contextlib.contextmanager
def called(**names: str) -> Iterator[None]:
    """Let errors of the block name a field as another: `called(timeout_seconds="decode_timeout")`."""
    with _renamed(names):
        yield


@contextlib.contextmanager
def options_named(parameters: Iterable[Any]) -> Iterator[None]:
    """Let errors of the block name what people typed in place of the parameters, Click's, of a command."""
    shown = {}
    for one in parameters:
        is_argument = one.param_type_name == "argument"
        shown[one.name] = one.metavar or one.name.upper() if is_argument else one.opts[0]
        if not is_argument:
            shown[one.opts[0].removeprefix("--").replace("-", "_")] = one.opts[0]
    also = {field: shown[name] for field, name in _ALSO.items() if name in shown}
    with _renamed({**shown, **also}):
        yield


@contextlib.contextmanager
def _renamed(names: Mapping[str, str]) -> Iterator[None]:
    try:
        yield
    except CallError as error:
        error.args = (_with_names(str(error), names),)
        raise


def _with_names(text: str, names: Mapping[str, str]) -> str:
    """Name the settings that a message begins with, and those in it whose names are no words of English."""
    known = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    subject = re.match(rf"(?:{known})(?: (?:x|\+|and) (?:{known}))*(?={_RULE})", text)
    if subject is None or (text.startswith(" '", subject.end()) and names.get(subject[0], "").isupper()):
        return text  # `checkpoint 'a.safetensors' cannot be read` is plain of an argument

    def shown(found: re.Match[str]) -> str:
        return names[found[0]] if found.start() < subject.end() or _is_code(found) else found[0]

    return re.sub(rf"(?<![\w'\"/.-])(?:{known})(?![\w'\"/.-])", shown, text)


def _is_code(found: re.Match[str]) -> bool:
    return "_" in found[0] or found.string.startswith("=", found.end())
