"""The first page: what needs a human, how much there is, what happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrmd.hooks.registered import Page
from qrmd.operations.call import Call
from qrmd.operations.registry import LOOK
from qrmd.web.gather import all_of, every
from qrmd.web.render import TEMPLATES

COUNTED = (("appliance", "/appliances"), ("resource", "/resources"), ("host", "/hosts"), ("image", "/images"))
ALARMING = {
    "appliance": ("error", "paused"),
    "resource": ("error", "lost"),
    "host": ("unreachable", "fenced"),
    "image": ("error",),
}
MOST_HOSTS, MOST_STORAGES, SHOWN = 5000, 50, 8


async def show(call: Call, _given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Everything at once."""
    states, health, debts, stuck, running, events, plugins, hosts, storages = await all_of(
        (
            call.ask("qrm.states"),
            call.ask("qrm.health"),
            call.ask("workflow.debts"),
            call.ask("workflow.list", {"where": {"state": "stuck"}, "limit": 20}),
            call.ask("workflow.list", {"where": {"state": "running"}, "order": "-id", "limit": SHOWN}),
            call.ask("event.list", {"order": "-id", "limit": 12}),
            call.ask("plugin.list"),
            capacity_of_hosts(call),
            capacity_of_storages(call),
        )
    )
    return {
        "health": health,
        "debts": debts,
        "stuck": stuck,
        "running": running,
        "under_way": states["workflow"].get("running", 0),
        "events": events,
        "faulty": [each for each in plugins if each["fault"]],
        "parked": [each for each in plugins if each["parked"]],
        "started": sum(each["state"] == "started" for each in plugins),
        "alarms": [
            {"noun": noun, "state": state, "path": f"/{noun}s?state={state}", "number": states[noun][state]}
            for noun, wanted in ALARMING.items()
            for state in wanted
            if states[noun].get(state)
        ],
        "counts": [
            {"noun": noun, "path": path, "states": states[noun], "total": sum(states[noun].values())}
            for noun, path in COUNTED
        ],
        "hosts": sorted(hosts, key=fullness, reverse=True)[:SHOWN],
        "all_hosts": len(hosts),
        "whole": {
            name: sum(each[name] for each in hosts if each["state"] == "up")
            for name in ("used_cpus", "cpus_total", "used_memory_mb", "memory_total_mb")
        },
        "storages": storages,
    }


def fullness(host: Mapping[str, Any]) -> float:
    """How much of its scarcest part a host has promised."""
    parts = (("used_cpus", "cpus_total"), ("used_memory_mb", "memory_total_mb"))
    return max(host[used] / host[total] if host[total] else 0.0 for used, total in parts)


async def capacity_of_hosts(call: Call) -> list[dict[str, Any]]:
    """Hosts with what they have promised, and of how much; see ``with_totals``."""
    fields = ("name", "state", "virtualization_type", "cpus", "memory_mb", "cpu_overcommit", "memory_overcommit",
              "reserved_memory_mb", "used_cpus", "used_memory_mb", "machines")  # fmt: skip
    return [with_totals(each) for each in await every(call, "host", fields, MOST_HOSTS)]


def with_totals(host: Mapping[str, Any]) -> dict[str, Any]:
    """A host with ``cpus_total`` and ``memory_total_mb``: what it may promise."""
    memory = (host["memory_mb"] - host["reserved_memory_mb"]) * host["memory_overcommit"]
    return {**host, "cpus_total": int(host["cpus"] * host["cpu_overcommit"]), "memory_total_mb": max(0, int(memory))}


async def capacity_of_storages(call: Call) -> list[dict[str, Any]]:
    """Storages with what they have promised, and of how much: ``total``. None of them is asked."""
    rows = await call.ask("storage.list", {"limit": MOST_STORAGES})
    return [{**each, "total": int(each["capacity_mb"] * each["overcommit"])} for each in rows]


PAGES = (Page("/", "Dashboard", "Overview", LOOK, TEMPLATES, "dashboard.html", show, {}),)
