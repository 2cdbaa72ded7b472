"""Methods that take turns: none begins while another one of the same object is under way."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import DeferredLock


class TakesTurns(Protocol):
    """Has a lock for all its changes."""

    lock: DeferredLock


S = TypeVar("S", bound=TakesTurns)
P = ParamSpec("P")
T = TypeVar("T")


def one_at_a_time(
    method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Run the coroutine function while holding ``self.lock``; calls from within itself would wait for ever."""

    @wraps(method)
    async def locked(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        await self.lock.acquire()
        try:
            return await method(self, *args, **kwargs)
        finally:
            self.lock.release()

    return locked
