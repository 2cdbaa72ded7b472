"""Does the guest answer? An ssh server says who it is before anything else (RFC 4253, section 4.2)."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.interfaces import IReactorTCP
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

LONGEST_BANNER = 255
BANNER_SECONDS = 5


class _Banner(Protocol):
    """Collects the first line."""

    def __init__(self) -> None:
        self.line: Deferred[bytes] = Deferred()
        self._received = b""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """More of the line."""
        self._received += data
        if b"\n" in self._received or len(self._received) > LONGEST_BANNER:
            self._finish()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        """The server hung up before it said anything."""
        self._finish()

    def _finish(self) -> None:
        transport: Any = self.transport
        if not self.line.called:
            self.line.callback(self._received.partition(b"\n")[0])
        if transport is not None:
            transport.loseConnection()


async def ssh_banner(reactor: IReactorTCP, address: str, port: int = 22) -> str:
    """The identification line of the ssh server at an address; empty while nobody answers."""
    endpoint = HostnameEndpoint(reactor, address, port, timeout=2)
    try:
        banner = await connectProtocol(endpoint, _Banner())
        line = await banner.line.addTimeout(BANNER_SECONDS, reactor)
    except (ConnectError, ConnectionDone, OSError, TimeoutError):
        return ""
    except Exception as error:
        if type(error).__module__.startswith("twisted.internet"):
            return ""
        raise
    text = line.decode("ascii", "replace").strip()
    return text if text.startswith("SSH-") else ""
