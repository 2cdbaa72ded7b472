"""What waits for a thread of the store: functions in groups that are run and answered together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


@dataclass(slots=True)
class Member:
    """One function of a group. ``urgent``: may use what the ballast freed."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    urgent: bool
    finished: Deferred[Any]
    result: Any = None
    error: BaseException | None = None


def answer(group: Iterable[Member]) -> None:
    """Tell who waits, in the reactor thread."""
    for member in group:
        if member.error is None:
            member.finished.callback(member.result)
        else:
            member.finished.errback(Failure(member.error))
