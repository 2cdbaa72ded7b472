"""KVM and QEMU hosts through libvirt."""

from __future__ import annotations

from collections.abc import Sequence

from qrmd.api import Manifest, Services, VirtualizationDriver, hookimpl
from qrmd_kvm.config import Config
from qrmd_kvm.driver import KvmDriver


class Plugin:
    """Virtualization type ``kvm-vm``."""

    manifest = Manifest(
        name="kvm",
        title="KVM",
        description="Virtual machines on KVM and QEMU hosts, through libvirt",
        kind="virtualization",
    )
    config_type = Config
    migrations = None

    def __init__(self, services: Services) -> None:
        self._driver = KvmDriver(services.installation, services.config)

    @hookimpl
    def register_virtualization_types(self) -> Sequence[VirtualizationDriver]:
        """The driver."""
        return [self._driver]
