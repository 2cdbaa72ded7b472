"""The leftovers audit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrmd.hooks.registered import Page
from qrmd.operations.call import Call
from qrmd.operations.registry import LOOK
from qrmd.web.deeds import options_of
from qrmd.web.render import TEMPLATES

ACTIONS = ("remove", "adopt", "ignore")


async def show(_call: Call, _given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Looking takes a while and is asked for."""
    return {}


async def look(call: Call, _given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Look everywhere now."""
    return {"report": await call.ask("audit.leftovers", {})}


async def act(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Remove, adopt or ignore what is ticked; nothing ticked: nothing is done."""
    chosen = given.get("only[]", [])
    what = str(given.get("what", "report")) if chosen else "report"
    report = await call.ask("audit.leftovers", options_of(given, action=what, only=chosen))
    return {"report": report, "notice": "" if chosen else "Nothing was ticked, so nothing was done."}


PAGES = (Page("/audit", "Leftovers", "Operation", LOOK, TEMPLATES, "audit.html", show, {"look": look, "act": act}),)
