"""A running daemon with simulated machines and the cloud, for tests of its web pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qrmd.testing.chromium import Tab
from qrmd.testing.daemon import Daemon, Setting

ROLES = ("administrator", "operator", "readonly")
CARLA = "carla-knows-this"


def password_of(name: str) -> str:
    """Of a user of ``populate``."""
    return f"password-of-{name}"


def populate(daemon: Daemon, directory: Path) -> None:
    """One of everything: objects with id 1 have a page each; a user per role, named as the role."""
    call = daemon.call
    daemon.run_plugins("simulated")
    call("host.add", {"name": "node-1", "uri": "simulated://node-1?cpus=16&memory_mb=65536", "type": "simulated-vm"})
    call("storage.add", {"name": "pool", "location": "simulated://pool?capacity_mb=500000", "type": "simulated"})
    call("network.add", {"name": "tenants", "bridge": "br0", "cidr": "10.20.0.0/24", "gateway": "10.20.0.1"})
    disk = directory / "disk.raw"
    disk.write_bytes(bytes(2**20))
    daemon.finish("image.import", {"name": "small", "storage": "pool", "path": str(disk), "format": "raw"})
    for name in ("web-1", "web-2"):
        call("appliance.add", {"name": name, "image": "small", "memory_mb": 256})
    daemon.finish("appliance.start", "web-1", "", {"reason": "spring <sale>"})
    for role in ROLES:
        call("user.add", role, role, password_of(role))


@contextmanager
def running_sites(directory: Path, *, cloud: bool = False) -> Iterator[Daemon]:
    """The daemon, populated; with ``cloud`` there is a cloud user ``carla`` too."""
    with Daemon(Setting(directory)) as daemon:
        populate(daemon, directory)
        if cloud:
            daemon.run_plugins("cloud")
            daemon.call("cloud.user.add", {"name": "carla", "email": "carla@example.org", "password": CARLA})
        yield daemon


def log_in(tab: Tab, url: str, name: str, password: str) -> Tab:
    """Go to a page, and through the log-in that it asks for. Returns the tab."""
    tab.go(url)
    tab.fill("#name", name)
    tab.fill("#password", password)
    tab.press("main button.primary")
    return tab
