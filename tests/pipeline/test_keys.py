"""The key's variable is gone once it was read: from the environment, and from the memory that shows it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.commands.options import ScoreOptions
from pipeline.environment import forget_credentials
from pipeline.keys import forget_key_variable, given_key
from securevqa_core.errors import ConfigurationError
from securevqa_core.randomness import KEY_VARIABLE, Key

SECRET = "correct horse battery staple"
SHOWS = """
import os
from pathlib import Path
from pipeline.keys import given_key
before = Path("/proc/self/environ").read_bytes()
key = given_key(None)
after = Path("/proc/self/environ").read_bytes()
child = os.popen("env").read()
print(before.count(b"battery"), after.count(b"battery"), len(before) - len(after))
print(child.count("SECUREVQA_KEY"), "SECUREVQA_KEY" in os.environ, os.environ["OTHER"], key.key_id)
"""


def test_what_the_process_was_started_with_is_overwritten() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHOWS],
        env=os.environ | {KEY_VARIABLE: SECRET, "OTHER": "kept"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    key = Key.from_environment({KEY_VARIABLE: SECRET})
    assert key is not None
    assert done.stdout.splitlines() == ["1 0 0", f"0 False kept {key.key_id}"]


def test_a_key_of_a_file_comes_first_and_the_variable_goes_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text("another key, of a file\n")
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    key = given_key(str(tmp_path / "key"))
    assert key is not None
    assert key.key_id == Key.from_file(tmp_path / "key").key_id
    assert KEY_VARIABLE not in os.environ


def test_with_a_public_seed_the_variable_goes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    assert ScoreOptions(seed=7).key().randomness == "public"
    assert KEY_VARIABLE not in os.environ


def test_a_variable_that_is_no_key_is_refused_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "short")
    with pytest.raises(ConfigurationError, match="got 5"):
        given_key(None)
    assert KEY_VARIABLE not in os.environ
    assert given_key(None) is None
    forget_key_variable()  # nothing to forget is no error


def test_credentials_of_every_kind_go_and_the_rest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = (
        "AWS_SECRET_ACCESS_KEY",
        "AWS_PROFILE",
        "AZURE_STORAGE_SAS",
        "HF_TOKEN",
        "DB_PASSWORD",
        KEY_VARIABLE,
    )
    for name in (*secrets, "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "7")
    forget_credentials()
    assert not set(secrets) & set(os.environ)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "PATH" in os.environ
