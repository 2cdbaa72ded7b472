"""The first page: what needs a human, how much there is, what happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrmd.errors import QrmdError
from qrmd.hooks.registered import Page
from qrmd.operations.call import Call
from qrmd.operations.registry import LOOK
from qrmd.web.gather import all_of, count_states, each_or_fault
from qrmd.web.render import TEMPLATES

COUNTED = (("appliance", "/appliances"), ("resource", "/resources"), ("host", "/hosts"), ("image", "/images"))
MOST_PLACES = 50


async def show(call: Call, _given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Everything at once."""
    health, debts, stuck, running, events, *counts = await all_of(
        (
            call.ask("qrm.health"),
            call.ask("workflow.debts"),
            call.ask("workflow.list", {"where": {"state": "stuck"}, "limit": 20}),
            call.ask("workflow.list", {"where": {"state": "running"}, "limit": 20}),
            call.ask("event.list", {"where": {"newest": True}, "limit": 12}),
            *(count_states(call, noun) for noun, _ in COUNTED),
        )
    )
    plugins = await call.ask("plugin.list")
    return {
        "health": health,
        "debts": debts,
        "stuck": stuck,
        "running": running,
        "events": events,
        "faulty": [each for each in plugins if each["fault"]],
        "started": sum(each["state"] == "started" for each in plugins),
        "counts": [
            {"noun": noun, "path": path, "states": states, "total": sum(states.values())}
            for (noun, path), states in zip(COUNTED, counts, strict=True)
        ],
        "hosts": await capacity_of_hosts(call),
        "storages": await capacity_of_storages(call),
    }


async def capacity_of_hosts(call: Call) -> list[dict[str, Any]]:
    """Hosts with what they have promised, and of how much: ``cpus_total``, ``memory_total_mb``."""
    rows = await call.ask("host.list", {"fields": ["id"], "limit": MOST_PLACES})
    found = await each_or_fault(call.ask("host.get", row["id"]) for row in rows)
    return [
        {
            **host,
            "cpus_total": int(host["cpus"] * host["cpu_overcommit"]),
            "memory_total_mb": max(
                0, int((host["memory_mb"] - host["reserved_memory_mb"]) * host["memory_overcommit"])
            ),
        }
        for host in found
        if not isinstance(host, QrmdError)
    ]


async def capacity_of_storages(call: Call) -> list[dict[str, Any]]:
    """Storages with what they have promised; ``fault`` where one can't be looked at."""
    rows = await call.ask("storage.list", {"limit": MOST_PLACES})
    found = await each_or_fault(call.ask("storage.get", row["id"]) for row in rows)
    return [
        {**row, "fault": str(each), "promised_mb": 0, "total": 0}
        if isinstance(each, QrmdError)
        else {**each, "fault": "", "total": int(each["capacity_mb"] * each["overcommit"])}
        for row, each in zip(rows, found, strict=True)
    ]


PAGES = (Page("/", "Dashboard", "Overview", LOOK, TEMPLATES, "dashboard.html", show, {}),)
