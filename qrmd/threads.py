"""Blocking drivers made awaitable: one queue and one thread per lane, so that a hung host delays nobody else."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from qrmd.errors import Unavailable

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

ABANDONED_LIMIT = 32
IDLE_SECONDS = 60.0


@dataclass(slots=True)
class _Job:
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    finished: Deferred[Any]
    began: float = 0.0


@dataclass(slots=True)
class _Lane:
    name: str
    jobs: queue.SimpleQueue[_Job | None] = field(default_factory=queue.SimpleQueue)
    thread: threading.Thread | None = None
    running: _Job | None = None


class Lanes:
    """Named lanes. Calls in one lane run one after the other, lanes run side by side.

    Args:
        deliver: hands a function over to the reactor thread.
    """

    def __init__(self, deliver: Callable[[Callable[[], None]], Any]) -> None:
        self._deliver = deliver
        self._lanes: dict[str, _Lane] = {}
        self._abandoned: set[threading.Thread] = set()

    def call(self, lane: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run ``function`` in the lane's thread.

        Raises:
            Unavailable: too many threads were abandoned in calls that never ended.
        """
        if self.abandoned >= ABANDONED_LIMIT:
            raise Unavailable(
                f"{self.abandoned} calls to hosts never ended",
                subject=lane,
                hint="restart the daemon; see the log",
            )
        found = self._lanes.get(lane) or self._open(lane)
        job: _Job = _Job(function, args, kwargs, Deferred())
        found.jobs.put(job)
        return job.finished

    @property
    def abandoned(self) -> int:
        """Threads still inside a call that was given up."""
        self._abandoned = {thread for thread in self._abandoned if thread.is_alive()}
        return len(self._abandoned)

    def abandon(self, lane: str) -> None:
        """Give up the call that runs in the lane: what is queued behind it goes to a fresh thread."""
        found = self._lanes.pop(lane, None)
        if found is None or found.thread is None:
            return
        self._abandoned.add(found.thread)
        log.error("lane %s: a call was abandoned after %.0f s", lane, self._age(found))
        fresh = self._open(lane)
        while not found.jobs.empty():
            fresh.jobs.put(found.jobs.get_nowait())
        found.jobs.put(None)

    def stop(self) -> None:
        """Let every lane end after what is queued."""
        for lane in self._lanes.values():
            lane.jobs.put(None)
        self._lanes.clear()

    def _open(self, name: str) -> _Lane:
        lane = _Lane(name)
        lane.thread = threading.Thread(target=self._work, args=(lane,), name=f"lane-{name}", daemon=True)
        self._lanes[name] = lane
        lane.thread.start()
        return lane

    def _age(self, lane: _Lane) -> float:
        return time.monotonic() - lane.running.began if lane.running else 0.0

    def _work(self, lane: _Lane) -> None:
        while (job := lane.jobs.get()) is not None:
            job.began = time.monotonic()
            lane.running = job
            try:
                result = job.function(*job.args, **job.kwargs)
            except Exception:  # noqa: BLE001 - it goes to the awaiter
                self._deliver(_fire(job.finished.errback, Failure()))
            else:
                self._deliver(_fire(job.finished.callback, result))
            lane.running = None


def _fire(function: Callable[[Any], None], value: Any) -> Callable[[], None]:
    return lambda: function(value)
