"""The DHCPRELEASE message, byte by byte."""

from __future__ import annotations

import pytest

from qrmd.errors import StepFailed
from qrmd_dnsmasq.files import Lease
from qrmd_dnsmasq.release import build_release, send_release

LEASE = Lease("52:54:00:00:00:05", "10.9.1.15", "web-1", "")


def test_the_message_names_address_card_and_server() -> None:
    packet = build_release(LEASE, "10.9.1.1", 0x01020304)
    assert packet[:8] == bytes((1, 1, 6, 0, 1, 2, 3, 4))
    assert packet[12:16] == bytes((10, 9, 1, 15))
    assert packet[28:34] == bytes.fromhex("525400000005")
    assert packet[236:240] == bytes.fromhex("63825363")
    assert packet[240:250] == bytes((53, 1, 7, 54, 4, 10, 9, 1, 1, 255))
    assert len(packet) == 300


def test_the_client_id_of_the_lease_is_given() -> None:
    packet = build_release(Lease(LEASE.mac, LEASE.address, "", "ff:00:01"), "10.9.1.1", 1)
    assert packet[249:255] == bytes((61, 3, 0xFF, 0, 1, 255))


def test_a_bridge_that_is_gone_is_named() -> None:
    with pytest.raises(StepFailed, match="no-such-br"):
        send_release(LEASE, "no-such-br", "10.9.1.1")
