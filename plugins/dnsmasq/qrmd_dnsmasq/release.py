"""DHCPRELEASE: how a lease ends without its client and without touching the lease file."""

from __future__ import annotations

import ipaddress
import secrets
import socket
import struct

from qrmd.api import StepFailed
from qrmd_dnsmasq.files import Lease

_HEADER = struct.Struct(">BBBBIHH4s4s4s4s16s64s128s4s")
_COOKIE = b"\x63\x82\x53\x63"
_MESSAGE_TYPE, _SERVER_ID, _CLIENT_ID, _END = 53, 54, 61, 255
_RELEASE = 7
_MIN_LENGTH = 300  # of a BOOTP message
_SERVER_PORT = 67


def build_release(lease: Lease, server: str, transaction: int) -> bytes:
    """The message by which the holder of ``lease`` gives it back to ``server`` (its address on the bridge)."""
    mac = bytes.fromhex(lease.mac.replace(":", ""))
    client = ipaddress.IPv4Address(lease.address).packed
    none = bytes(4)
    header = _HEADER.pack(
        1, 1, len(mac), 0, transaction, 0, 0, client, none, none, none, mac, b"", b"", _COOKIE
    )  # fmt: skip
    options = bytes((_MESSAGE_TYPE, 1, _RELEASE, _SERVER_ID, 4)) + ipaddress.IPv4Address(server).packed
    if lease.client_id:
        identity = bytes.fromhex(lease.client_id.replace(":", ""))
        options += bytes((_CLIENT_ID, len(identity))) + identity
    return (header + options + bytes((_END,))).ljust(_MIN_LENGTH, b"\0")


def send_release(lease: Lease, bridge: str, server: str) -> None:
    """Send it from the bridge. It has no answer: look at the lease file.

    Raises:
        StepFailed: the bridge is gone, or we may not.
    """
    packet = build_release(lease, server, secrets.randbits(32))
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, bridge.encode())
            sender.sendto(packet, (server, _SERVER_PORT))
    except OSError as error:
        raise StepFailed(
            f"no DHCPRELEASE could be sent from {bridge}: {error.strerror}", hint=f"is {bridge} up?"
        ) from error
