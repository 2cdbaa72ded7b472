"""The files that dnsmasq reads and writes. Pure; every value is checked, so that none can become a directive."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qrmd.api import ConfigInvalid, InvalidInput, Network, names
from qrmd_dnsmasq.config import Config

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_SUBJECT = re.compile(r"[a-z_]{1,40}:[0-9]{1,20}")
_INSTALLATION = re.compile(r"[0-9a-f-]{1,64}")
_PATH = re.compile(r"/[A-Za-z0-9_.+@=/-]+")
_LABEL_LINE = re.compile(r"# qrmd installation=(?P<installation>[0-9a-f-]+) subject=(?P<subject>[a-z_]+:[0-9]+)")
_LEASE = re.compile(
    r"(?P<expires>[0-9]+) (?P<mac>[0-9a-f:]{17}) (?P<address>[0-9.]+) (?P<name>\S+) (?P<client>\*|[0-9a-f:]+)"
)
_MIN_LEASE = 120  # dnsmasq's own lower limit


@dataclass(frozen=True, slots=True)
class Reservation:
    """An address kept for a network card.

    Attributes:
        mac: lower case with colons; its identity on a network.
        address: IPv4.
        hostname: one label.
        subject: ``appliance:12``.
    """

    mac: str
    address: str
    hostname: str
    subject: str

    @property
    def file_name(self) -> str:
        """Name of its files."""
        return self.mac.replace(":", "-")


@dataclass(frozen=True, slots=True)
class Lease:
    """A line of the lease file. ``client_id`` is in hexadecimal with colons, empty: none."""

    mac: str
    address: str
    hostname: str
    client_id: str


@dataclass(frozen=True, slots=True)
class Places:
    """Where the files of one network lie; all below ``directory``, which is ours alone."""

    directory: Path

    @property
    def conf(self) -> Path:
        return self.directory / "dnsmasq.conf"

    @property
    def hosts(self) -> Path:
        return self.directory / "hosts"

    @property
    def names(self) -> Path:
        return self.directory / "names"

    @property
    def leases(self) -> Path:
        return self.directory / "leases"

    @property
    def pid(self) -> Path:
        return self.directory / "pid"

    @property
    def log(self) -> Path:
        return self.directory / "log"


def build_conf(network: Network, places: Places, config: Config) -> str:
    """The configuration of the dnsmasq of one network.

    Raises:
        InvalidInput: a value of the network can't be used.
        ConfigInvalid: the state directory's name can't be.
    """
    if not _PATH.fullmatch(str(places.directory)):
        raise ConfigInvalid(f"dnsmasq can't use the directory {names.shown(str(places.directory))}")
    subnet = _subnet(network)
    lines = [
        f"interface={names.check_bridge(network.bridge)}",
        "except-interface=lo",
        "bind-interfaces",
        "keep-in-foreground",
        "log-facility=-",
        "quiet-dhcp",
        "user=root",  # its capabilities are cut down by setpriv; a change of user would clear PDEATHSIG
        "group=root",
        f"pid-file={places.pid}",
        "no-resolv",
        "no-poll",
        "no-hosts",
        "no-ping",
        f"port={int(config.dns_port)}",
        "domain-needed",
        f"hostsdir={places.names}",
        f"dhcp-leasefile={places.leases}",
        f"dhcp-hostsdir={places.hosts}",
        f"dhcp-range={subnet.network_address},static,{subnet.netmask},{max(_MIN_LEASE, int(config.lease_seconds))}",
        f"dhcp-lease-max={subnet.num_addresses}",
        "dhcp-ignore=tag:!known",
        "dhcp-authoritative",
        _router(network, subnet),
    ]
    if network.domain:
        domain = names.check_domain(network.domain)
        lines += [f"domain={domain}", f"local=/{domain}/"]
    lines += [f"server={names.check_address(server)}" for server in network.dns]
    return "".join(f"{line}\n" for line in lines)


def build_host(reservation: Reservation, installation: str) -> str:
    """Text of its file in ``hosts``: the owner label, then MAC, address and name for DHCP."""
    _check(_INSTALLATION, installation, "installation")
    _check(_SUBJECT, reservation.subject, "subject")
    mac = check_mac(reservation.mac)
    address = _address(reservation.address)
    hostname = names.check_hostname(reservation.hostname)
    label = f"# qrmd installation={installation} subject={reservation.subject}"
    return f"{label}\n{mac},id:*,{address},{hostname}\n"


def build_names(reservation: Reservation, domain: str) -> str:
    """Text of its file in ``names``: address and names for DNS."""
    hostname = names.check_hostname(reservation.hostname)
    full = f"{hostname}.{names.check_domain(domain)} {hostname}" if domain else hostname
    return f"{_address(reservation.address)} {full}\n"


def parse_host(text: str) -> tuple[str, Reservation] | None:
    """Installation and reservation of a file that ``build_host`` wrote; None if it did not."""
    lines = text.splitlines()
    label = _LABEL_LINE.fullmatch(lines[0]) if len(lines) == 2 else None
    fields = lines[1].split(",") if label else []
    if label is None or len(fields) != 4:
        return None
    mac, _client, address, hostname = fields
    return label["installation"], Reservation(mac, address, hostname, label["subject"])


def parse_leases(text: str) -> list[Lease]:
    """The IPv4 leases of a lease file. A half-written last line is left out."""
    leases = []
    for line in text.splitlines():
        if match := _LEASE.fullmatch(line):
            hostname, client = ("" if match[key] == "*" else match[key] for key in ("name", "client"))
            leases.append(Lease(match["mac"], match["address"], hostname, client))
    return leases


def check_mac(value: str) -> str:
    """A unicast MAC address in lower case with colons."""
    _check(_MAC, value, "MAC address")
    if int(value[:2], 16) & 1:
        raise InvalidInput(f"{value} is a multicast address, no network card has it")
    return value


def check_reservation(reservation: Reservation, network: Network) -> None:
    """Raises InvalidInput when the address is not a usable one of the network."""
    address, subnet = _address(reservation.address), _subnet(network)
    if address not in subnet or address in {subnet.network_address, subnet.broadcast_address}:
        raise InvalidInput(f"{address} is no address of a network card in {subnet}", subject=f"network:{network.id}")


def network_from(row: Mapping[str, Any]) -> Network:
    """A network from its JSON form, as in step arguments and lists; other keys are left out."""
    keys = ("id", "name", "bridge", "cidr", "range_first", "range_last", "gateway", "domain")
    fields = {key: row[key] for key in keys if row.get(key) is not None}
    fields["id"] = int(fields["id"])
    return Network(**fields, dns=tuple(row.get("dns") or ()))


def _subnet(network: Network) -> ipaddress.IPv4Network:
    try:
        return ipaddress.IPv4Network(network.cidr, strict=False)
    except ValueError:
        raise InvalidInput(
            f"{names.shown(network.cidr)} is not an IPv4 network",
            subject=f"network:{network.id}",
            hint="use a form like 192.168.5.0/24",
        ) from None


def _router(network: Network, subnet: ipaddress.IPv4Network) -> str:
    if not network.gateway:
        return "dhcp-option=option:router"  # none; the default would be ourselves
    gateway = _address(network.gateway)
    if gateway not in subnet:
        raise InvalidInput(f"the gateway {gateway} is not in {subnet}", subject=f"network:{network.id}")
    return f"dhcp-option=option:router,{gateway}"


def _address(value: str) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(value)
    except ValueError:
        raise InvalidInput(f"{names.shown(value)} is not an IPv4 address") from None


def _check(pattern: re.Pattern[str], value: str, what: str) -> None:
    if not pattern.fullmatch(value):
        raise InvalidInput(f"{what} {names.shown(value)} is not allowed")
