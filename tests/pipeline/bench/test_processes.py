"""What a command costs counts what it starts, and names each process."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from pipeline.bench.processes import measured, securevqa_command
from securevqa_core.errors import RunError

BUSY = "import time; end = time.process_time() + 0.5\nwhile time.process_time() < end: pass\n"
LARGE = "held = bytearray(200 << 20); import time; time.sleep(0.3)"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY + LARGE!r}])"

EARLIER = """import pathlib, sys, time

def main():
    pathlib.Path(sys.argv[1]).touch()
    time.sleep(0.2)
"""


@pytest.mark.slow
def test_processor_seconds_and_memory_are_those_of_children_too() -> None:
    cost = measured([sys.executable, "-c", PARENT], timeout_seconds=60)
    assert 0.5 < cost.processor_seconds < 10
    assert cost.wall_seconds > 0.5
    assert 200e6 < cost.largest_bytes < 400e6
    assert cost.seen_seconds > 0.4  # of what was looked at, the child's too
    assert len(cost.processes) == 2
    assert min(one.start_seconds for one in cost.processes) == 0  # the command itself


@pytest.mark.slow
def test_a_command_that_fails_or_takes_long_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"raise SystemExit\(7\) ended with 7: .*odd"):
        measured([sys.executable, "-c", "print('odd'); raise SystemExit(7)"], timeout_seconds=60)
    mark = tmp_path / "pid"
    child = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with pytest.raises(RunError, match=r"took more than 2 s"):
        measured([sys.executable, "-c", parent], timeout_seconds=2)
    pid = int(mark.read_text())
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text():
            return
        time.sleep(0.05)
    pytest.fail(f"{pid} is still there")


def test_code_from_before_the_package_is_run_too(tmp_path: Path) -> None:
    cli = tmp_path / "pipeline" / "cli.py"
    cli.parent.mkdir()
    cli.write_text(EARLIER)
    ran = tmp_path / "ran"
    cost = measured(securevqa_command(str(ran), checkout=tmp_path), timeout_seconds=60, checkout=tmp_path)
    assert ran.exists()
    assert "securevqa" in cost.peak_bytes
