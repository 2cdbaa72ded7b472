"""Storages, networks and kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrmd.hooks.registered import Page
from qrmd.operations.call import Call
from qrmd.operations.registry import LOOK
from qrmd.web import deeds
from qrmd.web.deeds import Deed
from qrmd.web.gather import all_of, events_about, names_of, rows_of
from qrmd.web.pages.dashboard import capacity_of_storages
from qrmd.web.render import TEMPLATES

ADD_STORAGE = (Deed("add", "storage.add", "Add a storage", to="/storages/{id}", hint="It is looked at first."),)
STORAGE = (Deed("remove", "storage.remove", "Remove", danger=True, to="/storages", hint="Nothing is changed on it."),)
ADD_NETWORK = (Deed("add", "network.add", "Add a network", to="/networks/{id}"),)
NETWORK = (Deed("remove", "network.remove", "Remove", danger=True, to="/networks", hint="Its bridge stays."),)
ADD_KERNEL = (Deed("add", "kernel.add", "Add a kernel", to="/kernels"),)
KERNEL = (Deed("remove", "kernel.remove", "Forget", danger=True),)


async def show_storages(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Storages with what is promised on them."""
    found, capacity, hosts, adding = await all_of(
        (
            rows_of(call, "storage", given),
            capacity_of_storages(call),
            names_of(call, "host"),
            deeds.offer(call, ADD_STORAGE),
        )
    )
    return {**found, "capacity": {each["id"]: each for each in capacity}, "hosts": hosts, "deeds": adding}


async def show_storage(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """One storage: images and disks on it."""
    found = await call.ask("storage.get", given["id"])
    hosts, appliances, events, offered = await all_of(
        (
            names_of(call, "host"),
            names_of(call, "appliance"),
            events_about(call, f"storage:{found['id']}"),
            deeds.offer(call, STORAGE, subject=("storage",), named=found["name"]),
        )
    )
    return {"it": found, "hosts": hosts, "appliances": appliances, "events": events, "deeds": offered}


async def show_networks(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Networks."""
    found, adding = await all_of((rows_of(call, "network", given), deeds.offer(call, ADD_NETWORK)))
    return {**found, "deeds": adding}


async def show_network(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """One network, and who holds its addresses."""
    found = await call.ask("network.get", given["id"])
    events, offered = await all_of(
        (
            events_about(call, f"network:{found['id']}"),
            deeds.offer(call, NETWORK, subject=("network",), named=found["name"]),
        )
    )
    return {"it": found, "events": events, "deeds": offered}


async def show_kernels(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Kernels."""
    found, adding = await all_of((rows_of(call, "kernel", given), deeds.offer(call, ADD_KERNEL)))
    return {**found, "deeds": adding}


PAGES = (
    Page(
        "/storages", "Storages", "Data centre", LOOK, TEMPLATES, "storages.html", show_storages,
        deeds.actions(ADD_STORAGE),
    ),
    Page(
        "/storages/<int:id>", "Storage", "", LOOK, TEMPLATES, "storage.html", show_storage,
        deeds.actions(STORAGE, "storage", path="/storages/{id}"),
    ),
    Page(
        "/networks", "Networks", "Data centre", LOOK, TEMPLATES, "networks.html", show_networks,
        deeds.actions(ADD_NETWORK),
    ),
    Page(
        "/networks/<int:id>", "Network", "", LOOK, TEMPLATES, "network.html", show_network,
        deeds.actions(NETWORK, "network", path="/networks/{id}"),
    ),
    Page(
        "/kernels", "Kernels", "Data centre", LOOK, TEMPLATES, "kernels.html", show_kernels,
        {**deeds.actions(ADD_KERNEL), **deeds.actions(KERNEL, "kernel", "row", "/kernels")},
    ),
)  # fmt: skip
