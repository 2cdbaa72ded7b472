"""A reactor for tests: runs what threads deliver and turns its clock by real time, in the test's own thread."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

T = TypeVar("T")


class Loop(Clock):
    """``deliver`` is ``callFromThread``; ``callLater`` comes from the clock."""

    def __init__(self) -> None:
        super().__init__()
        self._delivered: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._last = time.monotonic()

    def deliver(self, function: Callable[[], None]) -> None:
        """Run ``function`` in the thread that runs the loop."""
        self._delivered.put(function)

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float = 30.0) -> T:
        """Turn until the coroutine ends; its result, or what it raised.

        Raises:
            TimeoutError: it did not end in time.
        """
        results: list[Any] = []
        Deferred.fromCoroutine(coroutine).addBoth(results.append)
        self.run_until(lambda: bool(results), timeout, "a coroutine")
        if isinstance(results[0], Failure):
            results[0].raiseException()
        result: T = results[0]
        return result

    def run_until(self, condition: Callable[[], T], timeout: float = 30.0, what: str = "the condition") -> T:
        """Turn until ``condition`` returns something true.

        Raises:
            TimeoutError: it stayed false.
        """
        deadline = time.monotonic() + timeout
        while not (value := condition()):
            self.turn()
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {timeout:g} s in vain for {what}")
        return value

    def turn(self) -> None:
        """Run one delivered function, or wait some milliseconds for one; then the timers that are due."""
        try:
            function = self._delivered.get(timeout=0.005)
        except queue.Empty:
            pass
        else:
            function()
        now = time.monotonic()
        self.advance(now - self._last)
        self._last = now
