"""Connections to the libvirt daemons of hosts: opened within a bound, used within a deadline, cut when they hang.

Each call borrows a connection of its own, so a call that hangs delays no other one, and cutting it ends only it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import libvirt

from qrmd.errors import OutcomeUnknown, StepFailed
from qrmd.libvirt.deadlines import DEADLINES
from qrmd.libvirt.eventloop import run_event_loop
from qrmd.libvirt.faults import translate
from qrmd.libvirt.tunnel import Tunnel
from qrmd.libvirt.uri import Target, Transport, parse
from qrmd.libvirt.wire import Peer, Unreachable, cut, inodes, probe
from qrmd.model import Host

OPEN_SECONDS = 5.0
"""For ssh, handshake and opening, each."""

_KEEP_ALIVE = (5, 3)  # seconds between pings, pings lost before libvirt closes the connection
_MAX_IDLE = 4


class Connection:
    """One open connection. ``libvirt`` is the ``virConnect``; it may be used by one thread at a time."""

    def __init__(self, handle: Any, peer: Peer, sockets: frozenset[int]) -> None:
        self.libvirt = handle
        self._peer = peer
        self._sockets = sockets

    @property
    def alive(self) -> bool:
        """False once libvirt has seen it broken."""
        try:
            return bool(self.libvirt.isAlive())
        except libvirt.libvirtError:
            return False

    def cut(self) -> None:
        """Make the call that waits on it fail now. From any thread."""
        cut(self._peer, only=self._sockets)

    def close(self) -> None:
        """Give it back. The socket goes first: a clean close would wait for a daemon that may be mute."""
        self.cut()
        with suppress(libvirt.libvirtError):
            self.libvirt.close()


class _Link:
    """All that leads to one URI."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.tunnel = Tunnel(target) if target.transport is Transport.SSH else None
        self.opening = threading.Lock()
        self.idle: list[Connection] = []
        self.busy: set[Connection] = set()
        self.peer: Peer | None = None


class Connections:
    """The connections of one driver, by URI. Thread-safe."""

    def __init__(self, open_seconds: float = OPEN_SECONDS, shake_hands: Callable[..., Peer] = probe) -> None:
        self._open_seconds = open_seconds
        self._shake_hands = shake_hands
        self._lock = threading.Lock()
        self._links: dict[str, _Link] = {}

    @contextmanager
    def call(self, host: Host, what: str, seconds: float) -> Iterator[Any]:
        """A ``virConnect`` for the calls of one block, which must all be over within ``seconds``.

        Args:
            host: where.
            what: said in errors, ``start machine 5f…``.
            seconds: after which the socket is shut down and the block fails.

        Raises:
            StepFailed: the host does not answer (nothing was done), or libvirt refused.
            OutcomeUnknown: cut off in the middle.
            NotFound, Conflict: as ``faults.translate`` says.
        """
        link = self._link(host)
        connection = self._borrow(host, link)
        try:
            with DEADLINES.within(seconds, connection.cut) as deadline:
                yield connection.libvirt
        except libvirt.libvirtError as error:
            if deadline.passed:
                raise OutcomeUnknown(
                    f"{what} did not end within {seconds:g} s and was cut off",
                    subject=f"host:{host.name}",
                    hint="it is looked at again before it is repeated; see on the host whether libvirtd hangs",
                ) from error
            raise translate(error, host.name, what) from error
        finally:
            self._give_back(link, connection, reusable=not deadline.passed)

    def open(self, host: Host) -> Connection:
        """A connection that the caller keeps, and closes.

        Raises:
            Unreachable: the host does not answer in time.
            StepFailed: libvirt refused.
        """
        return self._open(host, self._link(host))

    def abort(self, host: Host) -> None:
        """End all calls to the host that run now, and its tunnel. From any thread."""
        link = self._links.get(host.uri)
        if link is None:
            return
        with self._lock:
            idle, link.idle = link.idle, []  # libvirt does not see at once that their socket is gone
        if link.tunnel is not None:
            link.tunnel.close()
        if link.peer is not None:
            cut(link.peer)
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """End everything."""
        with self._lock:
            links, self._links = list(self._links.values()), {}
        for link in links:
            for connection in [*link.idle, *link.busy]:
                connection.cut()
            for connection in link.idle:
                connection.close()
            if link.tunnel is not None:
                link.tunnel.close()

    def _link(self, host: Host) -> _Link:
        with self._lock:
            link = self._links.get(host.uri)
            if link is None:
                link = self._links[host.uri] = _Link(parse(host.uri))
            return link

    def _borrow(self, host: Host, link: _Link) -> Connection:
        while True:
            with self._lock:
                connection = link.idle.pop() if link.idle else None
            if connection is None:
                connection = self._open(host, link)
            elif not connection.alive:
                connection.close()
                continue
            with self._lock:
                link.busy.add(connection)
            return connection

    def _give_back(self, link: _Link, connection: Connection, *, reusable: bool) -> None:
        with self._lock:
            link.busy.discard(connection)
            keep = reusable and connection.alive and len(link.idle) < _MAX_IDLE
            if keep:
                link.idle.append(connection)
        if not keep:
            connection.close()

    def _open(self, host: Host, link: _Link) -> Connection:
        """Probe, then open. One at a time per host: so the socket that is new is the one that was opened."""
        run_event_loop()
        if not link.opening.acquire(timeout=2 * self._open_seconds):
            raise _unreachable(host, "others wait for its libvirtd already")
        try:
            if link.tunnel is not None:
                link.tunnel.open(self._open_seconds)
            socket = link.tunnel.socket if link.tunnel else ""
            link.peer = peer = self._shake_hands(socket or link.target.address(), self._open_seconds)
            return self._enter(host, link.target.libvirt_uri(socket), peer)
        except Unreachable as error:
            raise Unreachable(error.message, subject=f"host:{host.name}", hint=error.hint) from error
        finally:
            link.opening.release()

    def _enter(self, host: Host, uri: str, peer: Peer) -> Connection:
        before = inodes(peer)
        with DEADLINES.within(self._open_seconds, lambda: cut(peer, keep=before)) as deadline:
            try:
                handle = libvirt.open(uri)
                handle.setKeepAlive(*_KEEP_ALIVE)
            except libvirt.libvirtError as error:
                if deadline.passed:
                    raise _unreachable(host, f"libvirtd did not open within {self._open_seconds:g} s") from error
                raise _refused(host, error) from error
        return Connection(handle, peer, inodes(peer) - before)


def quietly(function: Callable[[], Any]) -> None:
    """Call something that may find its connection gone."""
    with suppress(libvirt.libvirtError):
        function()


def _unreachable(host: Host, why: str) -> Unreachable:
    return Unreachable(why, subject=f"host:{host.name}", hint="see on the host whether libvirtd hangs")


def _refused(host: Host, error: libvirt.libvirtError) -> StepFailed:
    fault = translate(error, host.name, "open a connection")
    return Unreachable(fault.message, subject=fault.subject, hint=fault.hint)
