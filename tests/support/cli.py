"""Runs the command line as people do, and reads what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators.storage import open_filesystem
from pipeline.cli import main

__all__ = ["call", "finish", "read_json", "read_report", "securevqa", "start", "wait_until"]

SECONDS = 240


def start(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start `securevqa` with `arguments`; variables of `env` are added, those set to "" are removed."""
    variables = {name: value for name, value in (dict(os.environ) | dict(env or {})).items() if value}
    command = [str(Path(sys.executable).with_name("securevqa")), *arguments]
    return subprocess.Popen(
        command,
        env=variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Wait for a started command."""
    try:
        output, complaints = process.communicate(timeout=SECONDS)
    except BaseException:  # a test that is interrupted leaves no driver behind
        process.kill()
        process.communicate()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, complaints)


def securevqa(
    *arguments: str, env: Mapping[str, str] | None = None, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run `securevqa` to its end and require an exit code."""
    done = finish(start(*arguments, env=env))
    assert done.returncode == code, f"{arguments} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done


def call(*arguments: str) -> int:
    """Run `securevqa` in this process, for calls that end before Ray starts; returns the exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["securevqa", *arguments])
        for name, value in os.environ.items():
            patch.setenv(name, value)  # so that what the command forgets comes back
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0)


def read_json(uri: str) -> dict[str, Any]:
    fs, path = open_filesystem(uri)
    content: dict[str, Any] = json.loads(fs.cat_file(path))
    return content


def read_report(uri: str) -> pa.Table:
    """The rows of a run directory's report, as its readers see them."""
    fs, path = open_filesystem(f"{uri}/report")
    names = sorted(fs.find(path))
    assert names, f"no report under {uri}"
    assert all(name.endswith(".parquet") for name in names)
    return pa.concat_tables([pq.read_table(fs.open(name, "rb")) for name in names])


def wait_until(condition: Callable[[], bool], *, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)
