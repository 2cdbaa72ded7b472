"""Where a libvirt URI leads: a socket of this machine, a TCP port, or a socket behind ssh. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

from qrmd.errors import InvalidInput

LOCAL_SOCKETS = ("/run/libvirt/virt{driver}d-sock", "/run/libvirt/libvirt-sock")
"""Where a local daemon listens: the modular one first, as libvirt itself looks."""

_SCHEMES = {"": "unix", "unix": "unix", "tcp": "tcp", "ssh": "ssh"}
_OPTIONS = {
    "unix": frozenset({"socket"}),
    "tcp": frozenset(),
    "ssh": frozenset({"socket", "keyfile", "no_verify", "known_hosts"}),
}
_TCP_PORT = 16509
_MAX_SOCKET_PATH = 107


class Transport(StrEnum):
    """How the libvirt protocol travels."""

    UNIX = "unix"
    TCP = "tcp"
    SSH = "ssh"


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed URI.

    Attributes:
        driver: ``qemu``, ``xen``, …
        transport: how.
        path: what the driver opens: ``/system``.
        socket: the daemon's socket on its machine; empty: the usual one.
        host: name or address, for tcp and ssh.
        port: 0: the usual one.
        user: for ssh.
        options: ``keyfile``, ``no_verify``, ``known_hosts``.
    """

    driver: str
    transport: Transport
    path: str
    socket: str = ""
    host: str = ""
    port: int = 0
    user: str = ""
    options: dict[str, str] = field(default_factory=dict)

    def address(self) -> str | tuple[str, int]:
        """What a probe connects to: a socket's path, or host and port."""
        if self.transport is Transport.TCP:
            return self.host, self.port or _TCP_PORT
        return self.socket or local_socket(self.driver)

    def libvirt_uri(self, socket: str = "") -> str:
        """The URI given to libvirt; ``socket`` replaces the daemon's socket (the near end of a tunnel)."""
        if self.transport is Transport.TCP:
            host, port = self.host, self.port or _TCP_PORT
            return f"{self.driver}+tcp://{f'[{host}]' if ':' in host else host}:{port}{self.path}"
        return f"{self.driver}+unix://{self.path}?socket={quote(socket or str(self.address()), safe='/')}"


def parse(uri: str) -> Target:
    """Read a libvirt URI.

    Raises:
        InvalidInput: not one of ``DRIVER:///PATH[?socket=…]``, ``DRIVER+unix``, ``+tcp://HOST``, ``+ssh://HOST``.
    """
    try:
        parts = urlsplit(uri)
        port, host = parts.port or 0, parts.hostname or ""
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query), keep_blank_values=True))
    except ValueError as error:
        raise _refuse(uri, str(error)) from error
    driver, _, scheme = parts.scheme.partition("+")
    transport = Transport(_SCHEMES.get(scheme) or _refuse_scheme(uri, scheme))
    if transport is Transport.UNIX and host:
        transport = Transport.SSH if scheme == "ssh" else _refuse_scheme(uri, scheme or "tls")
    if transport is not Transport.UNIX and (not host or host.startswith("-")):
        raise _refuse(uri, "it names no host")
    unknown = sorted(set(options) - _OPTIONS[transport])
    if unknown:
        raise _refuse(uri, f"option {unknown[0]!r} is not known for {transport}")
    socket = options.pop("socket", "")
    if socket and (not socket.startswith("/") or len(socket) > _MAX_SOCKET_PATH):
        raise _refuse(uri, "socket must be an absolute path of at most 107 characters")
    if not driver or parts.path in {"", "/"}:
        raise _refuse(uri, "it names no driver or no path")
    return Target(driver, transport, parts.path, socket, host, port, parts.username or "", options)


def local_socket(driver: str) -> str:
    """The first usual socket that exists here, else the last one."""
    paths = [path.format(driver=driver) for path in LOCAL_SOCKETS]
    return next((path for path in paths if Path(path).exists()), paths[-1])


def _refuse(uri: str, why: str) -> InvalidInput:
    return InvalidInput(
        f"libvirt URI {uri!r} can't be used: {why}",
        hint="use qemu:///system, qemu:///system?socket=/path, qemu+ssh://user@host/system or qemu+tcp://host/system",
    )


def _refuse_scheme(uri: str, scheme: str) -> Transport:
    raise _refuse(uri, f"transport {scheme!r} is not supported")
