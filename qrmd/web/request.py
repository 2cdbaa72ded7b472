"""HTTP as this daemon serves it: bodies cut at 1 MiB, few and short headers, no idle or dawdling connections."""

# ruff: noqa: N802, N815 - the names that Twisted calls
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.internet.task import LoopingCall
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.web import http, server

MAX_BODY = 2**20
LINGER_SECONDS = 2.0
LINGER_BYTES = 4 * 2**20
REQUEST_SECONDS = 30.0
SWEEP_SECONDS = 5.0

_ANSWER = b"%b %d %b\r\nServer: qrmd\r\nContent-Type: %b\r\nContent-Length: %d\r\nCache-Control: no-store\r\n%b\r\n%b"

Handler = Callable[["Request"], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one peer may take.

    Attributes:
        body: bytes of a request's body.
        idle: seconds without a byte.
        per_address: connections at once from one address.
        in_total: connections at once.
    """

    body: int = MAX_BODY
    idle: float = 60.0
    per_address: int = 256
    in_total: int = 2048


class Request(server.Request):
    """A request whose body is in memory and not longer than the site allows."""

    channel: Channel
    content: BytesIO

    def gotLength(self, length: int | None) -> None:  # noqa: ARG002 - always the same buffer
        """Begin the body; Twisted would take a temporary file for a chunked one."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Take a part of the body unless it is too much."""
        if self.channel.refused:
            return
        if self.content.tell() + len(data) > self.channel.site.limits.body:
            self.content = BytesIO()
            self.channel.refuse()
            return
        self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Direct paths take no forms: looking for one costs a fifth of a small call."""
        if path in self.channel.site.direct:
            self._parsePOSTFormSubmission = False
        super().requestReceived(command, path, version)

    def process(self) -> None:
        """Serve an exact path directly, all else through the tree of resources."""
        site = self.channel.site
        site.requests += 1
        handler = site.direct.get(self.path)
        if handler is None:
            super().process()
            return
        self.site = site
        handler(self)

    @property
    def peer(self) -> str:
        """The address that asks."""
        return str(getattr(self.channel.getPeer(), "host", "unix"))

    def names(self) -> set[bytes]:
        """The names of its headers, each part with a capital."""
        return {name for name, _ in self.requestHeaders.getAllRawHeaders()}

    def header(self, name: bytes) -> bytes | None:
        """The first header of that name."""
        values = self.requestHeaders.getRawHeaders(name)
        return values[0] if values else None

    def answer(self, code: int, content_type: bytes, body: bytes, **headers: str) -> None:
        """Send a whole answer in one write; names of ``headers`` are written with ``_`` for ``-``."""
        if self._disconnected:
            return
        mine = self.responseHeaders
        for name, value in headers.items():
            mine.setRawHeaders(name.replace("_", "-"), [value])
        more = b"".join(b"%b: %b\r\n" % (name, each) for name, values in mine.getAllRawHeaders() for each in values)
        reason = http.RESPONSES.get(code, b"Unknown Status")
        sent = b"" if self.method == b"HEAD" else body
        self.code, self.startedWriting = code, 1
        self.channel.write(_ANSWER % (self.clientproto, code, reason, content_type, len(body), more, sent))
        self.finish()


class Channel(http.HTTPChannel):
    """A connection."""

    maxHeaders = 100
    totalHeadersSize = 16_384
    requestFactory = Request
    site: Site
    transport: Any

    def __init__(self) -> None:
        super().__init__()
        self.refused = False
        self.busy_since: float | None = None
        self._dropped = 0

    def connectionMade(self) -> None:
        super().connectionMade()
        self.site.channels.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.site.channels.discard(self)
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        if self.refused:
            self._drop(data)
            return
        if self.busy_since is None and not self._handlingRequest:
            self.busy_since = self.site.reactor.seconds()
        super().dataReceived(data)

    def rawDataReceived(self, data: bytes) -> None:
        if self.refused:
            self._drop(data)
            return
        super().rawDataReceived(data)

    def allHeadersReceived(self) -> None:
        if self.length is not None and self.length > self.site.limits.body:
            self.refuse()
            return
        super().allHeadersReceived()

    def allContentReceived(self) -> None:
        self.busy_since = None
        if not self.refused:
            super().allContentReceived()

    def requestDone(self, request: http.Request) -> None:
        """Take up what came meanwhile in a later turn, and not before the peer has read what it was answered.

        Otherwise a peer that sends many requests and reads nothing has all answers kept for it.
        """
        self.paused = True  # LineReceiver keeps what comes
        super().requestDone(request)
        if self._buffer:
            self.callLater(0, self._proceed)
        else:
            self.paused = False

    def resumeProducing(self) -> None:
        """The peer has read."""
        super().resumeProducing()
        if self.paused:
            self.callLater(0, self._proceed)

    def _proceed(self) -> None:
        if self.paused and not self._waitingForTransport and self in self.site.channels:
            self.paused = False
            self.dataReceived(b"")

    def refuse(self) -> None:
        """Answer 413 and close; what still comes is thrown away, for a moment, so that the answer can be read."""
        self.refused = True
        self.site.refused += 1
        body = b"the body is larger than %d bytes; send less, or in parts\n" % self.site.limits.body
        self.transport.write(
            b"HTTP/1.1 413 Content Too Large\r\nServer: qrmd\r\nConnection: close\r\n"
            b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        self.setTimeout(None)
        self._abortingCall = self.callLater(LINGER_SECONDS, self.forceAbortClient)
        self.loseConnection()

    def _drop(self, data: bytes) -> None:
        self._dropped += len(data)
        if self._dropped > LINGER_BYTES:
            self.transport.abortConnection()


class Site(server.Site):
    """A web site.

    Args:
        resource: root of the tree of resources (``IResource``).
        direct: exact path → handler; it answers by ``request.answer``.
    """

    requestFactory = Request
    displayTracebacks = False
    protocol: Any = Channel
    reactor: Any

    def __init__(
        self,
        resource: Any,
        reactor: IReactorTime,
        *,
        direct: Mapping[bytes, Handler] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        super().__init__(resource, reactor=reactor, timeout=self.limits.idle)
        self.direct = dict(direct or {})
        self.channels: set[Channel] = set()
        self.requests = 0
        self.refused = 0
        self._sweep = LoopingCall(self._end_dawdlers)
        self._sweep.clock = reactor

    def startFactory(self) -> None:
        super().startFactory()
        if not self._sweep.running:
            self._sweep.start(SWEEP_SECONDS, now=False)

    def stopFactory(self) -> None:
        if self._sweep.running:
            self._sweep.stop()
        super().stopFactory()

    def log(self, request: http.Request) -> None:
        """No access log: who changed what is in the events, and ``/metrics`` counts."""

    def _end_dawdlers(self) -> None:
        """End connections that trickle: each byte keeps off the idle limit, yet the request never ends."""
        latest = self.reactor.seconds() - REQUEST_SECONDS
        for channel in [each for each in self.channels if (each.busy_since or latest) < latest]:
            channel.transport.abortConnection()


def secured(site: Site, context: Any) -> Bounded:
    """The factory to listen with: connections are counted, then TLS, then the site.

    Args:
        context: from ``qrmd.web.tls.make_context``.
    """
    return Bounded(_Secure(context, False, cast("Any", site)), site.limits)


class _Secure(TLSMemoryBIOFactory):
    """TLS that writes at once. Answers are written whole: waiting a turn for more would cost a small call 50 µs."""

    protocol = TLSMemoryBIOProtocol


class _Counted(ProtocolWrapper):
    """A connection that is counted while it lasts."""

    counted_as = ""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        cast("Bounded", self.factory).forget(self.counted_as)


class Bounded(WrappingFactory[_Counted]):
    """Outermost factory of a port: closes connections beyond the limits before any handshake."""

    protocol = _Counted

    def __init__(self, wrapped: Any, limits: Limits | None = None) -> None:
        super().__init__(wrapped)
        self.limits = limits or Limits()
        self.connections: Counter[str] = Counter()
        self.turned_away = 0

    def buildProtocol(self, addr: IAddress | None) -> _Counted | None:  # type: ignore[override]
        """The protocol, or None: close at once."""
        host = str(getattr(addr, "host", "unix"))
        if self.connections[host] >= self.limits.per_address or self.connections.total() >= self.limits.in_total:
            self.turned_away += 1
            return None
        protocol = super().buildProtocol(addr)
        protocol.counted_as = host
        self.connections[host] += 1
        return protocol

    def forget(self, host: str) -> None:
        """A connection has ended."""
        self.connections[host] -= 1
        if not self.connections[host]:
            del self.connections[host]
