"""DHCP and DNS for the managed networks."""

from __future__ import annotations

from collections.abc import Sequence

from qrmd.api import (
    Action,
    ApplianceView,
    Auditor,
    Manifest,
    Periodic,
    Service,
    Services,
    Step,
    hookimpl,
)
from qrmd_dnsmasq.actions import Release, Reserve
from qrmd_dnsmasq.audit import ReservationAuditor
from qrmd_dnsmasq.config import Config
from qrmd_dnsmasq.servers import Servers
from qrmd_dnsmasq.service import DnsmasqService
from qrmd_dnsmasq.steps import objections, release_steps, reserve_steps


class Plugin:
    """One dnsmasq for each managed network, with an address per network card."""

    manifest = Manifest(
        name="dnsmasq",
        title="DHCP and DNS (dnsmasq)",
        description="Gives each network card the address reserved for it and answers its name",
        kind="network",
    )
    config_type = Config
    migrations = None

    def __init__(self, services: Services) -> None:
        self._config: Config = services.config
        self._servers = Servers(services.state_dir, services.installation, self._config)
        self._service = DnsmasqService(services, self._servers)

    @hookimpl
    def register_actions(self) -> Sequence[Action]:
        """Reserve and release."""
        return [Reserve(self._servers), Release(self._servers)]

    @hookimpl
    def register_auditors(self) -> Sequence[Auditor]:
        """Reservations and leases."""
        return [ReservationAuditor(self._servers)]

    @hookimpl
    def register_services(self) -> Sequence[Service]:
        """The processes, and the look at the list of networks."""
        periodic = Periodic("dnsmasq-refresh", self._config.refresh_seconds, self._service.refresh)
        return [self._service, periodic]

    @hookimpl
    def operation_check(self, operation: str, view: object) -> Sequence[str]:
        """What can't be served is said before anything is made."""
        if operation == "appliance.start" and isinstance(view, ApplianceView):
            return objections(view)
        return []

    @hookimpl
    def appliance_start(self, view: ApplianceView) -> Sequence[Step]:
        """Reserve an address for each network card."""
        return reserve_steps(view)

    @hookimpl
    def appliance_stop(self, view: ApplianceView) -> Sequence[Step]:
        """Take reservations and leases back."""
        return release_steps(view)

    @hookimpl
    def appliance_remove(self, view: ApplianceView) -> Sequence[Step]:
        """Take back what a stop may have left."""
        return release_steps(view)
