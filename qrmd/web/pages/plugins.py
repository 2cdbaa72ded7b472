"""Plugins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrmd.hooks.registered import Page
from qrmd.operations.call import Call
from qrmd.operations.registry import LOOK
from qrmd.web import deeds
from qrmd.web.deeds import Deed
from qrmd.web.render import TEMPLATES

DEEDS = (
    Deed("enable", "plugin.enable", "Enable", plans=True, hint="Its tables are made; none of its code runs yet."),
    Deed("start", "plugin.start", "Start", plans=True, hint="Its types, verbs and pages appear at once."),
    Deed("reconcile", "plugin.reconcile", "Reconcile", states=frozenset({"started"}), plans=True,
         hint="Appliances that run already get what they lack of it; they go on running."),
    Deed("stop", "plugin.stop", "Stop", plans=True, hint="Refused while something needs it."),
    Deed("disable", "plugin.disable", "Disable", states=frozenset({"enabled", "started"}), plans=True,
         hint="Its data stays until it is purged."),
    Deed("purge", "plugin.purge", "Purge its data", states=frozenset({"installed"}), danger=True,
         hint="All its tables are dropped for good."),
)  # fmt: skip
PARKED = (
    Deed("unpark", "plugin.unpark", "Show again", skip=frozenset({"options.skip"})),
    Deed("skip", "plugin.unpark", "Skip", fixed={"options.skip": True}),
)


async def show_list(call: Call, _given: Mapping[str, Any]) -> Mapping[str, Any]:
    """All that are installed."""
    return {"rows": await call.ask("plugin.list")}


async def show_one(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """One: what it offers, what needs it, what it made."""
    found = await call.ask("plugin.get", given["name"])
    offered = await deeds.offer(
        call, DEEDS, kind="plugin", state=found["state"], subject=("name",), named=found["name"]
    )
    return {"it": found, "deeds": offered}


PAGES = (
    Page("/plugins", "Plugins", "Administration", LOOK, TEMPLATES, "plugins.html", show_list, {}),
    Page(
        "/plugins/<name>", "Plugin", "", LOOK, TEMPLATES, "plugin.html", show_one,
        deeds.actions((*DEEDS, *PARKED), "name", "name", "/plugins/{name}"),
    ),
)  # fmt: skip
