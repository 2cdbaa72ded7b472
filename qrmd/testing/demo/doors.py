"""The daemon's listening sockets, opened in the machine's own network and passed on, so that a browser gets in."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress

from qrmd.errors import PreconditionFailed

NAMES = ("admin", "portal", "boot")
LOOPBACK = "127.0.0.1"


class Doors:
    """Three sockets on 127.0.0.1. They outlive a daemon that is started again."""

    def __init__(self, sockets: Mapping[str, socket.socket]) -> None:
        self._sockets = dict(sockets)

    @property
    def descriptors(self) -> dict[str, int]:
        """By name."""
        return {name: each.fileno() for name, each in self._sockets.items()}

    def address(self, name: str) -> str:
        """``127.0.0.1:7443``."""
        host, port = self._sockets[name].getsockname()
        return f"{host}:{port}"

    def close(self) -> None:
        """Nobody is taken any more."""
        for each in self._sockets.values():
            each.close()


def open_doors(ports: tuple[int, int, int]) -> Doors:
    """Listen on these ports, 0: on any.

    Raises:
        PreconditionFailed: a port is in use.
    """
    sockets: dict[str, socket.socket] = {}
    try:
        for name, port in zip(NAMES, ports, strict=True):
            sockets[name] = _listen(port)
    except OSError:
        for each in sockets.values():
            with suppress(OSError):
                each.close()
        raise PreconditionFailed(
            f"port {port} is in use", hint=f"end what listens there: ss -ltnp sport = :{port}"
        ) from None
    return Doors(sockets)


def _listen(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((LOOPBACK, port))
        listening.listen(256)
    except OSError:
        listening.close()
        raise
    return listening
