"""What ``cloud.toml`` may say."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Config:
    """Policy of the cloud.

    Attributes:
        networks: names of the networks that servers' NICs join, in turn; empty: all managed networks.
        max_cpus: processors of one server.
        max_memory_mb: memory of one server.
        max_disk_mb: disk of one server.
        max_nics: network cards of one server.
        max_open_requests: of one user that are not at their end, whatever the limits say.
        min_lease_seconds: shortest lease.
        open_hold_hours: hours of CCUs that an open-ended lease holds, renewed as they are billed.
        line_seconds: longest time that one ledger line of a running server covers.
        retry_seconds: between two tries of a request that found no resource, when nothing was heard to be free.
        provision_timeout: seconds from the first step to giving up.
        stop_seconds: that a guest gets to power off before its disk is removed anyway.
        portal_url: shown in mails; empty: not shown.
    """

    networks: tuple[str, ...] = ()
    max_cpus: int = 64
    max_memory_mb: int = 1_048_576
    max_disk_mb: int = 16_777_216
    max_nics: int = 4
    max_open_requests: int = 200
    min_lease_seconds: int = 60
    open_hold_hours: int = 24
    line_seconds: int = 3600
    retry_seconds: int = 300
    provision_timeout: int = 1800
    stop_seconds: int = 5
    portal_url: str = ""
