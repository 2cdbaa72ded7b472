"""Blocking drivers made awaitable: one queue and one thread per lane, so that a hung host delays nobody else."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from qrmd.errors import Unavailable

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

ABANDONED_LIMIT = 32
IDLE_SECONDS = 60.0
"""After which a lane without work gives its thread back."""


class _Stage(Enum):
    QUEUED = 1
    RUNNING = 2
    OVER = 3


@dataclass(slots=True, eq=False)
class Job:
    """One blocking call. ``finished`` fires with its result; cancelled while it is queued, it never runs."""

    lane: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    finished: Deferred[Any]
    began: float = 0.0
    stage: _Stage = _Stage.QUEUED

    @property
    def over(self) -> bool:
        """It has ended, or was withdrawn before it began."""
        return self.stage is _Stage.OVER


@dataclass(slots=True, eq=False)
class _Lane:
    name: str
    jobs: queue.SimpleQueue[Job | None] = field(default_factory=queue.SimpleQueue)
    thread: threading.Thread | None = None
    running: Job | None = None


class Lanes:
    """Named lanes. Calls in one lane run one after the other, lanes run side by side.

    Args:
        deliver: hands a function over to the reactor thread.
        idle: seconds after which a lane without work gives its thread back.
    """

    def __init__(self, deliver: Callable[[Callable[[], None]], Any], *, idle: float = IDLE_SECONDS) -> None:
        self._deliver = deliver
        self._idle = idle
        self._lock = threading.Lock()
        self._lanes: dict[str, _Lane] = {}
        self._abandoned: set[threading.Thread] = set()

    def call(self, lane: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run ``function`` in the lane's thread.

        Raises:
            Unavailable: too many threads were abandoned in calls that never ended.
        """
        return self.submit(lane, function, *args, **kwargs).finished

    def submit(self, lane: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job:
        """As ``call``, and the job itself, so that it can be withdrawn or abandoned."""
        if self.abandoned >= ABANDONED_LIMIT:
            raise Unavailable(
                f"{self.abandoned} calls to hosts never ended",
                subject=lane,
                hint="restart the daemon; see the log",
            )
        job = Job(lane, function, args, kwargs, Deferred(lambda _: self._withdrawn(job)))
        with self._lock:
            (self._lanes.get(lane) or self._open(lane)).jobs.put(job)
        return job

    def _withdrawn(self, job: Job) -> None:
        self.withdraw(job)

    def withdraw(self, job: Job) -> bool:
        """Take a job back that has not begun; False: it runs or has ended."""
        with self._lock:
            if job.stage is not _Stage.QUEUED:
                return False
            job.stage = _Stage.OVER
            return True

    @property
    def abandoned(self) -> int:
        """Threads still inside a call that was given up."""
        if self._abandoned:
            self._abandoned = {thread for thread in self._abandoned if thread.is_alive()}
        return len(self._abandoned)

    @property
    def threads(self) -> int:
        """Lanes that have a thread now."""
        return len(self._lanes)

    def abandon(self, job: Job) -> None:
        """Give up a call that runs: what is queued behind it goes to a fresh thread."""
        with self._lock:
            found = self._lanes.get(job.lane)
            if found is None or found.running is not job or found.thread is None:
                return
            self._abandoned.add(found.thread)
            log.error("lane %s: a call was abandoned after %.0f s", job.lane, time.monotonic() - job.began)
            fresh = self._open(job.lane)
            while not found.jobs.empty():
                fresh.jobs.put(found.jobs.get_nowait())
            found.jobs.put(None)

    def stop(self) -> None:
        """Let every lane end after what is queued."""
        with self._lock:
            for lane in self._lanes.values():
                lane.jobs.put(None)
            self._lanes.clear()

    def _open(self, name: str) -> _Lane:
        lane = _Lane(name)
        lane.thread = threading.Thread(target=self._work, args=(lane,), name=f"lane-{name}", daemon=True)
        self._lanes[name] = lane
        lane.thread.start()
        return lane

    def _work(self, lane: _Lane) -> None:
        while (job := self._next(lane)) is not None:
            if not self._begin(lane, job):
                continue
            try:
                result = job.function(*job.args, **job.kwargs)
            except Exception:  # noqa: BLE001 - it goes to the awaiter
                self._end(lane, job, job.finished.errback, Failure())
            else:
                self._end(lane, job, job.finished.callback, result)

    def _next(self, lane: _Lane) -> Job | None:
        """The next job; None: the lane is closed, or had nothing to do for long."""
        while True:
            try:
                return lane.jobs.get(timeout=self._idle)
            except queue.Empty:
                with self._lock:
                    if lane.jobs.empty():
                        if self._lanes.get(lane.name) is lane:
                            del self._lanes[lane.name]
                        return None

    def _begin(self, lane: _Lane, job: Job) -> bool:
        with self._lock:
            if job.stage is not _Stage.QUEUED:
                return False
            job.stage, job.began, lane.running = _Stage.RUNNING, time.monotonic(), job
            return True

    def _end(self, lane: _Lane, job: Job, fire: Callable[[Any], None], value: Any) -> None:
        with self._lock:
            job.stage, lane.running = _Stage.OVER, None
        self._deliver(lambda: None if job.finished.called else fire(value))
