"""Hosts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrmd.hooks.registered import Page
from qrmd.operations.call import Call
from qrmd.operations.registry import LOOK
from qrmd.web import deeds
from qrmd.web.deeds import Deed
from qrmd.web.gather import all_of, events_about, rows_of
from qrmd.web.pages.dashboard import with_totals
from qrmd.web.render import TEMPLATES

ADD = (Deed("add", "host.add", "Add a host", to="/hosts/{id}", hint="It is reached and looked at first."),)
DEEDS = (
    Deed("maintenance", "host.maintenance", "Maintenance on", edge="host.maintenance on",
         fixed={"options.enabled": True}, hint="No new machines are placed there; what runs goes on running."),
    Deed("resume", "host.maintenance", "Maintenance off", edge="host.maintenance off",
         fixed={"options.enabled": False}),
    Deed("fence", "host.declare_fenced", "Declare it off", plans=True, danger=True,
         states=frozenset({"new", "up", "maintenance", "unreachable"}),
         hint="Only when you are certain that it is off: you have pulled its plug. Say how you know."),
    Deed("admit", "host.admit", "Admit it again", plans=True,
         hint="What is owed there is done first; then it takes machines again."),
    Deed("scrap", "host.scrap", "Scrap it", plans=True, danger=True, to="/hosts",
         hint="It never comes back: what is owed there and what we had there is written off."),
    Deed("remove", "host.remove", "Remove", danger=True, to="/hosts", hint="Nothing is changed on the host."),
)  # fmt: skip


async def show_list(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A page of them."""
    found, adding = await all_of(
        (rows_of(call, "host", given, ("state", "virtualization_type")), deeds.offer(call, ADD))
    )
    return {**found, "rows": [with_totals(each) for each in found["rows"]], "deeds": adding}


async def show_one(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """One, with what runs on it."""
    found = await call.ask("host.get", given["id"])
    events, offered = await all_of(
        (
            events_about(call, f"host:{found['id']}"),
            deeds.offer(call, DEEDS, kind="host", state=found["state"], subject=("host",), named=found["name"]),
        )
    )
    return {
        "it": with_totals(found),
        "events": events,
        "deeds": offered,
        "checked": None,
    }


async def check(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Reach it now; the page shows what it says."""
    checked = await call.ask("host.check", given["id"])
    if not checked["reached"]:
        return {"notice": f"It was not reached: {checked['fault']['message']}"}
    problems = "; ".join(checked["problems"]) or "nothing is missing"
    return {"notice": f"Reached: {checked['cpus']} processors, {checked['memory_mb']} MiB; {problems}."}


PAGES = (
    Page("/hosts", "Hosts", "Data centre", LOOK, TEMPLATES, "hosts.html", show_list, deeds.actions(ADD)),
    Page(
        "/hosts/<int:id>", "Host", "", LOOK, TEMPLATES, "host.html", show_one,
        {**deeds.actions(DEEDS, "host", path="/hosts/{id}"), "check": check},
    ),
)  # fmt: skip
