"""Texts for dnsmasq: what is in them, and what can't get in."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrmd.errors import ConfigInvalid, InvalidInput
from qrmd.model import Network
from qrmd_dnsmasq.config import Config
from qrmd_dnsmasq.files import (
    Lease,
    Places,
    Reservation,
    build_conf,
    build_host,
    build_names,
    network_from,
    parse_host,
    parse_leases,
)

INSTALLATION = "11111111-1111-4111-8111-111111111111"
PLACES = Places(Path("/var/lib/qrmd/dnsmasq/network-1"))
NETWORK = Network(1, "front", "br0", "10.9.1.0/24", "10.9.1.10", "10.9.1.99", "10.9.1.1", ("192.0.2.1",), "lab.example")
WEB = Reservation("52:54:00:00:00:05", "10.9.1.15", "web-1", "appliance:12")

HOSTILE = ("x\ndhcp-script=/bin/sh", "a,b", "a b", "#", "a=b", "", "-a", "ä", "a" * 300, "/", "x\0", "x\r", '"')


def test_the_configuration_serves_one_bridge_only() -> None:
    lines = build_conf(NETWORK, PLACES, Config()).splitlines()
    assert {line for line in lines if "interface" in line} == {
        "interface=br0",
        "except-interface=lo",
        "bind-interfaces",
    }
    assert "dhcp-range=10.9.1.0,static,255.255.255.0,3600" in lines
    assert "dhcp-ignore=tag:!known" in lines
    assert "dhcp-option=option:router,10.9.1.1" in lines
    assert [line for line in lines if line.startswith("server=")] == ["server=192.0.2.1"]
    assert {"no-resolv", "no-hosts", "domain=lab.example", "local=/lab.example/"} <= set(lines)


def test_a_network_without_gateway_and_domain() -> None:
    text = build_conf(dataclasses.replace(NETWORK, gateway="", domain="", dns=()), PLACES, Config())
    assert "dhcp-option=option:router\n" in text
    assert "server=" not in text
    assert "domain=" not in text


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("field", ["bridge", "cidr", "gateway", "domain"])
def test_no_field_of_a_network_becomes_a_directive(field: str, value: str) -> None:
    changed: dict[str, Any] = {field: value}
    network = dataclasses.replace(NETWORK, **changed)
    if value == "" and field in {"gateway", "domain"}:
        return
    with pytest.raises(InvalidInput):
        build_conf(network, PLACES, Config())


@pytest.mark.parametrize("value", HOSTILE)
def test_no_dns_server_becomes_a_directive(value: str) -> None:
    with pytest.raises(InvalidInput):
        build_conf(dataclasses.replace(NETWORK, dns=(value,)), PLACES, Config())


@pytest.mark.parametrize("field", ["mac", "address", "hostname", "subject"])
@pytest.mark.parametrize("value", HOSTILE)
def test_no_field_of_a_reservation_becomes_a_directive(field: str, value: str) -> None:
    with pytest.raises(InvalidInput):
        build_host(dataclasses.replace(WEB, **{field: value}), INSTALLATION)


@given(st.text())
def test_whatever_a_host_name_is_the_line_has_four_fields(hostname: str) -> None:
    try:
        text = build_host(dataclasses.replace(WEB, hostname=hostname), INSTALLATION)
    except InvalidInput:
        return
    assert text.count("\n") == 2
    assert text.splitlines()[1].count(",") == 3


def test_a_multicast_mac_is_refused() -> None:
    with pytest.raises(InvalidInput, match="multicast"):
        build_host(dataclasses.replace(WEB, mac="01:00:5e:00:00:01"), INSTALLATION)


@pytest.mark.parametrize("path", ["/a b", "/a\nuser=x", "relative", "/a#b"])
def test_a_directory_that_dnsmasq_would_misread_is_refused(path: str) -> None:
    with pytest.raises(ConfigInvalid):
        build_conf(NETWORK, Places(Path(path)), Config())


def test_a_reservation_is_read_back() -> None:
    assert parse_host(build_host(WEB, INSTALLATION)) == (INSTALLATION, WEB)


@pytest.mark.parametrize("text", ["", "\n", "52:54:00:00:00:05,10.0.0.1", "# by hand\n52:54:00:00:00:05,10.0.0.1\n"])
def test_what_we_did_not_write_is_not_ours(text: str) -> None:
    assert parse_host(text) is None


def test_names_with_and_without_domain() -> None:
    assert build_names(WEB, "lab.example") == "10.9.1.15 web-1.lab.example web-1\n"
    assert build_names(WEB, "") == "10.9.1.15 web-1\n"


def test_leases_are_read_and_half_a_line_is_not() -> None:
    text = (
        "1795365650 52:54:00:00:00:05 10.9.1.15 web-1 *\n"
        "1795365651 52:54:00:00:00:06 10.9.1.16 * ff:00:01\n"
        "duid 00:01:00:01\n"
        "1795365652 52:54:00"
    )
    assert parse_leases(text) == [
        Lease("52:54:00:00:00:05", "10.9.1.15", "web-1", ""),
        Lease("52:54:00:00:00:06", "10.9.1.16", "", "ff:00:01"),
    ]


def test_a_network_travels_as_json() -> None:
    row = dataclasses.asdict(NETWORK) | {"dns": ["192.0.2.1"], "id": "1", "extra": 1}
    assert network_from(row) == NETWORK
