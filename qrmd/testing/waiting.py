"""Waiting for a condition with a deadline: what tests do instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T], *, timeout: float = 10.0, interval: float = 0.02, what: str = "the condition"
) -> T:
    """The first true value that ``condition`` returns.

    Args:
        condition: asked again and again; what it raises ends the wait.
        timeout: seconds, measured by the monotonic clock.
        interval: seconds between two questions.
        what: named in the error.

    Raises:
        TimeoutError: it stayed false.
    """
    deadline = time.monotonic() + timeout
    while True:
        if value := condition():
            return value
        if time.monotonic() >= deadline:
            raise TimeoutError(f"waited {timeout:g} s in vain for {what}")
        time.sleep(interval)
