"""What the page on the key says of Python: the program's environment is left alone, decoding is not told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import securevqa
from securevqa_core.randomness import KEY_VARIABLE, Key

SECRET = "correct horse battery staple"
PROGRAM = f"""
import json, os, subprocess, sys
from pathlib import Path
import securevqa
one = securevqa.score(b"no video")
with securevqa.Scorer() as scorer:
    second = scorer.score(b"no video")
    decoding = Path(f"/proc/{{scorer._sandbox.pid}}/environ").read_bytes()
child = "import os; from securevqa import Key; print(Key.from_environment().key_id)"
started = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)
print(json.dumps({{
    "keys": [one.key_id, second.key_id, started.stdout.strip()],
    "randomness": one.randomness,
    "environment": os.environ["{KEY_VARIABLE}"],
    "shown": Path("/proc/self/environ").read_bytes().count(b"{SECRET}"),
    "of_decoding": [b"PATH=" in decoding, b"{KEY_VARIABLE}" in decoding, b"{SECRET}" in decoding],
}}))
"""


@pytest.mark.slow
def test_a_scorer_reads_the_variable_and_leaves_it_to_the_program_and_what_it_starts() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=Path(securevqa.__file__).parents[1],
        env=os.environ | {KEY_VARIABLE: SECRET},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    key = Key.from_environment({KEY_VARIABLE: SECRET})
    assert key is not None
    assert json.loads(done.stdout) == {
        "keys": [key.key_id] * 3,
        "randomness": "keyed",
        "environment": SECRET,
        "shown": 1,
        "of_decoding": [True, False, False],
    }
