"""What of ours is outside: reservations and leases, per network."""

from __future__ import annotations

from collections.abc import Sequence

from qrmd.api import Found, InvalidInput
from qrmd_dnsmasq.servers import Servers
from qrmd_dnsmasq.steps import KIND


class ReservationAuditor:
    """Lists what dnsmasq's private directories hold, whatever our rows say."""

    plugin = "dnsmasq"

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    def places(self) -> Sequence[str]:
        """Networks that are served, or of which a directory is left."""
        return [f"network:{number}" for number in self._servers.numbers()]

    def owned(self, place: str) -> Sequence[Found]:
        """Reservations with our label, and leases that no reservation explains."""
        number = _number(place)
        found = [
            Found(KIND, one.mac, place, one.subject, f"{one.address} for {one.hostname}")
            for one in self._servers.reservations(number)
        ]
        leases = self._servers.unreserved_leases(number)
        return found + [Found("dhcp-lease", mac, place, "", "a lease without reservation") for mac in leases]

    def remove_found(self, found: Found) -> None:
        """Remove the reservation and its lease."""
        self._servers.remove(_number(found.place), found.external_id)


def _number(place: str) -> int:
    kind, _colon, number = place.partition(":")
    if kind != "network" or not number.isdecimal():
        raise InvalidInput(f"{place} is no network")
    return int(number)
