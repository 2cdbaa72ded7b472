"""Timers as we need them of a reactor: real time in the daemon, a clock that tests turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Timer(Protocol):
    """A call that is to come."""

    def active(self) -> bool:
        """Whether it is still to come."""
        ...

    def cancel(self) -> None:
        """Call it off."""
        ...


class Timers(Protocol):
    """The part of ``IReactorTime`` that is used (zope interfaces mean nothing to a type checker)."""

    def callLater(self, delay: float, function: Callable[..., Any], /, *args: Any) -> Any:  # noqa: N802 - Twisted's
        """Call ``function(*args)`` after ``delay`` seconds; returns its ``Timer``."""
        ...
