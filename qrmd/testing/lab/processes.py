"""Processes of a lab: found by what they live in, not by what they are called, and ended without mistakes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from qrmd.errors import StepFailed
from qrmd.testing.lab import namespace
from qrmd.testing.lab.access import namespace_of
from qrmd.testing.waiting import wait_until


@dataclass(frozen=True)
class Tracked:
    """A process that can't be mistaken for a later one of its number: ``started`` is in ticks since boot."""

    pid: int
    started: int


def track(pid: int) -> Tracked | None:
    """The process with this number; None if there is none or only a zombie is left of it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else Tracked(pid, int(fields[19]))


def is_alive(process: Tracked) -> bool:
    """Whether exactly this process still runs."""
    return track(process.pid) == process


def send(process: Tracked, number: signal.Signals) -> bool:
    """Signal exactly this process; False if it has ended."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if not is_alive(process):  # the descriptor pins the process, so this answer stays true
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def find(name: str) -> list[Tracked]:
    """All processes of a lab: in its network, or in the mounts of its hypervisor; never ourselves."""
    network = namespace.inode(namespace_of(name))
    ours = Path("/proc/self/ns/mnt").stat().st_ino
    spared = _lineage()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in spared:
            continue
        with contextlib.suppress(OSError):
            if _lives_in(entry, network, ours, f"/qrm-lab/{name}/") and (process := track(int(entry.name))):
                found.append(process)
    return found


def end_all(name: str, *, spare: Tracked | None = None, timeout: float = 20.0) -> None:
    """SIGKILL everything that ``find`` finds until it finds nothing; ``spare`` is left alive.

    Raises:
        StepFailed: something can't be killed (a process in an uninterruptible wait).
    """
    deadline = time.monotonic() + timeout
    while targets := [process for process in find(name) if process != spare]:
        for process in targets:
            send(process, signal.SIGKILL)
        left = deadline - time.monotonic()
        try:
            wait_until(lambda: not any(map(is_alive, targets)), timeout=max(left, 0.1), what="the end of a lab")
        except TimeoutError as error:
            pids = ", ".join(str(process.pid) for process in targets if is_alive(process))
            raise StepFailed(f"can't end processes {pids}", subject=f"lab:{name}") from error


def describe(process: Tracked) -> str:
    """Number and command line, for people."""
    try:
        line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    except OSError:
        line = b""
    return f"{process.pid} {line.replace(bytes(1), b' ').decode(errors='replace')[:120]}".rstrip()


def _lives_in(entry: Path, network: tuple[int, int] | None, our_mounts: int, mark: str) -> bool:
    status = (entry / "ns/net").stat()
    if network == (status.st_dev, status.st_ino):
        return True
    return (entry / "ns/mnt").stat().st_ino != our_mounts and mark in (entry / "mountinfo").read_text()


def _lineage() -> set[int]:
    """Ourselves and our ancestors: somebody may well end a lab from a shell inside it."""
    pids = {1}
    pid = os.getpid()
    while pid > 1:
        pids.add(pid)
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        pid = int(fields[1])
    return pids
