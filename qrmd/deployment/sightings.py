"""What was seen last of things outside: questions are asked anew each time, and nobody waits long for the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet import defer

from qrmd.clock import now_us, to_iso
from qrmd.errors import QrmdError
from qrmd.timers import Timers

BOUND = 2.0
"""Seconds that somebody who looks waits for an answer."""
MOST = 10_000
"""Things remembered; the one first asked about is forgotten first."""


@dataclass(slots=True)
class Sighting:
    """One thing, as it answered last.

    Attributes:
        value: the answer, None when there never was one.
        at: microseconds of that answer, 0: never.
        silent_since: microseconds of the first question without an answer since, 0: it answers.
        fault: why there is no answer, as far as that is known.
    """

    value: Any = None
    at: int = 0
    silent_since: int = 0
    fault: str = ""
    asked_at: int = 0
    waiting: list[defer.Deferred[None]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """``seen_at``, ``silent_since`` and ``fault`` as verbs show them; None: there is nothing to say."""
        return {
            "seen_at": to_iso(self.at) if self.at else None,
            "silent_since": to_iso(self.silent_since) if self.silent_since else None,
            "fault": self.fault or None,
        }


class Sightings:
    """Remembers answers. ``clock`` ends the waiting."""

    def __init__(self, clock: Timers) -> None:
        self._clock = clock
        self._known: dict[str, Sighting] = {}

    async def look(self, name: str, question: Callable[[], Awaitable[Any]]) -> Sighting:
        """The answer to a question about a thing, or after ``BOUND`` seconds the one before.

        A question under way is not asked twice, and when it has been so for long it is not waited for.
        """
        sighting = self._sighting(name)
        if not sighting.asked_at:
            sighting.asked_at = now_us()
            defer.Deferred.fromCoroutine(_ask(sighting, question))
        if sighting.asked_at:
            await self._wait(sighting)
        return sighting

    def _sighting(self, name: str) -> Sighting:
        if name not in self._known and len(self._known) >= MOST:
            del self._known[next(iter(self._known))]
        return self._known.setdefault(name, Sighting())

    async def _wait(self, sighting: Sighting) -> None:
        waited = (now_us() - sighting.asked_at) / 1e6
        if waited < BOUND:
            answered: defer.Deferred[None] = defer.Deferred()
            sighting.waiting.append(answered)
            try:
                await answered.addTimeout(BOUND - waited, self._clock)  # type: ignore[arg-type]  # see ``Timers``
            except defer.TimeoutError:
                sighting.waiting.remove(answered)
        if sighting.asked_at:
            sighting.silent_since = sighting.silent_since or sighting.asked_at
            sighting.fault = sighting.fault or "it has not answered yet"


async def _ask(sighting: Sighting, question: Callable[[], Awaitable[Any]]) -> None:
    try:
        sighting.value = await question()
    except QrmdError as error:
        sighting.silent_since, sighting.fault = sighting.silent_since or sighting.asked_at, str(error)
    else:
        sighting.at, sighting.silent_since, sighting.fault = now_us(), 0, ""
    finally:
        sighting.asked_at = 0
        waiting, sighting.waiting = sighting.waiting, []
        for each in waiting:
            each.callback(None)
