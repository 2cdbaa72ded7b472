"""Appliances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrmd.errors import QrmdError
from qrmd.hooks.registered import Page
from qrmd.operations.call import Call
from qrmd.operations.registry import LOOK
from qrmd.web import deeds
from qrmd.web.deeds import Deed
from qrmd.web.gather import all_of, each_or_fault, events_about, names_of, rows_of
from qrmd.web.render import TEMPLATES

ADD = (Deed("add", "appliance.add", "Add an appliance", to="/appliances/{id}", skip=frozenset({"spec.owner"})),)
DEEDS = (
    Deed("start", "appliance.start", "Start", plans=True, hint="A password is for its first login without an ssh key."),
    Deed("stop", "appliance.stop", "Stop", plans=True, hint="Its disk and addresses stay."),
    Deed("restart", "appliance.restart", "Restart", plans=True),
    Deed("update", "appliance.update", "Change", states=frozenset({"stopped"})),
    Deed("remove", "appliance.remove", "Remove", danger=True, hint="Its disk is lost."),
)


async def show_list(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A page of them."""
    found, images, hosts, adding = await all_of(
        (
            rows_of(call, "appliance", given, ("state", "virtualization_type", "owner")),
            names_of(call, "image"),
            names_of(call, "host"),
            deeds.offer(call, ADD),
        )
    )
    return {**found, "images": images, "hosts": hosts, "deeds": adding}


async def show_one(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """One, with what can be done to it."""
    found = await call.ask("appliance.get", given["id"])
    subject = f"appliance:{found['id']}"
    images, hosts, networks, storages, events, offered = await all_of(
        (
            names_of(call, "image"),
            names_of(call, "host"),
            names_of(call, "network"),
            names_of(call, "storage"),
            events_about(call, subject),
            deeds.offer(
                call, DEEDS, kind="appliance", state=found["state"], workflow=found["workflow"],
                subject=("appliance",), current=found, named=found["name"],
            ),
        )
    )  # fmt: skip
    (placement,) = await each_or_fault([call.ask("appliance.explain", found["id"])])
    return {
        "it": found,
        "images": images,
        "hosts": hosts,
        "networks": networks,
        "storages": storages,
        "events": events,
        "deeds": offered,
        "candidates": _candidates(placement),
        "no_place": str(placement) if isinstance(placement, QrmdError) else "",
    }


def _candidates(placement: dict[str, Any] | QrmdError) -> list[dict[str, Any]]:
    source: Mapping[str, Any] = placement.data if isinstance(placement, QrmdError) else placement
    return list(source.get("candidates", []))


async def show_console(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """What it wrote to its serial console."""
    found = await call.ask("appliance.get", given["id"])
    return {"it": found, "log": await call.ask("appliance.console_log", found["id"])}


PAGES = (
    Page("/appliances", "Appliances", "Data centre", LOOK, TEMPLATES, "appliances.html", show_list, deeds.actions(ADD)),
    Page(
        "/appliances/<int:id>", "Appliance", "", LOOK, TEMPLATES, "appliance.html", show_one,
        deeds.actions(DEEDS, "appliance", path="/appliances/{id}"),
    ),
    Page("/appliances/<int:id>/console", "Console", "", LOOK, TEMPLATES, "console.html", show_console, {}),
)  # fmt: skip
