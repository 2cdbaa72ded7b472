"""Resources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrmd.hooks.registered import Page
from qrmd.operations.call import Call
from qrmd.operations.registry import LOOK
from qrmd.states import ResourceState
from qrmd.web import deeds
from qrmd.web.deeds import Deed
from qrmd.web.gather import all_of, events_about, names_of, rows_of
from qrmd.web.render import TEMPLATES

_LIVING = frozenset(str(each) for each in ResourceState if each is not ResourceState.REMOVED)
_GONE_FROM = deeds.sources("resource", "removed") or frozenset({"new", "idle", "off", "lost", "error"})


def _power(action: str, label: str, *, danger: bool = False) -> Deed:
    fixed = {"action": action}
    return Deed(action, "resource.power", label, states=_LIVING, fixed=fixed, plans=True, danger=danger)


DEEDS = (
    _power("on", "Power on"),
    _power("shutdown", "Shut down"),
    _power("reset", "Reset", danger=True),
    _power("off", "Power off", danger=True),
    Deed("remove", "resource.remove", "Forget", states=_GONE_FROM, danger=True, to="/resources"),
)


async def show_list(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A page of them."""
    found, hosts, appliances = await all_of(
        (
            rows_of(call, "resource", given, ("state", "virtualization_type")),
            names_of(call, "host"),
            names_of(call, "appliance"),
        )
    )
    return {**found, "hosts": hosts, "appliances": appliances}


async def show_one(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """One, as our row and its host see it."""
    found = await call.ask("resource.get", given["id"])
    hosts, appliances, events, offered = await all_of(
        (
            names_of(call, "host"),
            names_of(call, "appliance"),
            events_about(call, f"resource:{found['id']}"),
            deeds.offer(call, DEEDS, kind="resource", state=found["state"], subject=("resource",), named=found["name"]),
        )
    )
    return {
        "it": found,
        "hosts": hosts,
        "appliances": appliances,
        "events": events,
        "deeds": [_explained(each, found) for each in offered],
    }


def _explained(offered: dict[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    if found["appliance_id"] is None or offered["why_not"]:
        return offered
    return {**offered, "why_not": f"it runs appliance {found['appliance_id']}: stop or restart that"}


PAGES = (
    Page("/resources", "Resources", "Data centre", LOOK, TEMPLATES, "resources.html", show_list, {}),
    Page(
        "/resources/<int:id>", "Resource", "", LOOK, TEMPLATES, "resource.html", show_one,
        deeds.actions(DEEDS, "resource", path="/resources/{id}"),
    ),
)  # fmt: skip
