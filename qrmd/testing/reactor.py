"""Running a coroutine to its end under the real reactor, in a process that does nothing else."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet import reactor as _made  # noqa: TID251 - a process of its own, for tests
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")

reactor: Any = _made


def run(begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Start the reactor, await ``begin()``, stop the reactor; its result, or what it raised. Once per process."""
    results: list[Any] = []

    def end(result: Any) -> None:
        results.append(result)
        reactor.stop()

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(begin()).addBoth(end))
    reactor.run()
    if isinstance(results[0], Failure):
        results[0].raiseException()
    result: T = results[0]
    return result
