"""Deeds of plans: reserve an address, release it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrmd.api import Again, Context, Done, Outcome
from qrmd_dnsmasq.files import Reservation, network_from
from qrmd_dnsmasq.servers import Servers

_SOON = 0.1


class Reserve:
    """``dnsmasq.reserve``: the MAC gets this address, name and DNS record, nobody else the address.

    Arguments: ``network`` (all fields), ``mac``, ``address``, ``hostname``.
    """

    name = "dnsmasq.reserve"
    timeout = 60.0
    retries = 3

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    async def do(self, ctx: Context, args: Mapping[str, Any]) -> Outcome:
        """Write the reservation; done when dnsmasq serves it and nobody else leases the address."""
        network = network_from(args["network"])
        reservation = Reservation(args["mac"], args["address"], args["hostname"], ctx.subject)
        waiting = await ctx.call(f"network:{network.id}", self._servers.reserve, network, reservation)
        return Again(_SOON, f"waiting for {waiting}") if waiting else Done({"address": reservation.address})

    async def undo(self, ctx: Context, args: Mapping[str, Any]) -> Outcome:
        """As ``dnsmasq.release``."""
        return await _release(self._servers, ctx, args)


class Release:
    """``dnsmasq.release``: reservation and lease are gone, seen in the lease file.

    Arguments: ``network`` (all fields), ``mac``.
    """

    name = "dnsmasq.release"
    timeout = 60.0
    retries = 5

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    async def do(self, ctx: Context, args: Mapping[str, Any]) -> Outcome:
        """Remove the reservation, send DHCPRELEASE, look again until the lease is gone."""
        return await _release(self._servers, ctx, args)

    async def undo(self, ctx: Context, args: Mapping[str, Any]) -> Outcome:  # noqa: ARG002 - protocol
        """Stop plans are not undone; a later start reserves again."""
        return Done()


async def _release(servers: Servers, ctx: Context, args: Mapping[str, Any]) -> Outcome:
    network = network_from(args["network"])
    waiting = await ctx.call(f"network:{network.id}", servers.release, network, args["mac"])
    return Again(_SOON, f"waiting for {waiting}") if waiting else Done()
