"""What a log says while a run goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from pipeline.scoring.shown import Reading, log_line

ROOT = Path(__file__).parents[3]


def test_a_line_of_the_log_is_json_with_the_run_s_id() -> None:
    now = Reading(total=10, done=4, failed=1, videos_per_second=0.25)
    assert json.loads(log_line(now, run_id="0123456789ab")) == {
        "event": "run_progress",
        "run_id": "0123456789ab",
        "total": 10,
        "done": 4,
        "failed": 1,
        "videos_per_second": 0.25,
        "seconds_left": 24,
    }


def test_the_time_left_of_a_run_that_has_finished_nothing_is_not_known() -> None:
    now = Reading(total=10, done=0, failed=0, videos_per_second=0.0)
    assert json.loads(log_line(now, run_id="r"))["seconds_left"] is None


def test_the_actor_that_is_told_loads_nothing_that_takes_time_to_load() -> None:
    counted = (
        "import sys; from pipeline.scoring.tally import Tally; "
        "heavy = {'numpy', 'operators', 'pandas', 'pyarrow', 'ray', 'rich', 'torch'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", counted], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
