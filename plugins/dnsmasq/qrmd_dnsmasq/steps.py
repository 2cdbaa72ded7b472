"""Plans: which reservations an appliance needs. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from qrmd.api import ApplianceView, NicView, Owned, Phase, Step

KIND = "dhcp-host"


def reserve_steps(view: ApplianceView) -> list[Step]:
    """One reservation for each network card."""
    return [
        Step(
            action="dnsmasq.reserve",
            args=_args(nic) | {"address": nic.nic.address, "hostname": hostname},
            phase=Phase.NETWORK,
            title=f"reserve {nic.nic.address} on {nic.network.name} for {hostname}",
            owns=(_owned(nic),),
        )
        for nic, hostname in _named(view)
    ]


def objections(view: ApplianceView) -> list[str]:
    """Networks that dnsmasq is not set up to serve."""
    return [
        f"network {nic.network.name} is IPv6; the dnsmasq plugin gives out IPv4 addresses only"
        for nic in view.nics
        if ":" in nic.network.cidr
    ]


def release_steps(view: ApplianceView) -> list[Step]:
    """Take each reservation and its lease back, once nothing can renew it. The address stays in the ledger."""
    needs = ("off",) if view.resource is not None else ()
    return [
        Step(
            action="dnsmasq.release",
            args=_args(nic),
            phase=Phase.NETWORK,
            title=f"release {nic.nic.address} on {nic.network.name}",
            needs=needs,
            disowns=(_owned(nic),),
        )
        for nic in view.nics
    ]


def _named(view: ApplianceView) -> Iterator[tuple[NicView, str]]:
    """A host name is one label and unique on a network: further cards there get a number."""
    base = (view.appliance.hostname or view.appliance.name).partition(".")[0]
    seen: dict[int, int] = {}
    for nic in view.nics:
        number = seen.get(nic.network.id, 0)
        seen[nic.network.id] = number + 1
        yield nic, f"{base[:58]}-{number}" if number else base


def _args(nic: NicView) -> dict[str, object]:
    return {"network": asdict(nic.network) | {"dns": list(nic.network.dns)}, "mac": nic.nic.mac}


def _owned(nic: NicView) -> Owned:
    return Owned(KIND, nic.nic.mac, f"network:{nic.network.id}")
