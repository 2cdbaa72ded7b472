"""A stretch of work that was timed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from twisted.internet.defer import Deferred, gatherResults


@dataclass(frozen=True, slots=True)
class Stint:
    """``count`` things in so many seconds, of which so many on processors, with so many commits."""

    count: int
    seconds: float
    cpu_seconds: float
    commits: int

    @property
    def rate(self) -> float:
        """Per second."""
        return self.count / self.seconds

    @property
    def cpu_ms(self) -> float:
        """Of one thing."""
        return self.cpu_seconds / self.count * 1000

    @property
    def commits_each(self) -> float:
        """Of one thing."""
        return self.commits / self.count


async def run_at_once(work: Callable[[int], Awaitable[object]], numbers: Iterable[int], at_once: int) -> None:
    """Work on all numbers, so many at a time."""
    waiting = iter(numbers)

    async def work_on() -> None:
        for number in waiting:
            await work(number)

    await gatherResults([Deferred.fromCoroutine(work_on()) for _ in range(at_once)])
