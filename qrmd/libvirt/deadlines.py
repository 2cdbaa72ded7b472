"""One thread that acts when a call has taken too long."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Deadline:
    """An armed deadline; ``passed`` once its action was run."""

    __slots__ = ("action", "disarmed", "passed")

    def __init__(self, action: Callable[[], object]) -> None:
        self.action = action
        self.passed = False
        self.disarmed = False


class Deadlines:
    """Armed deadlines, nearest first. The thread starts with the first one and dies with the process."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._heap: list[tuple[float, int, Deadline]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None

    @contextmanager
    def within(self, seconds: float, action: Callable[[], object]) -> Iterator[Deadline]:
        """Run ``action`` (in the watching thread; it must not block) if the block takes longer than ``seconds``."""
        deadline = Deadline(action)
        with self._condition:
            entry = (time.monotonic() + seconds, next(self._numbers), deadline)
            heapq.heappush(self._heap, entry)
            self._start()
            if self._heap[0] is entry:
                self._condition.notify()
        try:
            yield deadline
        finally:
            with self._condition:
                deadline.disarmed = True

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="libvirt-deadlines", daemon=True)
            self._thread.start()

    def _watch(self) -> None:
        while True:
            self._next().action()

    def _next(self) -> Deadline:
        with self._condition:
            while True:
                while self._heap and self._heap[0][2].disarmed:
                    heapq.heappop(self._heap)
                if not self._heap:
                    self._condition.wait()
                    continue
                left = self._heap[0][0] - time.monotonic()
                if left > 0:
                    self._condition.wait(left)
                    continue
                deadline = heapq.heappop(self._heap)[2]
                deadline.passed = True
                return deadline


DEADLINES = Deadlines()
