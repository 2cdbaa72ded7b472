"""A small data centre for tests: a real daemon in a lab, with a host, a storage, a network and an image."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qrmd.testing.daemon import Daemon, Setting
from qrmd.testing.lab import LabAccess, lab
from qrmd.testing.outside import Outside, look

PLUGINS = ("kvm", "dir-storage", "dnsmasq")
HOST, STORAGE, NETWORK, IMAGE = "node", "pool", "net", "micro"
GUEST_MB = 128
"""Memory that the micro image is content with."""


class DataCentre:
    """One lab with one daemon over it; nothing is built before ``build``.

    Args:
        access: the lab.
        directory: for the daemon's configuration and state, and for volumes.
        plugins: further configuration of plugins: name → keys.
        site: directory of further distributions.
        storage: where volumes go (None: a directory of its own).
        state_dir: the daemon's state directory (None: one of its own).
        limits: of the daemon's configuration.

    Attributes:
        before: what there was outside when it was built.
    """

    def __init__(
        self,
        access: LabAccess,
        directory: Path,
        *,
        plugins: Mapping[str, Mapping[str, Any]] | None = None,
        site: Path | None = None,
        storage: Path | None = None,
        state_dir: Path | None = None,
        limits: Mapping[str, Any] | None = None,
    ) -> None:
        self.access = access
        self.storage = storage or directory / "volumes"
        kvm = {"domain_type": access.domain_type, "open_seconds": 3, "query_seconds": 5, "change_seconds": 15}
        chosen = {"kvm": kvm, **(plugins or {})}
        self.daemon = Daemon(Setting(directory, access, chosen, limits or {}, site, state_dir))
        self.before: Outside | None = None
        self._numbers = itertools.count(1)

    def build(self, *, range_size: int = 100, overcommit: float = 1.0) -> None:
        """Start the daemon and plugins, make host, storage, network and image known.

        Args:
            range_size: addresses to give out.
            overcommit: space promised on the storage per real space.
        """
        self.storage.mkdir(parents=True, exist_ok=True)
        daemon = self.daemon.start()
        daemon.run_plugins(*PLUGINS)
        prefix = self.access.address.rpartition(".")[0]
        daemon.call("host.add", {"name": HOST, "uri": self.access.libvirt_uri, "type": "kvm-vm"})
        daemon.call("storage.add", {"name": STORAGE, "location": str(self.storage), "overcommit": overcommit})
        daemon.call(
            "network.add",
            {
                "name": NETWORK,
                "bridge": self.access.bridge,
                "cidr": self.access.cidr,
                "range": f"{prefix}.100-{prefix}.{99 + range_size}",
                "gateway": self.access.address,
            },
        )
        daemon.finish("image.import", {"name": IMAGE, "storage": STORAGE, "path": str(self.access.micro_image)})
        self.before = self.outside()

    def add_appliance(self, name: str = "", *, networks: tuple[str, ...] = (NETWORK,), **spec: Any) -> int:
        """An appliance of the micro image; without networks its start does not wait for the guest. Returns its id."""
        number = next(self._numbers)
        wanted = {
            "name": name or f"web-{number}",
            "image": IMAGE,
            "memory_mb": GUEST_MB,
            "networks": list(networks),
            **spec,
        }
        ident: int = self.daemon.call("appliance.add", wanted)
        return ident

    @property
    def roots(self) -> dict[str, Path]:
        """Directories in which deeds leave files: of volumes, the hypervisor, the DHCP servers, the mail server."""
        dnsmasq = self.daemon.state_dir / "plugins/dnsmasq"
        access = self.access
        return {"volumes": self.storage, "lab": access.state_dir, "dnsmasq": dnsmasq, "mail": access.mail_dir}

    def start_appliance(self, **spec: Any) -> int:
        """An appliance whose guest answers. Returns its id."""
        appliance = self.add_appliance(**spec)
        self.daemon.finish("appliance.start", appliance)
        return appliance

    def give_back(self, appliance: int) -> None:
        """Stop an appliance (which undoes a start under way) and remove it."""
        if self.daemon.call("appliance.get", appliance)["state"] != "stopped":
            self.daemon.wait(self.daemon.call("appliance.stop", appliance, {"grace_seconds": 0}))
        self.daemon.finish("appliance.remove", appliance)

    def outside(self) -> Outside:
        """What there is, without asking the daemon."""
        return look(self.access, [self.storage], self.daemon.state_dir)

    def leftovers(self) -> dict[str, list[str]]:
        """What there is outside beside what ``build`` made, by kind; empty when there is nothing."""
        assert self.before is not None, "build first"
        return self.outside().minus(self.before)

    def audit(self) -> dict[str, Any]:
        """What the daemon itself says about leftovers."""
        found: dict[str, Any] = self.daemon.call("audit.leftovers")
        return found

    def close(self) -> None:
        """End the daemon; the lab stays."""
        self.daemon.close()


@contextmanager
def data_centre(name: str, directory: Path, *, range_size: int = 100, **given: Any) -> Iterator[DataCentre]:
    """One that is built, over a lab of its own; both end with the block.

    Args:
        name: of the lab.
        range_size: addresses to give out.
        given: as ``DataCentre`` takes it.
    """
    try:
        made = DataCentre(lab.up(name), directory, **given)
        try:
            made.build(range_size=range_size)
            yield made
        finally:
            made.close()
    finally:
        lab.down(name)
