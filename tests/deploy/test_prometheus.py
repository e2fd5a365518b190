"""A real Prometheus reads back what a run on a Ray cluster did, and what the dashboard and the alerts ask."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from cli import read_json, read_report, securevqa, wait_until
from processes import kill_tree
from programs import needs
from prometheus import Prometheus, free_port, running_prometheus

from operators.metrics import METRICS

DEPLOY = Path(__file__).parents[2] / "deploy"
RAY = str(Path(sys.executable).with_name("ray"))
# Whoever reaches a cluster without a token can run what he likes on it.
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_metrics_report_interval_ms": "1000",
}
FALLBACKS = "ray_securevqa_decoder_fallbacks_total"  # no video of this run needs another decoder

pytestmark = [needs("prometheus"), pytest.mark.ray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A finished run that Prometheus has watched."""

    prometheus: Prometheus
    output: str
    logs: Path  # of the cluster


@pytest.fixture(scope="module")
def watched(videos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Score two videos and one that is none on a cluster of its own."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "videos").mkdir()
    for name in ("carphone_h264.mkv", "one_frame.mp4", "text.mp4"):
        (folder / "videos" / name).write_bytes(videos[name].read_bytes())
    port, metrics = free_port(), free_port()
    with (
        tempfile.TemporaryDirectory(prefix="svqa-") as ray_folder,  # Ray's sockets need a short path
        _head(Path(ray_folder), folder / "head.log", port, metrics),
        running_prometheus(folder, f"127.0.0.1:{metrics}") as prometheus,
    ):
        where = ("--output", str(folder / "out"), "--address", f"127.0.0.1:{port}")
        securevqa("score", str(folder / "videos"), *where, "--draws", "2", "--seed", "1", env=ENVIRONMENT)
        wait_until(lambda: prometheus.total("ray_securevqa_videos_total") == 3, seconds=30)
        yield Watched(prometheus=prometheus, output=str(folder / "out"), logs=Path(ray_folder))


@contextlib.contextmanager
def _head(folder: Path, log: Path, port: int, metrics: int) -> Iterator[None]:
    command = [RAY, "start", "--head", "--block", "--num-cpus=3", "--include-dashboard=false"]
    command += [f"--port={port}", f"--metrics-export-port={metrics}", f"--temp-dir={folder}"]
    command += [f"--dashboard-agent-listen-port={free_port()}", f"--ray-client-server-port={free_port()}"]
    with log.open("w") as sink:
        head = subprocess.Popen(command, env=os.environ | ENVIRONMENT, stdout=sink, stderr=sink)
        try:
            wait_until(lambda: "runtime started" in log.read_text() or head.poll() is not None)
            yield
        finally:
            kill_tree(head.pid)  # on a gentler signal Ray takes half a minute
            head.wait(timeout=60)


def test_prometheus_counts_what_the_report_holds(watched: Watched) -> None:
    prometheus = watched.prometheus
    rows = read_report(watched.output).to_pylist()
    counted = prometheus.values("ray_securevqa_videos_total", "status", "verdict", "error_code")
    assert counted == Counter((row["status"], row["verdict"], row["error_code"] or "") for row in rows)
    scores = sorted(row["score"] for row in rows if row["score"] is not None)
    for bound in (20, 50, 100):
        below = prometheus.total(f'ray_securevqa_score_bucket{{le="{bound}.0"}}')
        assert below == sum(score <= bound for score in scores)
    assert prometheus.total("ray_securevqa_draws_total") == 2 * len(scores)
    assert prometheus.total("ray_securevqa_fetched_bytes_total") == sum(row["size_bytes"] for row in rows)
    busy = prometheus.values("ray_securevqa_busy_seconds_total", "stage")
    for stage, seconds in read_json(f"{watched.output}/run.json")["stage_seconds"].items():
        assert busy[(stage,)] == pytest.approx(seconds, abs=2e-3)


def test_every_metric_of_the_table_was_scraped(watched: Watched) -> None:
    ends = {"counter": "_total", "gauge": "", "histogram": "_bucket"}
    wanted = {f"ray_{metric.name}{ends[metric.kind]}" for metric in METRICS}
    assert wanted - watched.prometheus.names() == {FALLBACKS}


def asked() -> dict[str, str]:
    """The expressions of the dashboard and the alerts, by what shows them."""
    panels = json.loads((DEPLOY / "grafana" / "securevqa.json").read_text())["panels"]
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    targets = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in panels
        for target in panel.get("targets", [])
    }
    return targets | {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def test_what_the_dashboard_and_the_alerts_ask_about_is_there(watched: Watched) -> None:
    for shown_by, expression in asked().items():
        used = set(re.findall(r"\bray_\w+", expression))
        assert used, shown_by
        query = expression.replace("$__rate_interval", "5s").replace("$__range", "5m")
        # An alert's expression has a series only while it fires.
        is_silent = FALLBACKS in used or shown_by.startswith("SecureVqa")

        def is_there(used: set[str] = used, query: str = query, is_silent: bool = is_silent) -> bool:
            known = used <= watched.prometheus.names() | {FALLBACKS}
            return known and bool(is_silent or watched.prometheus.series_since_start(query))

        with contextlib.suppress(AssertionError):  # what came last may not have been scraped yet
            wait_until(is_there, seconds=15)
        assert is_there(), shown_by


def test_the_log_names_run_and_video(watched: Watched) -> None:
    files = [path.read_text(errors="replace") for path in watched.logs.glob("session_2*/logs/worker-*.out")]
    lines = [json.loads(line) for text in files for line in text.splitlines() if line.startswith('{"event"')]
    assert {line["run_id"] for line in lines} == {read_json(f"{watched.output}/run.json")["run_id"]}
    rows = read_report(watched.output).to_pylist()
    said = sorted((line["video_id"], line["status"]) for line in lines)
    assert said == sorted((row["video_id"], row["status"]) for row in rows)
