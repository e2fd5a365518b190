"""Owns the key and every random stream drawn from it.

One generator per (video, purpose, draw): whoever has the key reproduces every score, whoever lacks it cannot
predict a sample, and the same bytes always get the same draw, so asking again teaches nothing.
"""

from __future__ import annotations

import codecs
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np

from securevqa_core.errors import ConfigurationError, an
from securevqa_core.types import require_range

__all__ = [
    "KEY_VARIABLE",
    "MIN_KEY_BYTES",
    "DrawSource",
    "Key",
    "Purpose",
    "Randomness",
    "VideoDraw",
    "fresh_draws",
    "generator",
    "keyed_draws",
]

Purpose = Literal["skip_sampling", "grid_sampling", "guardian_intra", "guardian_inter"]
Randomness = Literal["keyed", "ephemeral", "public"]

KEY_VARIABLE = "SECUREVQA_KEY"
MIN_KEY_BYTES = 16
# What editors and shells put before a text to say how it is encoded.
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


class Key:
    """A secret from which per-video seeds are derived; never shown by `repr` or `str`.

    Build one with `from_file`, `from_environment`, `ephemeral` or `public`.
    """

    __slots__ = ("_secret", "key_id", "randomness")

    def __init__(self, secret: bytes, *, randomness: Randomness) -> None:
        if not isinstance(secret, bytes):
            raise ConfigurationError(f"key must be a Key or bytes, got {an(type(secret).__name__)}")
        if randomness != "public" and len(secret) < MIN_KEY_BYTES:
            raise ConfigurationError(f"a key must have at least {MIN_KEY_BYTES} bytes, got {len(secret)}")
        self._secret = secret
        self.randomness: Randomness = randomness
        self.key_id = hmac.new(secret, b"securevqa key id", hashlib.sha256).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"Key(key_id={self.key_id!r}, randomness={self.randomness!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self._secret, self.randomness)

    @classmethod
    def from_file(cls, path: str | Path) -> Key:
        """Read a key: a text, however it was saved, or else all bytes of `path` but white space at its end.

        Raises:
            ConfigurationError: the file cannot be read or holds fewer than `MIN_KEY_BYTES` bytes.
        """
        try:
            secret = _secret(Path(path).read_bytes())
        except OSError as error:
            raise ConfigurationError(f"key file {str(path)!r} cannot be read: {error.strerror}") from error
        if len(secret) < MIN_KEY_BYTES:
            raise ConfigurationError(
                f"key file {str(path)!r} must hold at least {MIN_KEY_BYTES} bytes, got {len(secret)}"
            )
        return cls(secret, randomness="keyed")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Key | None:
        """Read the key from `SECUREVQA_KEY`, as from a file that holds it; None where it is not set.

        Raises:
            ConfigurationError: it is set to fewer than `MIN_KEY_BYTES` bytes.
        """
        value = environment.get(KEY_VARIABLE)
        if value is None:
            return None
        secret = _secret(value.encode(errors="surrogateescape"))
        if len(secret) < MIN_KEY_BYTES:
            raise ConfigurationError(
                f"{KEY_VARIABLE} must hold at least {MIN_KEY_BYTES} bytes, got {len(secret)}"
            )
        return cls(secret, randomness="keyed")

    @classmethod
    def ephemeral(cls) -> Key:
        """Make a key that no one can use again."""
        return cls(secrets.token_bytes(32), randomness="ephemeral")

    @classmethod
    def public(cls, seed: int) -> Key:
        """Make the key that everyone has who knows `seed`: for research, never for publication.

        Raises:
            ConfigurationError: `seed` is no whole number.
        """
        if not isinstance(seed, Integral):  # 2.5 would be the key of 2
            raise ConfigurationError(f"seed must be a whole number, got {seed!r}")
        return cls(b"public seed %d" % seed, randomness="public")

    def seed(self, content_sha256: str, purpose: Purpose, draw: int) -> bytes:
        """Return the 32-byte seed HMAC-SHA256(key, content_sha256 | purpose | draw)."""
        message = f"{content_sha256}|{purpose}|{draw}".encode()
        return hmac.new(self._secret, message, hashlib.sha256).digest()

    def draws(self, content_sha256: str, num_draws: int) -> tuple[VideoDraw, ...]:
        """Return the draws that a scoring run with this key makes of a file."""
        return keyed_draws(self, content_sha256, num_draws)


def _secret(given: bytes) -> bytes:
    """Return what a key is made of: one text is one key, whatever mark, line ends and white space it has."""
    encoding = next((name for mark, name in _MARKS if given.startswith(mark)), "utf-8")
    try:
        text = given.decode(encoding).removeprefix("\ufeff").strip().replace("\r\n", "\n")
    except UnicodeDecodeError:
        return given.rstrip()
    is_text = all(char.isprintable() or char in "\t\n" for char in text)
    return text.encode() if is_text else given.rstrip()


def _rebuild(secret: bytes, randomness: Randomness) -> Key:
    return Key(secret, randomness=randomness)


def generator(seed: bytes) -> np.random.Generator:
    """Return the generator for a 32-byte `seed`: Philox with a 128-bit key and a 128-bit start.

    Raises:
        ValueError: `seed` has another length.
    """
    if len(seed) != 32:
        raise ValueError(f"seed must have 32 bytes, got {len(seed)}")
    words = np.frombuffer(seed, dtype="<u8")
    counter = np.concatenate([np.zeros(2, dtype=np.uint64), words[2:]])
    return np.random.Generator(np.random.Philox(key=words[:2], counter=counter))


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoDraw:
    """The 32-byte seeds of everything random in one draw of one video."""

    skip_sampling: bytes = field(repr=False)
    grid_sampling: bytes = field(repr=False)
    guardian_intra: bytes = field(repr=False)
    guardian_inter: bytes = field(repr=False)


class DrawSource(Protocol):
    """Whatever gives the draws of a file: the key itself, or somebody who can ask it."""

    def draws(self, content_sha256: str, num_draws: int) -> tuple[VideoDraw, ...]:
        """Return the draws that a scoring run makes of the file with this content."""


def keyed_draws(key: Key, content_sha256: str, num_draws: int) -> tuple[VideoDraw, ...]:
    """Return the draws that a scoring run with `key` makes of a file."""
    require_range("num_draws", num_draws, low=1, high=4096)
    purposes = get_args(Purpose)
    return tuple(
        VideoDraw(**{purpose: key.seed(content_sha256, purpose, draw) for purpose in purposes})
        for draw in range(num_draws)
    )


def fresh_draws(rng: np.random.Generator, num_draws: int) -> tuple[VideoDraw, ...]:
    """Return draws that no key made: an attacker's guesses, or a file's whose bytes have changed."""
    require_range("num_draws", num_draws, low=1, high=4096)
    return tuple(
        VideoDraw(**{purpose: rng.bytes(32) for purpose in get_args(Purpose)}) for _ in range(num_draws)
    )
