"""The map: hosts, and what runs on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrmd.hooks.registered import Page
from qrmd.operations.call import Call
from qrmd.operations.registry import LOOK
from qrmd.web.gather import all_of
from qrmd.web.pages.dashboard import capacity_of_hosts
from qrmd.web.render import TEMPLATES


async def show(call: Call, _given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Hosts with their appliances, and what runs nowhere."""
    fields = ["id", "name", "state", "cpus", "memory_mb", "host_id"]
    hosts, appliances = await all_of((capacity_of_hosts(call), call.ask("appliance.list", {"fields": fields})))
    return {"hosts": hosts, "homeless": [each for each in appliances if each["host_id"] is None]}


PAGES = (Page("/map", "Data-centre map", "Overview", LOOK, TEMPLATES, "map.html", show, {}),)
