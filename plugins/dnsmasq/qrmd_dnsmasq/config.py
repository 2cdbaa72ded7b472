"""Settings of the dnsmasq plugin."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Config:
    """As in ``dnsmasq.toml``.

    Attributes:
        lease_seconds: how long a client may use its address before it asks again.
        dns_port: of the forwarder on each bridge; 0: no DNS.
        refresh_seconds: how often the list of managed networks is looked at.
    """

    lease_seconds: int = 3600
    dns_port: int = 53
    refresh_seconds: float = 5.0
