"""From ``kill -9`` to the first answer, with thousands active and some on their way; cold start; memory."""

from __future__ import annotations

import socket
import sqlite3  # noqa: TID251 - looks at the rows without the daemon
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil

from qrmd.process import Process, spawn
from qrmd.testing.interpreter import module_argv
from qrmd.testing.waiting import wait_until
from tests.bench.child import environment
from tests.bench.client import Target, call
from tests.bench.figure import Figure
from tests.bench.inside import workplace, write_config
from tests.bench.servers import serving

ACTIVE = 5000
UNDER_WAY = 500
SOME = 20
RESTART_AIM, MEMORY_AIM = 1.0, 250.0
LIVE = "SELECT count(*) FROM workflows WHERE state IN ('planning', 'running', 'undoing', 'stuck')"
IN_BETWEEN = "SELECT count(*) FROM appliances WHERE state NOT IN ('active', 'stopped', 'removed')"


def measure(*, quick: bool) -> Iterator[Figure]:
    """The daemon that is killed had its work from inside; the one that starts is the real program."""
    active = ACTIVE // 10 if quick else ACTIVE
    with workplace() as directory:
        _cold(directory / "warm")  # writes the bytecode that an installation has
        seconds, used = _cold(directory / "cold")
        yield Figure("restart", "cold start, nothing there", seconds, "s", note="from the program's start to an answer")
        yield Figure("restart", "cold start, nothing there: processor", used, "s")
        with serving(directory, "daemon_server", active=active, under_way=UNDER_WAY) as (told, process):
            database = directory / "state/qrmd.sqlite"
            wait_until(lambda: _count(database, IN_BETWEEN) >= SOME, timeout=60, interval=0.002, what="some under way")
            process.kill()
        killed = time.monotonic()
        under_way = _count(database, IN_BETWEEN)
        credentials = told["credentials"]
        seconds, daemon = _start(directory, credentials, killed)
        used = _processor_seconds(daemon)
        yield Figure("restart", f"kill -9 with {active:,} active", seconds, "s", aim=RESTART_AIM,
                     note=f"{under_way} were on their way")  # fmt: skip
        yield Figure("restart", f"kill -9 with {active:,} active: processor", used, "s")
        try:
            wait_until(lambda: not _count(database, LIVE), timeout=120, what="the end of what was under way")
            left = _count(database, IN_BETWEEN)
            yield Figure("restart", "left in between", left, "", aim=0.0)
            memory = psutil.Process(daemon.pid).memory_info().rss / 2**20
            yield Figure("restart", f"memory with {active:,} active", memory, "MB", aim=MEMORY_AIM)
        finally:
            daemon.kill()


def _cold(directory: Path) -> tuple[float, float]:
    """Seconds to the first answer, and of a processor."""
    directory.mkdir()
    seconds, daemon = _start(directory, "", time.monotonic())
    used = _processor_seconds(daemon)
    daemon.kill()
    return seconds, used


def _processor_seconds(daemon: Process) -> float:
    """What it has used since its start."""
    times = psutil.Process(daemon.pid).cpu_times()
    return times.user + times.system


def _start(directory: Path, credentials: str, began: float) -> tuple[float, Process]:
    """Start the daemon on this state; seconds from ``began`` to its first answer."""
    port = _free_port()
    config = write_config(directory, f"127.0.0.1:{port}")
    daemon = spawn(module_argv("qrmd", "--config", str(config)), log=directory / "daemon.log", env=environment())
    authority = directory / "state/tls/tls.crt"
    wait_until(lambda: _answers(authority, port, credentials, daemon), timeout=60, interval=0.005, what="an answer")
    return time.monotonic() - began, daemon


def _answers(authority: Path, port: int, credentials: str, daemon: Process) -> bool:
    """Whether it answers a call; without credentials a refusal will do."""
    assert daemon.poll() is None, "the daemon has ended"
    target = Target(port, str(authority), credentials)
    try:
        with closing(target.connect()) as connection:
            return b"<methodResponse>" in call(connection, target.request("qrm.version", []))
    except OSError:
        return False


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def _count(database: Path, query: str) -> int:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
        found: Any = connection.execute(query).fetchone()[0]
        return int(found)
