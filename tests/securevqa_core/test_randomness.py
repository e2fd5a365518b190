"""Whoever has the key reproduces every number; the key itself is nowhere to be seen."""

from __future__ import annotations

import hashlib
import logging
import pickle
import subprocess
import sys
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from securevqa_core.errors import ConfigurationError, an
from securevqa_core.randomness import KEY_VARIABLE, Key, generator

SECRET = b"correct horse battery staple"
SHA = hashlib.sha256(b"a video").hexdigest()
PURPOSES = ("skip_sampling", "grid_sampling", "guardian_intra", "guardian_inter")

# What one seed gave when this was written: a change here changes every score ever reported.
FROZEN_SEED = "c25b1353b6db00b55918426a8552652c3726f49e8d43dbc5f5e4176170966af9"
FROZEN_INTEGERS = [526, 481, 685, 14, 265]
FROZEN_BYTES = [252, 177, 69, 202]


def _keyed(folder: Path, secret: bytes = SECRET) -> Key:
    path = folder / "key"
    path.write_bytes(secret)
    return Key.from_file(path)


def _hmac_sha256(key: bytes, message: bytes) -> bytes:
    """RFC 2104, written out."""
    padded = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in padded) + inner).digest()


@pytest.mark.parametrize("secret", [SECRET, b"k" * 200])
@pytest.mark.parametrize("draw", [0, 12])
def test_a_seed_is_the_hmac_of_content_purpose_and_draw(tmp_path: Path, secret: bytes, draw: int) -> None:
    expected = _hmac_sha256(secret, f"{SHA}|grid_sampling|{draw}".encode())
    assert _keyed(tmp_path, secret).seed(SHA, "grid_sampling", draw) == expected


def test_the_numbers_of_one_seed_never_change() -> None:
    seed = Key.public(1).seed(SHA, "skip_sampling", 0)
    assert seed.hex() == FROZEN_SEED
    rng = generator(seed)
    assert rng.integers(0, 1000, 5).tolist() == FROZEN_INTEGERS
    assert rng.integers(0, 256, 4, dtype=np.uint8).tolist() == FROZEN_BYTES


def test_every_video_purpose_draw_and_key_has_numbers_of_its_own() -> None:
    other = hashlib.sha256(b"a vide0").hexdigest()  # one byte of the content differs
    seeds = [
        key.seed(sha, purpose, draw)
        for key in (Key.public(1), Key.public(2))
        for sha in (SHA, other)
        for purpose in PURPOSES
        for draw in range(5)
    ]
    firsts = [tuple(generator(seed).integers(0, 2**63, 4)) for seed in seeds]
    assert len(set(firsts)) == len(seeds)
    assert max(Counter(number for first in firsts for number in first).values()) == 1


