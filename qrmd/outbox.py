"""The outbox: each observer sees every event after its commit, in order, at least once.

One cursor per plugin, moved in the same transaction as the observer's own writes, so that those happen exactly once.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from qrmd.errors import Conflict, QrmdError, Unavailable
from qrmd.model import Actor, Event, Role
from qrmd.store import outbox as rows
from qrmd.store.connection import Transaction
from qrmd.store.database import FULL, Store
from qrmd.timers import Timer, Timers

log = logging.getLogger(__name__)

Observer = Callable[..., None]
"""``on_event`` of a plugin: keyword arguments ``event``, ``db``, ``request``."""

Ask = Callable[[Actor, str, Mapping[str, Any], Mapping[str, Any]], Awaitable[Any]]
"""(actor, verb, arguments by name, options) → the verb's answer."""

BATCH = 200
TRIES = 5
GATHERING = 0.02
FIRST_PAUSE = 1.0


class _Raised(Exception):
    """An observer raised on this event; its whole batch is rolled back."""

    def __init__(self, event_id: int, fault: str) -> None:
        super().__init__(fault)
        self.event_id = event_id
        self.fault = fault


@dataclass(slots=True)
class _Follower:
    """One observer and where it stands.

    Attributes:
        suspect: the event it raised on in a batch, which it is then shown alone.
        busy: a pass is under way.
    """

    plugin: str
    observe: Observer
    position: int
    suspect: int = 0
    tries: int = 0
    busy: Deferred[None] | None = None
    pause: Timer | None = None
    ended: bool = False

    @property
    def batch(self) -> int:
        """How many events come next: all before the suspect, then the suspect alone."""
        before = self.suspect - self.position - 1
        return BATCH if before < 0 else min(BATCH, max(1, before))


@dataclass(slots=True)
class _Progress:
    """What a batch came to."""

    event_id: int
    count: int
    asked: bool


@dataclass(slots=True)
class _Waiter:
    target: int
    fired: Deferred[None] = field(default_factory=Deferred)


