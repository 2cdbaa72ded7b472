"""What a host says of itself, and what it lacks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from defusedxml import ElementTree as SafeET

from qrmd.api import HostFacts, HostLoad
from qrmd.libvirt import Shelf

MIN_LIBVIRT = 7_000_000
SLOW_NAME_SECONDS = 2.0
SHORTEST_SPAN = 1.0
"""Seconds between two looks at processors."""
_CLOCK_FILE = "clock"
_KIB = 1024

Now = Callable[[], float]


def read_facts(connection: Any, shelf: Shelf, max_skew: float, without_kvm: str, now: Now = time.time) -> HostFacts:
    """Identity, size and problems.

    Args:
        connection: a ``virConnect``.
        shelf: our pool there, for looking at the host's clock.
        max_skew: seconds that its clock may differ.
        without_kvm: why KVM is not used; empty: it is, or nobody asked.
        now: our own clock, seconds since 1970.
    """
    began = time.monotonic()
    hostname = connection.getHostname()
    took = time.monotonic() - began
    library = connection.getLibVersion()
    _model, _memory, cpus, *_ = connection.getInfo()  # its memory is wrong on some NUMA machines
    version = f"libvirt {_dotted(library)}, QEMU {_dotted(connection.getVersion())}"
    return HostFacts(
        hostname=hostname,
        cpus=cpus,
        memory_mb=connection.getMemoryStats(-1)["total"] // _KIB,
        version=f"{version}, without KVM: {without_kvm}" if without_kvm else version,
        machine_uuid=SafeET.fromstring(connection.getCapabilities()).findtext("host/uuid") or "",
        problems=tuple(_problems(hostname, took, library, read_skew(shelf, now), max_skew)),
    )


def read_skew(shelf: Shelf, now: Now) -> float:
    """Seconds by which the host's clock is ahead of ours; no call of libvirt tells the time, a new file does."""
    before = now()
    shelf.write(_CLOCK_FILE, b"")
    after = now()
    theirs = shelf.written_at(_CLOCK_FILE) or before
    shelf.remove(_CLOCK_FILE)
    return min(theirs - before, 0.0) or max(theirs - after, 0.0)


@dataclass(frozen=True, slots=True)
class _Look:
    """Nanoseconds of all processors since the boot, and how busy they were before this look."""

    total: int = 0
    idle: int = 0
    busy: float = 0.0
    taken_at: float = -math.inf


class LoadMeter:
    """Processor load between two looks; the first look sees the load since the host was booted.

    The kernel counts in hundredths of a second, so a look soon after another one sees what that one saw.
    """

    def __init__(self, clock: Now = time.monotonic) -> None:
        self._clock = clock
        self._looks: dict[str, _Look] = {}

    def read(self, connection: Any, host: str) -> HostLoad:
        """Load of the host of this name now."""
        last = self._looks.get(host, _Look())
        if self._clock() - last.taken_at >= SHORTEST_SPAN:
            last = self._looks[host] = self._look(connection, last)
        memory = connection.getMemoryStats(-1)
        free = sum(memory.get(key, 0) for key in ("free", "buffers", "cached")) // _KIB
        return HostLoad(last.busy, free)

    def _look(self, connection: Any, last: _Look) -> _Look:
        times = connection.getCPUStats(-1)
        total, idle = sum(times.values()), times.get("idle", 0) + times.get("iowait", 0)
        if total < last.total:  # it was booted anew
            last = _Look()
        span = total - last.total
        busy = 1 - (idle - last.idle) / span if span else 0.0
        return _Look(total, idle, min(max(busy, 0.0), 1.0), self._clock())


def _problems(hostname: str, took: float, library: int, skew: float, max_skew: float) -> list[str]:
    found = []
    if library < MIN_LIBVIRT:
        found.append(f"libvirt {_dotted(library)} is too old: install {_dotted(MIN_LIBVIRT)} or newer")
    if took > SLOW_NAME_SECONDS:
        found.append(
            f"its own name {hostname} does not resolve there, so each start takes {took:.0f} s more: "
            "add the name to /etc/hosts on the host"
        )
    if abs(skew) > max_skew:
        found.append(f"its clock differs from ours by {abs(skew):.0f} s: let both follow a time server")
    return found


def _dotted(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
