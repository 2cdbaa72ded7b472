"""Simulated hosts, machines and storages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qrmd.api import Manifest, Services, StorageDriver, VirtualizationDriver, hookimpl
from qrmd_simulated.config import Config
from qrmd_simulated.driver import SimulatedDriver
from qrmd_simulated.faults import Faults
from qrmd_simulated.storage import SimulatedStorage
from qrmd_simulated.volumes import Volumes


class Plugin:
    """Virtualization type ``simulated-vm`` and deployment type ``simulated``."""

    manifest = Manifest(
        name="simulated",
        title="Simulated machines and disks",
        description="Machines and disks in memory, for measuring and for rehearsing faults",
        kind="virtualization",
    )
    config_type = Config
    migrations = None

    def __init__(self, services: Services) -> None:
        directory = Path(services.config.directory) if services.config.directory else services.state_dir
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        faults = Faults(services.config.faults, blocking=services.config.blocking)
        self._driver = SimulatedDriver(services.installation, services.config, directory, faults)
        volumes = Volumes(directory)
        self._storage = SimulatedStorage(services.installation, volumes, faults, blocking=services.config.blocking)

    @hookimpl
    def register_virtualization_types(self) -> Sequence[VirtualizationDriver]:
        """The driver."""
        return [self._driver]

    @hookimpl
    def register_deployment_types(self) -> Sequence[StorageDriver]:
        """The driver of storages."""
        return [self._storage]
