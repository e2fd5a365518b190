"""A longer manifest takes little more memory: of the driver as it plans, of driver and object store in a run.

SECUREVQA_PLAN=1000,1000000 SECUREVQA_SCALE=1000,10000,100000 SECUREVQA_SCORED=500 pytest -s TEST
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli import finish, read_json
from processes import descendants, object_store_megabytes, peak_megabytes, title

pytestmark = pytest.mark.ray

RUN_SIZES = [int(size) for size in os.environ.get("SECUREVQA_SCALE", "10,100").split(",")]
PLAN_SIZES = [int(size) for size in os.environ.get("SECUREVQA_PLAN", "1000,100000").split(",")]
NUM_SCORED = int(os.environ.get("SECUREVQA_SCORED", "10"))  # of a run; the others fail, and pass every stage
SUPPORT = Path(__file__).parents[2] / "support"
MAX_PLAN_BYTES = 2000  # a row
MAX_GROWTH_MEGABYTES = 200  # of a run
# Two slots decode on two cores, and what waits between the stages is bounded by Ray, not by the manifest.
MAX_STORE_MEGABYTES = 1000
PLANNING = """
import math, sys
from pipeline.runs.backlog import BacklogConfig, plan, read_tries
from pipeline.manifests.manifest import read_manifest
from pipeline.runs.row_keys import row_keys
from pipeline.scoring.run import MAX_TASKS
from pipeline.runs.rundir import RunDirectory
from pipeline.scoring.score import _fingerprint
from securevqa_core.scoring import Thresholds
from operators.read import ReadManifest
import pyarrow as pa
from processes import peak_megabytes
import os
manifest, state = read_manifest(sys.argv[1]), RunDirectory(sys.argv[2])
keys = row_keys(state, manifest, provenance={"checkpoint_id": "c", "config_id": "f"})
manifest = manifest.add_column(0, "row_key", pa.array(keys))
_fingerprint(manifest, Thresholds())
now = plan(manifest, read_tries(state, manifest), BacklogConfig()).now
tasks = ReadManifest(now, rows_per_task=math.ceil(now.num_rows / MAX_TASKS)).get_read_tasks(1)
print(len(tasks), peak_megabytes(os.getpid()))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The most memory of a run, in MB."""

    driver: float
    object_store: float
    seconds: float


def manifest(folder: Path, num_rows: int) -> str:
    folder.mkdir()
    names = [f"{number:08d}.mp4" for number in range(num_rows)]
    channels = [f"channel {number % 100}" for number in range(num_rows)]
    pq.write_table(pa.table({"uri": names, "channel": channels}), folder / "manifest.parquet")
    return str(folder / "manifest.parquet")


def start_stubbed(video: Path, every: int, *arguments: str) -> subprocess.Popen[str]:
    program = "import stubbed; stubbed.main()"
    return subprocess.Popen(
        [sys.executable, "-c", program, str(video), str(every), *arguments],
        env=os.environ | {"PYTHONPATH": str(SUPPORT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def watched_run(folder: Path, video: Path, num_rows: int) -> Peak:
    began = time.monotonic()
    run, every = str(folder / "run"), max(1, num_rows // NUM_SCORED)
    call = ("score", manifest(folder, num_rows), "--output", run, "--seed", "0")
    driver = start_stubbed(video, every, *call)
    driver_peak = store_peak = 0.0
    while driver.poll() is None:
        driver_peak = max(driver_peak, peak_megabytes(driver.pid))
        raylets = [pid for pid in descendants(driver.pid) if "/raylet " in title(pid)]
        store_peak = max([store_peak, *map(object_store_megabytes, raylets)])
        time.sleep(0.5)
    assert finish(driver).returncode == 0
    assert read_json(f"{run}/run.json")["counts"]["status"]["scored"] == len(range(0, num_rows, every))
    return Peak(driver=driver_peak, object_store=store_peak, seconds=time.monotonic() - began)


def test_planning_takes_less_than_two_kilobytes_a_video(tmp_path: Path) -> None:
    peaks = {}
    for size in PLAN_SIZES:
        listed = manifest(tmp_path / str(size), size)
        done = subprocess.run(
            [sys.executable, "-c", PLANNING, listed, str(tmp_path / "state")],
            env=os.environ | {"PYTHONPATH": str(SUPPORT)},
            capture_output=True,
            text=True,
            check=True,
            timeout=240,
        )
        tasks, peak = done.stdout.split()
        peaks[size] = float(peak)
        print(f"{size} rows: {tasks} tasks, {peaks[size]:.0f} MB")  # noqa: T201 - pytest -s
    first, last = PLAN_SIZES[0], PLAN_SIZES[-1]
    assert (peaks[last] - peaks[first]) * 2**20 / (last - first) < MAX_PLAN_BYTES


@pytest.mark.timeout(86_400 if "SECUREVQA_SCALE" in os.environ else 300)
def test_a_run_s_memory_is_flat_while_its_manifest_grows(videos: dict[str, Path], tmp_path: Path) -> None:
    peaks = {}
    for size in RUN_SIZES:
        one = peaks[size] = watched_run(tmp_path / str(size), videos["carphone_h264.mkv"], size)
        held = f"driver {one.driver:.0f} MB, object store {one.object_store:.0f} MB"
        print(f"{size} rows: {held}, {one.seconds:.0f} s", flush=True)  # noqa: T201 - pytest -s
    assert peaks[RUN_SIZES[-1]].driver - peaks[RUN_SIZES[0]].driver < MAX_GROWTH_MEGABYTES
    assert max(peak.object_store for peak in peaks.values()) < MAX_STORE_MEGABYTES
