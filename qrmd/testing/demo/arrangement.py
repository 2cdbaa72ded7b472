"""What an administrator does before anybody can order: hosts, places, an image, mail, a cloud user and prices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qrmd.testing.demo.clients import Client
from qrmd.testing.lab import LabAccess
from qrmd.testing.lab.lab import Progress

PLUGINS = ("kvm", "dir-storage", "dnsmasq", "cloud")
HOST, STORAGE, NETWORK, IMAGE, USER = "node-1", "files", "lan", "micro", "carla"
MAIL = "carla@example.org"
CREDIT = "100"
PRODUCTS = (
    {"kind": "cpu", "price": "1.2", "name": "processor"},
    {"kind": "memory", "unit": 1024, "price": "0.8", "name": "memory, per GiB"},
    {"kind": "disk", "unit": 1024, "price": "0.1", "name": "disk, per GiB"},
    {"kind": "nic", "price": "0.05", "name": "network card"},
    {"kind": "image", "value": IMAGE, "price": "0.25", "name": "micro image"},
)
"""CCUs per hour."""


@dataclass(frozen=True, slots=True)
class Account:
    """The cloud user. ``password``: made by the daemon, shown once."""

    name: str
    password: str


def start_plugins(admin: Client, progress: Progress) -> None:
    """Enable and start the plugins."""
    for name in PLUGINS:
        progress(f"plugin.enable, plugin.start {name}")
        admin.call("plugin.enable", name)
        admin.call("plugin.start", name)


def arrange(admin: Client, access: LabAccess, volumes: Path, progress: Progress) -> Account:
    """Make everything known that a cloud needs. Raises StepFailed with the first fault."""
    progress(f"host.add {HOST}")
    admin.call("host.add", {"name": HOST, "uri": access.libvirt_uri, "type": "kvm-vm"})
    progress(f"storage.add {STORAGE}")
    volumes.mkdir(mode=0o700)
    admin.call("storage.add", {"name": STORAGE, "type": "dir", "location": str(volumes)})
    progress(f"network.add {NETWORK} ({access.cidr} on {access.bridge})")
    admin.call("network.add", _network(access))
    progress(f"image.import {IMAGE}")
    image = {"name": IMAGE, "storage": STORAGE, "path": str(access.micro_image), "min_memory_mb": 96}
    admin.finish("image.import", image)
    progress("settings.set smtp.*")
    mail = {"smtp.host": access.smtp_host, "smtp.port": access.smtp_port, "mail.from": "qrmd@example.org"}
    admin.call("settings.set", mail)
    progress("cloud.product.add, cloud.product.update")
    _set_prices(admin)
    progress(f"cloud.user.add {USER}, cloud.user.set_ccus {CREDIT}")
    answer = admin.call("cloud.user.add", {"name": USER, "email": MAIL})
    admin.call("cloud.user.set_ccus", USER, CREDIT, {"reason": "welcome"})
    return Account(USER, answer["password"])


def _network(access: LabAccess) -> dict[str, Any]:
    prefix = access.address.rpartition(".")[0]
    return {
        "name": NETWORK,
        "bridge": access.bridge,
        "cidr": access.cidr,
        "range": f"{prefix}.100-{prefix}.199",
        "gateway": access.address,
        "domain": "lan.example",
    }


def _set_prices(admin: Client) -> None:
    """The plugin brings prices of its own; ours replace them."""
    there = {(each["kind"], each["value"]): each["id"] for each in admin.call("cloud.product.list")}
    for product in PRODUCTS:
        ident = there.get((product["kind"], product.get("value", "")))
        if ident is None:
            admin.call("cloud.product.add", product)
        else:
            admin.call(
                "cloud.product.update",
                ident,
                {key: value for key, value in product.items() if key not in {"kind", "value"}},
            )
