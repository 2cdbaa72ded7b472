"""Limits on guessing: failed attempts per address and per name within a window. No I/O."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from qrmd.errors import TooManyRequests

MOST_KEYS = 10_000


class Attempts:
    """Counts attempts per key; a successful one is given back.

    Args:
        most: attempts within ``window`` seconds.
        clock: seconds, monotonic.
    """

    def __init__(self, most: int, window: float, clock: Callable[[], float]) -> None:
        self._most = most
        self._window = window
        self._clock = clock
        self._seen: OrderedDict[str, list[float]] = OrderedDict()

    def take(self, key: str) -> None:
        """Count an attempt.

        Raises:
            TooManyRequests: there were too many; ``retry_after`` says when the oldest is forgotten.
        """
        now = self._clock()
        times = [at for at in self._seen.pop(key, ()) if at > now - self._window]
        self._seen[key] = times
        if len(times) >= self._most:
            wait = max(1, round(times[0] + self._window - now))
            raise TooManyRequests("too many failed log-ins", hint=f"try again in {wait} s", retry_after=wait)
        times.append(now)
        while len(self._seen) > MOST_KEYS:
            self._seen.popitem(last=False)

    def give_back(self, key: str) -> None:
        """The attempt was right: it does not count."""
        times = self._seen.get(key)
        if times:
            times.pop()
        if not times:
            self._seen.pop(key, None)
