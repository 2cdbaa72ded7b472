"""How busy hosts are, as measured last; in memory only, because it is soon not true any more."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

SHARE = 0.25
"""Of a host's score. A minority: what was measured is seconds old, and the same for all that are placed meanwhile. They
would all go to the host that was idle then (Mitzenmacher, *How Useful Is Old Information?*, 2000). Promises are always
of now."""
OLD_AFTER = 30.0
"""Seconds; some polls of the monitor."""


@dataclass(frozen=True, slots=True)
class Load:
    """How the load of a host counts when it is ranked.

    Attributes:
        promises: what its promised share is multiplied by, 0 to 1.
        busy: what is added to that.
        reason: for people.
        measured_at: seconds of a clock that only goes on; what was not measured never gets old.
    """

    promises: float
    busy: float
    reason: str
    measured_at: float = math.inf


UNKNOWN = Load(1.0, 0.0, "load unknown, only promises count")
OLD = Load(1.0, 0.0, f"load older than {OLD_AFTER:.0f} s, only promises count")


def weigh(cpu: float, memory: float, measured_at: float = math.inf) -> Load:
    """A measured load: the busier of processors and memory counts.

    Args:
        cpu: share of all processors in use; what is outside 0 to 1 counts as the nearer end.
        memory: share of the real memory in use, likewise.
    """
    cpu, memory = (min(1.0, max(0.0, share)) for share in (cpu, memory))
    reason = f"load counts {SHARE:.0%}: processors {cpu:.0%} busy, memory {memory:.0%} used"
    return Load(1 - SHARE, SHARE * max(cpu, memory), reason, measured_at)


class Gauge:
    """Shows the load of one host. ``now`` is replaced as a whole, so any thread may read it."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = UNKNOWN


class Loads:
    """The loads of all hosts that there ever were, by id.

    Args:
        clock: seconds; only goes on.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hosts: dict[int, Gauge] = {}
        self._lock = Lock()
        self._next_old = math.inf
        self.changes = 0

    def of(self, host_id: int) -> Gauge:
        """The same object each time."""
        return self._hosts.setdefault(host_id, Gauge())

    def note(self, host_id: int, cpu: float, memory: float) -> None:
        """A host was measured; see ``weigh``."""
        with self._lock:
            now = self._clock()
            self.of(host_id).now = weigh(cpu, memory, now)
            self.changes += 1
            self._next_old = min(self._next_old, now + OLD_AFTER)

    def forget_old(self) -> None:
        """What is too old counts no more. Asked before each ranking, so it looks only when something may be."""
        now = self._clock()
        if now < self._next_old:
            return
        with self._lock:
            gauges = list(self._hosts.values())
            for each in gauges:
                if now >= each.now.measured_at + OLD_AFTER:
                    each.now = OLD
            self.changes += 1
            self._next_old = OLD_AFTER + min((each.now.measured_at for each in gauges), default=math.inf)