class Outbox:
    """Carries events to observers and their requests to verbs.

    Args:
        ask: calls a verb with arguments by name; its options get the request's key.
        clock: the reactor's time.
        deliver: hands a function over to the reactor thread.
        first_pause: seconds before the second try of a failing observer; doubled for each further one.
    """

    def __init__(
        self,
        store: Store,
        ask: Ask,
        clock: Timers,
        deliver: Callable[[Callable[[], None]], Any],
        *,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        self._store = store
        self._ask = ask
        self._clock = clock
        self._deliver = deliver
        self._first_pause = first_pause
        self._followers: dict[str, _Follower] = {}
        self._waiters: list[_Waiter] = []
        self._gathering: Timer | None = None
        self._asking: Deferred[None] | None = None
        self._asking_again = False
        self._stopped = False
        self._last = 0

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        """Learn of commits from now on. What a crash has left is taken up when its plugin is followed again."""
        self._last = await self._store.read(rows.last_event)
        self._store.watch_commits(self._committed)

    async def stop(self) -> None:
        """End after the passes that are under way."""
        self._stopped = True
        if self._gathering is not None and self._gathering.active():
            self._gathering.cancel()
        busy = [each.busy for each in self._followers.values() if each.busy is not None]
        for follower in list(self._followers.values()):
            self._forget(follower)
        if self._asking is not None:
            busy.append(self._asking)
        await gatherResults([_shared(each) for each in busy])

    async def follow(self, plugin: str, observe: Observer) -> None:
        """Begin to show a plugin the events after its cursor; a new cursor stands at now."""
        cursor = await self._store.write(rows.begin, plugin)
        self._followers[plugin] = _Follower(plugin, observe, cursor.event_id, tries=cursor.attempts)
        self._wake()
        self._ask_soon()

    async def leave(self, plugin: str) -> None:
        """Show a plugin nothing more; its cursor stays. Returns when a pass under way has ended."""
        follower = self._followers.get(plugin)
        if follower is None:
            return
        self._forget(follower)
        if follower.busy is not None:
            await _shared(follower.busy)
        self._check_waiters()

    def drop(self, plugin: str) -> None:
        """As ``leave``, at once: for a plugin that has failed."""
        follower = self._followers.get(plugin)
        if follower is not None:
            self._forget(follower)
            self._check_waiters()

    async def caught_up(self) -> None:
        """Resolves when every cursor is at the newest event of now and what they asked for was dispatched.

        An observer that keeps raising delays it until its event is parked.
        """
        waiter = _Waiter(await self._store.read(rows.last_event))
        self._last = max(self._last, waiter.target)
        self._waiters.append(waiter)
        self._pass()
        self._check_waiters()
        await waiter.fired

    def _forget(self, follower: _Follower) -> None:
        follower.ended = True
        if follower.pause is not None and follower.pause.active():
            follower.pause.cancel()
        self._followers.pop(follower.plugin, None)

    # ------------------------------------------------------------ waking

    def _committed(self, last_event: int) -> None:
        """In the writer thread, after a commit that appended events."""
        self._deliver(partial(self._appended, last_event))

    def _appended(self, last_event: int) -> None:
        self._last = max(self._last, last_event)
        self._wake()

    def _wake(self) -> None:
        """Gather what is committed within some milliseconds into one batch per observer."""
        if not self._stopped and self._gathering is None:
            self._gathering = self._clock.callLater(GATHERING, self._gathered)

    def _gathered(self) -> None:
        self._gathering = None
        self._pass()

    def _pass(self) -> None:
        for follower in list(self._followers.values()):
            paused = follower.pause is not None and follower.pause.active()
            if follower.busy is None and not paused and follower.position < self._last:
                self._follow_on(follower)

    def _follow_on(self, follower: _Follower) -> None:
        follower.pause = None
        follower.busy = Deferred.fromCoroutine(self._digest(follower))
        follower.busy.addErrback(partial(self._broke, follower))
        follower.busy.addBoth(partial(self._rested, follower))

    def _broke(self, follower: _Follower, failure: Any) -> None:
        """The store refused (disk full): nothing was lost, try again later."""
        log.error("plugin %s: its events wait: %s", follower.plugin, failure.getErrorMessage())
        self._pause(follower, self._first_pause)

    def _rested(self, follower: _Follower, _result: Any) -> None:
        follower.busy = None
        self._check_waiters()
        self._pass()

    def _pause(self, follower: _Follower, seconds: float) -> None:
        if not follower.ended:
            follower.pause = self._clock.callLater(seconds, self._follow_on, follower)

    # ------------------------------------------------------------ digesting

    async def _digest(self, follower: _Follower) -> None:
        while not follower.ended and follower.position < self._last:
            try:
                progress = await self._store.write(_digest_batch, follower)
            except _Raised as raised:
                if follower.batch > 1:
                    follower.suspect = raised.event_id
                    continue
                if await self._failed(follower, raised):
                    return
                continue
            follower.tries = 0
            follower.position = progress.event_id
            if progress.asked:
                self._ask_soon()
            if not progress.count:
                return

    async def _failed(self, follower: _Follower, raised: _Raised) -> bool:
        """Count the try; True when there is a pause before the next one."""
        log.error("plugin %s: on_event of event %d: %s", follower.plugin, raised.event_id, raised.fault)
        follower.tries = await self._store.write(
            rows.note_failure, follower.plugin, raised.event_id, raised.fault, TRIES
        )
        if follower.tries == 0:
            follower.position = raised.event_id
            return False
        self._pause(follower, self._first_pause * 2 ** (follower.tries - 1))
        return True

    async def retry(self, plugin: str, event_id: int, actor: str, reason: str) -> None:
        """Show a plugin a parked event again.

        Raises:
            NotFound: it is not parked.
            Conflict: the plugin is not started, or it raised again.
        """
        follower = self._followers.get(plugin)
        if follower is None:
            raise Conflict("it is not started, so it can't see events", subject=f"plugin:{plugin}")
        try:
            await self._store.write(_retry_parked, follower, event_id, actor, reason)
        except _Raised as raised:
            raise Conflict(
                f"it raised again: {raised.fault}", subject=f"plugin:{plugin}", hint="mend it, or skip the event"
            ) from None
        self._ask_soon()

    # ------------------------------------------------------------ requests

    def _ask_soon(self) -> None:
        self._asking_again = True
        if self._asking is None and not self._stopped:
            self._asking = Deferred.fromCoroutine(self._ask_all())
            self._asking.addErrback(lambda failure: log.error("requests wait: %s", failure.getErrorMessage()))
            self._asking.addBoth(self._asked)

    def _asked(self, _result: Any) -> None:
        self._asking = None
        self._check_waiters()

    async def _ask_all(self) -> None:
        """What plugins that are not started have asked for waits: their verbs are not there either."""
        while self._asking_again and not self._stopped:
            self._asking_again = False
            while found := await self._store.read(rows.requests, tuple(self._followers)):
                by_plugin: dict[str, list[rows.Requested]] = {}
                for each in found:
                    by_plugin.setdefault(each.plugin, []).append(each)
                chains: list[Deferred[Any]] = [
                    Deferred.fromCoroutine(self._ask_in_order(each)) for each in by_plugin.values()
                ]
                if self._stopped or not all(await gatherResults(chains)):
                    self._clock.callLater(self._first_pause, self._ask_soon)
                    return

    async def _ask_in_order(self, asked: list[rows.Requested]) -> bool:
        """False: the daemon can't serve it now, so the rest waits too."""
        for each in asked:
            try:
                await self._ask_one(each)
            except Unavailable as error:
                log.warning("plugin %s: request %s of %s waits: %s", each.plugin, each.key, each.verb, error)
                return False
            await self._store.write(rows.accepted, each.id)
        return True

    async def _ask_one(self, asked: rows.Requested) -> None:
        actor = Actor(f"plugin:{asked.plugin}", Role.ADMINISTRATOR)
        options = {"key": asked.key, "reason": asked.key}
        try:
            await self._ask(actor, asked.verb, asked.arguments, options)
        except Unavailable:
            raise
        except QrmdError as error:
            await self._store.write(rows.refused, asked, error.as_dict())
        except Exception as error:
            log.exception("plugin %s: request %s of %s", asked.plugin, asked.key, asked.verb)
            await self._store.write(rows.refused, asked, {"message": f"{type(error).__name__}: {error}"})

    # ------------------------------------------------------------ waiting

    def _check_waiters(self) -> None:
        if not self._waiters or self._asking is not None:
            return
        slowest = min((each.position for each in self._followers.values()), default=None)
        for waiter in list(self._waiters):
            if slowest is None or slowest >= waiter.target:
                self._waiters.remove(waiter)
                waiter.fired.callback(None)


def _digest_batch(db: Transaction, follower: _Follower) -> _Progress:
    """Show the next events to the observer and move its cursor, all in one transaction."""
    asked = 0
    last = follower.position
    events = rows.after(db, last, follower.batch)
    for event in events:
        asked += _show(db, follower, event)
        last = event.id
    if events:
        rows.advance(db, follower.plugin, last)
    return _Progress(last, len(events), asked > 0)


def _show(db: Transaction, follower: _Follower, event: Event) -> int:
    """Call the observer; the number of operations it asked for."""
    if event.kind == rows.PARKED and event.data.get("plugin") == follower.plugin:
        return 0  # else its own failures would go on for ever
    count = 0

    def request(verb: str, arguments: Mapping[str, Any]) -> None:
        nonlocal count
        count += 1
        rows.request(db, follower.plugin, f"event:{event.id}:{follower.plugin}:{count}", verb, arguments)

    try:
        follower.observe(event=event, db=db, request=request)
    except Exception as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in FULL:
            raise  # the store's business
        raise _Raised(event.id, f"{type(error).__name__}: {error}") from error
    return count


def _retry_parked(db: Transaction, follower: _Follower, event_id: int, actor: str, reason: str) -> None:
    rows.unpark(db, follower.plugin, event_id, "plugin.event_digested", actor, reason)
    _show(db, follower, rows.event(db, event_id))


def _shared(busy: Deferred[None]) -> Deferred[None]:
    """Fires with ``busy`` without taking its result."""
    seen: Deferred[None] = Deferred()

    def pass_on(result: Any) -> Any:
        seen.callback(None)
        return result

    busy.addBoth(pass_on)
    return seen
