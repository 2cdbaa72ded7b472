"""dnsmasq processes that a crashed daemon left behind, known by our configuration file in their arguments."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

_GRACE = 2.0


def argument(conf: Path) -> str:
    """The argument that marks a process as ours; the path holds the UUID of the installation."""
    return f"--conf-file={conf}"


def find_stale(conf: Path) -> list[int]:
    """Process ids of all dnsmasq that run with this configuration file."""
    return [pid for pid in _pids() if _is_ours(pid, conf)]


def end_stale(conf: Path) -> int:
    """End them all; returns how many there were. A process is held by a descriptor, so no number is reused."""
    ended = 0
    for pid in find_stale(conf):
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                if _is_ours(pid, conf):
                    _end(descriptor)
                    ended += 1
            finally:
                os.close(descriptor)
    return ended


def _end(descriptor: int) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        signal.pidfd_send_signal(descriptor, number)
        if select.select([descriptor], [], [], _GRACE)[0]:
            return


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())


def _is_ours(pid: int, conf: Path) -> bool:
    try:
        arguments = (Path("/proc") / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return Path(os.fsdecode(arguments[0])).name == "dnsmasq" and argument(conf).encode() in arguments
