"""The plugin's life in the daemon: start, follow the list of networks, stop."""

from __future__ import annotations

from qrmd.api import Network, Services
from qrmd_dnsmasq.files import network_from
from qrmd_dnsmasq.servers import Servers

_PAGE = 500


class DnsmasqService:
    """Runs the servers while the plugin is started."""

    name = "dnsmasq"

    def __init__(self, services: Services, servers: Servers) -> None:
        self._services = services
        self._servers = servers

    async def start(self) -> None:
        """Serve all managed networks."""
        await self._services.blocking("dnsmasq", self._servers.start)
        await self.refresh()

    async def stop(self) -> None:
        """End all processes."""
        await self._services.blocking("dnsmasq", self._servers.stop)

    async def refresh(self) -> None:
        """Serve the networks that there are now."""
        networks = await self._networks()
        await self._services.blocking("dnsmasq", self._servers.refresh, networks)

    async def _networks(self) -> list[Network]:
        networks: list[Network] = []
        while True:
            after = networks[-1].id if networks else 0
            rows = await self._services.ask("network.list", {"limit": _PAGE, "after": after})
            networks += [network_from(row) for row in rows]
            if len(rows) < _PAGE:
                return networks
