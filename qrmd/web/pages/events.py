"""Events: the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrmd.hooks.registered import Page
from qrmd.operations.call import Call
from qrmd.operations.registry import LOOK
from qrmd.web.render import TEMPLATES

FILTERS = ("kind", "severity", "actor", "subject", "workflow_id")
PER_PAGE = 100


async def show(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The newest first, chosen by the fields of the query."""
    where = {name: str(given[name]) for name in FILTERS if given.get(name)}
    text = str(given.get("before", ""))
    before = int(text) if text.isdecimal() and len(text) < 16 else 0
    options = {"where": where, "order": "-id", "limit": PER_PAGE + 1, "after": before}
    rows = await call.ask("event.list", options)
    older = rows[PER_PAGE - 1]["id"] if len(rows) > PER_PAGE else None
    return {"rows": rows[:PER_PAGE], "where": where, "before": before, "older": older}


PAGES = (Page("/events", "Events", "Operation", LOOK, TEMPLATES, "events.html", show, {}),)
