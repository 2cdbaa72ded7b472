"""The map: hosts, and what runs on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from qrmd.hooks.registered import Page
from qrmd.operations.call import Call
from qrmd.operations.registry import LOOK
from qrmd.web.gather import all_of, every
from qrmd.web.pages.dashboard import capacity_of_hosts
from qrmd.web.render import TEMPLATES

MOST = 5000
FIELDS = ("name", "state", "cpus", "memory_mb", "host_id")


async def show(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Hosts with their appliances, and how many run nowhere; chosen by a part of a name and by a host's state."""
    search, state = str(given.get("q", ""))[:100].strip().lower(), str(given.get("state", ""))
    hosts, appliances = await all_of((capacity_of_hosts(call), every(call, "appliance", FIELDS, MOST)))
    there: dict[int | None, list[dict[str, Any]]] = {}
    for each in sorted(appliances, key=lambda each: str(each["name"])):
        there.setdefault(each["host_id"], []).append(each)
    shown = [_with(host, there.get(host["id"], []), search) for host in hosts if state in {"", host["state"]}]
    return {
        "hosts": [host for host in shown if not search or search in host["name"] or host["appliances"]],
        "homeless": Counter(each["state"] for each in there.get(None, [])).most_common(),
        "states": Counter(host["state"] for host in hosts).most_common(),
        "all_hosts": len(hosts),
        "search": search,
        "state": state,
        "cut": MOST if len(appliances) == MOST else 0,
    }


def _with(host: dict[str, Any], appliances: list[dict[str, Any]], search: str) -> dict[str, Any]:
    """The host with what runs there; of what is searched for, unless it is the host itself."""
    wanted = appliances if search in host["name"] else [each for each in appliances if search in each["name"]]
    return {**host, "appliances": wanted}


PAGES = (Page("/map", "Data-centre map", "Overview", LOOK, TEMPLATES, "map.html", show, {}),)
