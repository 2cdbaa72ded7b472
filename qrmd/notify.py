"""The service supervisor's protocols: readiness by datagram, sockets by number.

See sd_notify(3) and sd_listen_fds(3).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from qrmd.errors import ConfigInvalid

FIRST = 3


def notify(message: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Tell the supervisor ``READY=1``, ``STOPPING=1`` or ``STATUS=…``; False when there is none to tell."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.sendall(message.encode())
    return True


def inherited(environment: MutableMapping[str, str] | None = None) -> dict[str, int]:
    """Descriptors of the listening sockets passed to this process, by name; not passed on.

    Args:
        environment: None: that with which this process began.

    Raises:
        ConfigInvalid: the supervisor passed sockets without names, or two of one name.
    """
    if environment is None:
        environment = _first_environment()
    meant_for = environment.pop("LISTEN_PID", "")
    count = int(environment.pop("LISTEN_FDS", "0") or 0)
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if meant_for != str(os.getpid()) or count == 0:
        return {}
    if len(names) != count or len(set(names)) != count:
        raise ConfigInvalid(
            f"{count} sockets were passed with the names {':'.join(names)!r}",
            subject="LISTEN_FDNAMES",
            hint="name each once: FileDescriptorName=admin, portal or boot in the socket units",
        )
    found = {name: FIRST + number for number, name in enumerate(names)}
    for descriptor in found.values():
        os.set_inheritable(descriptor, False)
    return found


def _first_environment() -> MutableMapping[str, str]:
    """Ours, or what the kernel remembers of it: Twisted takes the descriptors away when its endpoints are imported."""
    if "LISTEN_PID" in os.environ:
        return os.environ
    entries = os.fsdecode(Path("/proc/self/environ").read_bytes()).split("\0")
    return {name: value for name, _, value in (each.partition("=") for each in entries)}
