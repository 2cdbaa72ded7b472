"""The sockets below libvirt: a bounded handshake, and the power to shut one down under a hung call.

libvirt has no time-out for a daemon that accepts and never answers: ``virConnectOpen`` waits for ever, whatever
the keep-alive. So the handshake is made by hand first, with a deadline. And whatever call hangs later ends at
once, with an error, when its socket is shut down; libvirt hides the descriptor, but not the socket's peer.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from qrmd.errors import StepFailed

Address = str | tuple[str, int]

# The libvirt RPC header, each field 4 bytes big endian: length (all of it), program, version, procedure,
# type (0: call), serial, status. AUTH_LIST has no arguments and is answered before any authentication.
_HEADER = struct.Struct(">7I")
_PROGRAM = 0x20008086
_AUTH_LIST = 66
_CALL = _HEADER.pack(_HEADER.size, _PROGRAM, 1, _AUTH_LIST, 0, 0, 0)
_CREDENTIALS = struct.Struct("3i")


class Unreachable(StepFailed):
    """No libvirt daemon answered; nothing was asked of it."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The far end of a socket: its address and, on this machine, the process that listens there."""

    address: object
    pid: int


def probe(address: Address, seconds: float) -> Peer:
    """Shake hands with a libvirt daemon.

    Args:
        address: path of a socket, or host and port.
        seconds: for all of it.

    Raises:
        Unreachable: nobody listens there, or it does not answer in time.
    """
    deadline = time.monotonic() + seconds
    try:
        with _connect(address, seconds) as link:
            link.sendall(_CALL)
            received = b""
            while len(received) < _HEADER.size:
                link.settimeout(max(deadline - time.monotonic(), 0.001))
                chunk = link.recv(_HEADER.size - len(received))
                if not chunk:
                    raise Unreachable(
                        f"{_name(address)} closed the connection at once", hint="look at the log of libvirtd"
                    )
                received += chunk
            if _HEADER.unpack(received)[1] != _PROGRAM:
                raise Unreachable(f"{_name(address)} does not speak the libvirt protocol", hint="correct the URI")
            return _peer(link)
    except (TimeoutError, BlockingIOError) as error:
        raise Unreachable(
            f"libvirtd at {_name(address)} does not answer within {seconds:g} s",
            hint="see on the host whether libvirtd is stopped or overloaded",
        ) from error
    except OSError as error:
        raise Unreachable(
            f"no libvirtd at {_name(address)}: {error.strerror or error}",
            hint="start libvirtd on the host or correct the URI",
        ) from error


def inodes(peer: Peer) -> frozenset[int]:
    """The sockets of this process that lead to ``peer``, by inode."""
    return frozenset(inode for inode, _link in _sockets(peer))


def cut(peer: Peer, only: Collection[int] | None = None, keep: Collection[int] = ()) -> int:
    """Shut down our sockets to ``peer``; calls that wait on them end with an error. Returns how many."""
    count = 0
    for inode, link in _sockets(peer):
        if (only is None or inode in only) and inode not in keep:
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            count += 1
    return count


def _sockets(peer: Peer) -> Iterator[tuple[int, socket.socket]]:
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - a hot path of plain numbers
        with suppress(OSError):
            descriptor = int(name)
            if not os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:"):  # noqa: PTH115
                continue
            with _adopt(os.dup(descriptor)) as link:  # a copy: the number may be closed and reused meanwhile
                if _peer(link) == peer:
                    yield os.fstat(link.fileno()).st_ino, link


@contextmanager
def _adopt(descriptor: int) -> Iterator[socket.socket]:
    try:
        link = socket.socket(fileno=descriptor)
    except OSError:
        os.close(descriptor)
        raise
    with link:
        yield link


def _peer(link: socket.socket) -> Peer:
    if link.family != socket.AF_UNIX:
        return Peer(link.getpeername(), 0)
    credentials = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Peer(link.getpeername(), _CREDENTIALS.unpack(credentials)[0])


def _connect(address: Address, seconds: float) -> socket.socket:
    if isinstance(address, tuple):
        return socket.create_connection(address, seconds)
    link = socket.socket(socket.AF_UNIX)
    try:
        link.settimeout(seconds)
        link.connect(address)
    except BaseException:
        link.close()
        raise
    return link


def _name(address: Address) -> str:
    return str(Path(address)) if isinstance(address, str) else f"{address[0]}:{address[1]}"
