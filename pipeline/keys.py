"""Owns where the key comes from, and that the environment does not keep it."""

from __future__ import annotations

from pipeline.environment import forget
from securevqa_core.randomness import KEY_VARIABLE, Key

__all__ = ["forget_key_variable", "given_key"]


def given_key(key_file: str | None) -> Key | None:
    """Return the key of a file, else of `SECUREVQA_KEY`, which is forgotten; None where there is neither.

    Raises:
        ConfigurationError: the file cannot be read, or there are too few bytes.
    """
    try:
        return Key.from_file(key_file) if key_file is not None else Key.from_environment()
    finally:
        forget_key_variable()


def forget_key_variable() -> None:
    """Take `SECUREVQA_KEY` out of the environment, as `forget` does."""
    forget(KEY_VARIABLE)
