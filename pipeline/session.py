"""Owns the connection to Ray: joining a cluster or starting one here, quietly, and leaving it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import ray
from ray._private.node import Node
from ray.data import DataContext

from pipeline.keys import forget_key_variable
from pipeline.machine import available_cores
from securevqa_core.errors import RunError

__all__ = ["cluster_resources", "ray_session"]

LOCAL = "local"  # the address of a Ray that is started here
MIN_CPUS = 2
MAX_OOM_RETRIES = 3  # Ray's own default is without end
# Ray ends workers beyond one a CPU, actors counted, that idle for a second; another takes seconds to start.
IDLE_WORKER_MILLISECONDS = 60_000
WORKER_NICENESS = (
    0  # beside the command's own; Ray's is 15, so that a busy machine lets workers wait for ever
)
NO_PROGRESS_SECONDS = 3600.0  # of the whole run; every video has limits of its own, far below
CONNECT_SECONDS = 5
MAX_SHOWN_BYTES = 8192
# Of the processes that Ray starts beside the two that work, those that nobody here would hear of. There is no
# public way to leave them out, and each takes half a second of a processor and holds the others up.
UNHEARD = ("start_api_server", "start_log_monitor", "start_monitor")


@contextlib.contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """Connect to a cluster (`address`, RAY_ADDRESS), or start Ray here; leave it as it was found.

    Raises:
        RunError: the cluster cannot be reached or is too small.
    """
    forget_key_variable()  # workers inherit this process's environment
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_task_oom_retries", str(MAX_OOM_RETRIES))
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", str(IDLE_WORKER_MILLISECONDS))
    os.environ.setdefault("RAY_worker_niceness", str(WORKER_NICENESS))
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = address or os.environ.get("RAY_ADDRESS")
    if address == LOCAL:
        address = None
    if address:
        _require_reachable(address)
    else:
        # One logical CPU more than cores: the model actors' fractions never starve the decoders.
        options |= {"num_cpus": max(available_cores(), 2) + 1, "include_dashboard": False}
    with _native_messages_aside():
        try:
            with _our_sigterm(), contextlib.nullcontext() if address else _without_the_unheard():
                ray.init(address=address or LOCAL, **options)
        except Exception as error:  # a node that starts too slowly raises nothing more special
            what = f"Ray cannot be reached at {address!r}" if address else "Ray cannot be started here"
            raise RunError(f"{what}: {error}") from error
        try:
            cpus = cluster_resources().get("CPU", 0)
            if cpus < MIN_CPUS:
                raise RunError(f"the cluster must have at least {MIN_CPUS} CPUs, got {cpus:g}")
            _leave_the_terminal_to_us()
            yield
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _our_sigterm() -> Iterator[None]:
    """Put the handler of SIGTERM back, which Ray replaces as it starts with one that exits at once."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as ended:
        raise KeyboardInterrupt from ended
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def _without_the_unheard() -> Iterator[None]:
    """Let Ray start no dashboard, no autoscaler and nothing that tells the driver what workers print."""
    methods = {name: getattr(Node, name) for name in UNHEARD if hasattr(Node, name)}
    for name in methods:
        setattr(Node, name, lambda _node, **_options: None)
    try:
        yield
    finally:
        for name, method in methods.items():
            setattr(Node, name, method)


def cluster_resources() -> dict[str, float]:
    """Return what the whole cluster has, by Ray's resource names."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources


def _require_reachable(address: str) -> None:
    """Fail within seconds where nobody listens; Ray itself would wait for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdigit():  # "auto", or a name that Ray resolves
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise RunError(f"no Ray cluster answers at {address!r}: {error}") from error


def _leave_the_terminal_to_us() -> None:
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = NO_PROGRESS_SECONDS
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextlib.contextmanager
def _native_messages_aside() -> Iterator[None]:
    """Keep what Ray's native code writes to stderr, and show it only if the block fails.

    It announces dangers that are none here, over the progress display; Python's own stderr stays as it is.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    python_stderr = sys.stderr
    with tempfile.TemporaryFile() as aside, os.fdopen(os.dup(terminal), "w", buffering=1) as ours:
        os.dup2(aside.fileno(), 2)
        sys.stderr = ours
        try:
            yield
        except Exception:
            ours.write(_tail(aside.fileno()))
            raise
        finally:
            sys.stderr = python_stderr
            os.dup2(terminal, 2)
            os.close(terminal)


def _tail(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, MAX_SHOWN_BYTES, max(0, size - MAX_SHOWN_BYTES)).decode(errors="replace")
