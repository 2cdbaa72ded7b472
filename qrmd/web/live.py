"""``/events/stream``: events as they happen, for pages that follow them."""

# mypy: disable-error-code="no-untyped-call"
# ruff: noqa: N802 - the names that Twisted calls

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from qrmd.errors import QrmdError, TooManyRequests, Unavailable
from qrmd.model import Actor, Role
from qrmd.operations.call import dispatch
from qrmd.operations.registry import LOOK
from qrmd.timers import Timers
from qrmd.web.request import Request
from qrmd.web.sessions import Session

if TYPE_CHECKING:
    from qrmd.core import Core

log = logging.getLogger(__name__)

MOST_STREAMS = 128
PER_SESSION = 8
POLL_SECONDS = 0.5
BEATS = 20
MOST_WAITING = 500
MOST_REPLAYED = 500
ROLES = LOOK
"""Who may see the events: whoever may call ``event.list``."""
_FIELDS = ["id", "at", "kind", "severity", "actor", "subject", "workflow_id"]
_READER = Actor("system:stream", Role.READONLY)

Check = Callable[[Session], Awaitable[bool]]


@implementer(IPushProducer)
class Stream:
    """One browser that follows. A slow one is buffered up to a limit, then cut off; it comes back by itself.

    Attributes:
        position: id of the last event it was told.
    """

    def __init__(self, request: Request, session: Session, position: int) -> None:
        self.session = session
        self.position = position
        self.ended: Deferred[None] = Deferred()
        self._request = request
        self._paused = False
        self._waiting: deque[bytes] = deque()
        request.notifyFinish().addBoth(lambda _reason: self.end())
        request.setHeader(b"content-type", b"text/event-stream; charset=utf-8")
        request.registerProducer(self, True)

    def tell(self, row: dict[str, Any]) -> None:
        """Send an event unless it was told already."""
        if row["id"] > self.position:
            self.position = row["id"]
            self.send(b"id: %d\ndata: %b\n\n" % (row["id"], json.dumps(row, separators=(",", ":")).encode()))

    def send(self, text: bytes) -> None:
        """Write, or keep for later."""
        if self.ended.called:
            return
        if not self._paused:
            self._request.write(text)
            return
        self._waiting.append(text)
        if len(self._waiting) > MOST_WAITING:
            self._request.channel.transport.abortConnection()
            self.end()

    def end(self) -> None:
        """No more; again is fine."""
        if self.ended.called:
            return
        if not self._request._disconnected:  # noqa: SLF001 - Twisted has no public name for it
            self._request.unregisterProducer()
        self.ended.callback(None)

    def pauseProducing(self) -> None:
        """The browser does not keep up."""
        self._paused = True

    def resumeProducing(self) -> None:
        """It does again."""
        self._paused = False
        while self._waiting and not self._paused:
            self._request.write(self._waiting.popleft())

    def stopProducing(self) -> None:
        """It has gone."""
        self._paused = True


class Feed:
    """Reads new events twice a second while somebody follows, and hands them to all who do.

    Args:
        still_valid: whether a session still holds; asked at each heartbeat.
    """

    def __init__(self, core: Core, clock: Timers, still_valid: Check) -> None:
        self._core = core
        self._still_valid = still_valid
        self._streams: set[Stream] = set()
        self._last = 0
        self._beats = 0
        self._stopped = False
        self._loop = LoopingCall(self._turn)
        self._loop.clock = clock  # type: ignore[assignment]

    def __len__(self) -> int:
        """How many follow."""
        return len(self._streams)

    async def follow(self, request: Request, session: Session) -> None:
        """Serve one stream until it ends.

        Raises:
            TooManyRequests: there are too many already.
            Unavailable: the daemon ends.
        """
        if self._stopped:
            raise Unavailable("the daemon is stopping")
        if len(self._streams) >= MOST_STREAMS or session.streams >= PER_SESSION:
            raise TooManyRequests("too many pages follow the events", hint="close some", retry_after=30)
        session.streams += 1
        try:
            await self._serve(request, session)
        finally:
            session.streams -= 1

    async def _serve(self, request: Request, session: Session) -> None:
        after = _last_seen(request)
        if not self._loop.running:
            self._last = await self._newest()
            self._begin()
        stream = Stream(request, session, min(after, self._last) if after else self._last)
        stream.send(b"retry: 3000\nid: %d\n\n: welcome\n\n" % stream.position)
        try:
            await self._replay(stream)
            self._streams.add(stream)
            await stream.ended
        finally:
            self._streams.discard(stream)
            if not self._streams and self._loop.running:
                self._loop.stop()

    def stop(self) -> None:
        """End all streams; there are no new ones."""
        self._stopped = True
        for each in list(self._streams):
            each.end()

    def _begin(self) -> None:
        if not self._loop.running:
            self._loop.start(POLL_SECONDS, now=False).addErrback(
                lambda failure: log.error("the feed ended: %s", failure)
            )

    async def _replay(self, stream: Stream) -> None:
        """What was missed; too much of it: only that there was something."""
        if self._last - stream.position > MOST_REPLAYED:
            stream.position = self._last
            stream.send(b"event: reset\nid: %d\ndata: {}\n\n" % stream.position)
        while stream.position < self._last and not stream.ended.called:
            missed = await self._read(stream.position, MOST_REPLAYED)
            for row in missed:
                stream.tell(row)
            if not missed:
                return

    def _turn(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._poll())

    async def _poll(self) -> None:
        try:
            rows = await self._read(self._last, 1000)
            for row in rows:
                for stream in list(self._streams):
                    stream.tell(row)
            self._last = rows[-1]["id"] if rows else self._last
            self._beats = (self._beats + 1) % BEATS
            if self._beats == 0:
                await self._beat()
        except QrmdError as error:
            log.warning("events can't be followed now: %s", error)

    async def _beat(self) -> None:
        for stream in list(self._streams):
            if await self._still_valid(stream.session):
                stream.send(b": alive\n\n")
            else:
                stream.end()

    async def _newest(self) -> int:
        rows = await self._ask({"order": "-id", "limit": 1, "fields": ["id"]})
        return int(rows[0]["id"]) if rows else 0

    async def _read(self, after: int, limit: int) -> list[dict[str, Any]]:
        return await self._ask({"after": after, "limit": limit, "fields": _FIELDS})

    async def _ask(self, options: dict[str, Any]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = await dispatch(self._core, _READER, "event.list", [options])
        return rows


def _last_seen(request: Request) -> int:
    text = request.header(b"Last-Event-ID") or b""
    return int(text) if text.isdigit() and len(text) < 16 else 0
