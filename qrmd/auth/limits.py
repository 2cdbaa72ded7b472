"""Limits on guessing, per address and per name, and on haste, per actor, within a window. No I/O."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from qrmd.errors import TooManyRequests
from qrmd.model import Actor, Role

MOST_KEYS = 10_000
CHANGES = (600, 600.0)
"""Changes and seconds: rows and events of what somebody asked for stay, so that the disk bounds them otherwise."""
_HASTY = frozenset({Role.CLOUD, Role.READONLY})


class Attempts:
    """Counts attempts per key; a successful one is given back.

    Args:
        most: attempts within ``window`` seconds.
        clock: seconds, monotonic.
        what: there were too many of.
    """

    def __init__(self, most: int, window: float, clock: Callable[[], float], what: str = "failed log-ins") -> None:
        self._what = what
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
            raise TooManyRequests(f"too many {self._what}", hint=f"try again in {wait} s", retry_after=wait)
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


class Haste:
    """Counts what is asked for at the doors by those who answer for nothing here: cloud users and readers."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._attempts = Attempts(*CHANGES, clock, "changes")

    def take(self, actor: Actor) -> None:
        """Count a change. Raises TooManyRequests."""
        if actor.role in _HASTY:
            self._attempts.take(actor.name)
