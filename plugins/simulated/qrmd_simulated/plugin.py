"""Simulated hosts and machines."""

from __future__ import annotations

from collections.abc import Sequence

from qrmd.api import Manifest, Services, VirtualizationDriver, hookimpl
from qrmd_simulated.config import Config
from qrmd_simulated.driver import SimulatedDriver


class Plugin:
    """Virtualization type ``simulated-vm``."""

    manifest = Manifest(
        name="simulated",
        title="Simulated machines",
        description="Machines in memory, for measuring and for rehearsing faults",
        kind="virtualization",
    )
    config_type = Config
    migrations = None

    def __init__(self, services: Services) -> None:
        self._driver = SimulatedDriver(services.installation, services.config, services.state_dir)

    @hookimpl
    def register_virtualization_types(self) -> Sequence[VirtualizationDriver]:
        """The driver."""
        return [self._driver]
