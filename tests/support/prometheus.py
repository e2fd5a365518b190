"""Runs a real Prometheus (the Debian package) that scrapes one address, and asks it questions."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli import wait_until

__all__ = ["Prometheus", "free_port", "running_prometheus"]


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Prometheus:
    """One running server."""

    url: str
    started: float  # seconds since the epoch

    def values(self, expression: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Return what an expression is now, summed over all labels but these, by their values."""
        by = f" by ({', '.join(labels)})" if labels else ""
        found = self._ask("query", query=f"sum{by} ({expression})")["result"]
        return {
            tuple(series["metric"].get(label, "") for label in labels): float(series["value"][1])
            for series in found
        }

    def total(self, expression: str) -> float:
        """Return the sum of all series of an expression now, 0 where there is none."""
        return self.values(expression).get((), 0.0)

    def series_since_start(self, expression: str) -> list[dict[str, Any]]:
        """Return the series that an expression had at any second since the server started."""
        times = {"start": str(self.started), "end": str(time.time()), "step": "1"}
        found: list[dict[str, Any]] = self._ask("query_range", query=expression, **times)["result"]
        return found

    def names(self) -> set[str]:
        """Return the name of every series that was ever scraped."""
        return set(self._ask("label/__name__/values"))

    def _ask(self, what: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{what}?{query}", timeout=10) as answer:
            return json.load(answer)["data"]


@contextlib.contextmanager
def running_prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    """Start Prometheus on a free port, scraping `target` (host:port) every second, and stop it."""
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        f"scrape_configs: [{{job_name: ray, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    address = f"127.0.0.1:{free_port()}"
    with (folder / "prometheus.log").open("w") as log:
        command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
        process = subprocess.Popen(
            [*command, f"--web.listen-address={address}"], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            wait_until(lambda: _is_ready(f"http://{address}/-/ready"), seconds=30)
            yield Prometheus(url=f"http://{address}", started=time.time())
        finally:
            process.terminate()
            process.wait(timeout=30)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