def test_the_same_key_gives_the_same_numbers_in_another_process(tmp_path: Path) -> None:
    key = _keyed(tmp_path)
    code = (
        "import sys; from securevqa_core.randomness import generator, Key;"
        "key = Key.from_file(sys.argv[1]);"
        "rng = generator(key.seed(sys.argv[2], 'guardian_intra', 3));"
        "print(rng.integers(0, 10**9, 8).tolist(), key.key_id)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "key"), SHA],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    numbers = generator(key.seed(SHA, "guardian_intra", 3)).integers(0, 10**9, 8).tolist()
    assert done.stdout.strip() == f"{numbers} {key.key_id}"


def test_a_pickled_key_is_the_same_key(tmp_path: Path) -> None:
    key = _keyed(tmp_path)
    copy = pickle.loads(pickle.dumps(key))
    assert (copy.key_id, copy.randomness) == (key.key_id, "keyed")
    assert copy.seed(SHA, "grid_sampling", 0) == key.seed(SHA, "grid_sampling", 0)


def test_the_key_is_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = _keyed(tmp_path)
    shown = [repr(key), str(key), f"{key}", f"{key!r:>80}", repr([key]), repr({"key": key})]
    shown.append(repr(pickle.loads(pickle.dumps(key))))
    logging.getLogger("any").warning("the key is %s", key)
    shown.append(caplog.text)
    try:
        key.seed(SHA, "grid_sampling", object().missing)  # type: ignore[attr-defined]
    except AttributeError as error:
        shown += ["".join(traceback.format_exception(error)), str(error)]
    for text in shown:
        for secret in (SECRET.decode(), SECRET.hex(), repr(SECRET)):
            assert secret not in text
    assert "key_id=" in repr(key)


def test_the_key_id_does_not_give_the_key_away(tmp_path: Path) -> None:
    key = _keyed(tmp_path)
    assert len(key.key_id) == 16
    assert key.key_id == _hmac_sha256(SECRET, b"securevqa key id").hex()[:16]
    assert not hasattr(key, "__dict__")


def test_a_key_file_may_end_in_white_space(tmp_path: Path) -> None:
    assert _keyed(tmp_path, SECRET + b"\r\n \n").key_id == _keyed(tmp_path).key_id


TEXT = "schlüssel, geheim und lang genug"


@pytest.mark.parametrize(
    "saved",
    [
        TEXT.encode(),
        f"{TEXT}\n".encode(),
        f"{TEXT}\r\n".encode(),
        f" \t{TEXT} \r\n\n".encode(),
        f"\ufeff{TEXT}\r\n".encode(),
        f"\ufeff{TEXT}\r\n".encode("utf-16-le"),
        f"\ufeff{TEXT}\n".encode("utf-16-be"),
        f"{TEXT}\u00a0\n".encode(),
    ],
    ids=range(8),
)
def test_one_text_is_one_key_however_it_is_saved_and_in_the_environment(tmp_path: Path, saved: bytes) -> None:
    expected = Key(TEXT.encode(), randomness="keyed").key_id
    assert _keyed(tmp_path, saved).key_id == expected
    if b"\0" not in saved:  # which no environment holds
        key = Key.from_environment({KEY_VARIABLE: saved.decode("utf-8", "surrogateescape")})
        assert key is not None
        assert key.key_id == expected


def test_lines_of_a_text_may_end_in_either_way(tmp_path: Path) -> None:
    lines = b"-----KEY-----\nline one\nline two\n"
    assert _keyed(tmp_path, lines).key_id == _keyed(tmp_path, lines.replace(b"\n", b"\r\n")).key_id


@pytest.mark.parametrize("start", [b"\r\n", b"\xff\xfe", b"\xef\xbb\xbf", b" "])
def test_bytes_that_are_no_text_stay_as_they_are(tmp_path: Path, start: bytes) -> None:
    secret = start + bytes(range(1, 32)) + b"\xff"
    assert _keyed(tmp_path, secret).key_id == Key(secret, randomness="keyed").key_id
    assert _keyed(tmp_path, secret + b"\r\n").key_id == Key(secret, randomness="keyed").key_id


def test_the_draws_of_a_file_have_the_seeds_of_the_key() -> None:
    key = Key.public(1)
    draws = [{purpose: getattr(draw, purpose) for purpose in PURPOSES} for draw in key.draws(SHA, 3)]
    assert draws == [{purpose: key.seed(SHA, purpose, draw) for purpose in PURPOSES} for draw in range(3)]


def test_a_key_file_may_hold_any_bytes(tmp_path: Path) -> None:
    assert _keyed(tmp_path, bytes(range(255, 200, -1))).randomness == "keyed"


def test_a_short_key_file_is_refused_by_name_and_length(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"key' must hold at least 16 bytes, got 15") as caught:
        _keyed(tmp_path, b"fifteen bytes..")
    assert "fifteen bytes" not in str(caught.value)


def test_a_key_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no-such-key' cannot be read: No such file"):
        Key.from_file(tmp_path / "no-such-key")
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        Key.from_file(tmp_path)


def test_a_key_variable_that_is_not_set_means_no_key() -> None:
    assert Key.from_environment({}) is None


def test_a_key_variable_is_read_without_the_white_space_around_it(tmp_path: Path) -> None:
    key = Key.from_environment({KEY_VARIABLE: f" {SECRET.decode()}\n"})
    assert key is not None
    assert (key.key_id, key.randomness) == (_keyed(tmp_path).key_id, "keyed")


@pytest.mark.parametrize("value", ["", "   ", "short"])
def test_a_key_variable_that_is_set_but_too_short_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{KEY_VARIABLE} must hold at least 16 bytes, got"):
        Key.from_environment({KEY_VARIABLE: value})


def test_no_two_ephemeral_keys_are_the_same() -> None:
    keys = [Key.ephemeral() for _ in range(3)]
    assert len({key.key_id for key in keys}) == 3
    assert {key.randomness for key in keys} == {"ephemeral"}


def test_a_public_seed_says_so_and_is_everyones() -> None:
    assert Key.public(7).randomness == "public"
    assert Key.public(7).key_id == Key.public(7).key_id != Key.public(8).key_id


def test_a_key_is_made_of_bytes_and_a_public_one_of_a_whole_number() -> None:
    for secret in ("a text of more than sixteen", bytearray(32), 7):
        with pytest.raises(ConfigurationError, match=f"Key or bytes, got {an(type(secret).__name__)}"):
            Key(secret, randomness="keyed")  # type: ignore[arg-type]
    for seed in ("7", 2.5, None):
        with pytest.raises(ConfigurationError, match=f"seed must be a whole number, got {seed!r}"):
            Key.public(seed)  # type: ignore[arg-type]
    assert Key.public(np.int64(7)).key_id == Key.public(7).key_id  # type: ignore[arg-type]


def test_a_short_secret_is_no_key() -> None:
    with pytest.raises(ConfigurationError, match="at least 16 bytes, got 3"):
        Key(b"abc", randomness="keyed")


def test_a_seed_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="seed must have 32 bytes, got 31"):
        generator(b"x" * 31)


def test_every_bit_of_a_seed_counts() -> None:
    base = bytes(32)
    flipped = [
        bytes(b ^ (1 << bit if i == at else 0) for i, b in enumerate(base))
        for at in range(32)
        for bit in (0, 7)
    ]
    streams = {tuple(generator(seed).integers(0, 2**63, 2)) for seed in [base, *flipped]}
    assert len(streams) == 65


def test_two_streams_of_one_key_never_run_into_each_other() -> None:
    """Philox counters start 2^128 blocks apart at least: the low half of the counter starts at zero."""
    state = generator(Key.public(1).seed(SHA, "guardian_intra", 0)).bit_generator.state["state"]
    assert state["counter"][:2].tolist() == [0, 0]
    assert state["counter"][2:].any()
    assert state["key"].any()
