"""Directory storage: volumes are files, cloned by reflink or qcow2 overlay."""

from __future__ import annotations

from collections.abc import Sequence

from qrmd.api import Manifest, Services, StorageDriver, hookimpl
from qrmd_dir_storage.config import Config
from qrmd_dir_storage.driver import DirDriver


class Plugin:
    """Deployment type ``dir``."""

    manifest = Manifest(
        name="dir-storage",
        title="Directory storage",
        description="Volumes are files in a directory, cloned by reflink or qcow2 overlay",
        kind="storage",
    )
    config_type = Config
    migrations = None

    def __init__(self, services: Services) -> None:
        self._driver = DirDriver(services.installation, services.config)

    @hookimpl
    def register_deployment_types(self) -> Sequence[StorageDriver]:
        """The driver."""
        return [self._driver]
