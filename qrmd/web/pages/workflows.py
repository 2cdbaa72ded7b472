"""Workflows: what is under way, what is stuck, and every step of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrmd.hooks.registered import Page
from qrmd.operations.call import Call
from qrmd.operations.registry import LOOK
from qrmd.web import deeds
from qrmd.web.deeds import Deed
from qrmd.web.gather import all_of
from qrmd.web.render import TEMPLATES

LIVE = ("stuck", "planning", "running", "undoing")
PER_PAGE = 50
DEEDS = (
    Deed("cancel", "workflow.cancel", "Cancel", plans=True,
         hint="What it did is undone, from the next step boundary on."),
    Deed("retry", "workflow.retry", "Retry", plans=True, hint="The stuck step is tried again."),
    Deed("skip", "workflow.skip", "Skip the step", danger=True,
         hint="It goes on without the step; what that made stays known to the audit."),
    Deed("abandon", "workflow.abandon", "Abandon", danger=True, hint="It ends as it is; its subject stays in error."),
)  # fmt: skip


async def show_list(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those under way first, then the latest; or those that are searched for."""
    text, search = str(given.get("skip", "")), str(given.get("q", ""))[:100]
    where = {name: str(given[name]) for name in ("state", "operation") if given.get(name)}
    skip = int(text) if text.isdecimal() and len(text) < 10 else 0
    asked = {"where": where, "search": search, "order": "-id", "skip": skip, "limit": PER_PAGE + 1}
    *live, states, debts, rows = await all_of(
        (
            *(call.ask("workflow.list", {"where": {"state": state}, "order": "-id", "limit": 50}) for state in LIVE),
            call.ask("qrm.states"),
            call.ask("workflow.debts"),
            call.ask("workflow.list", asked),
        )
    )
    view = {"query": {**where, **({"q": search} if search else {})}, "search": search, "sort": "-id", "where": where,
            "filters": ["operation"], "states": states["workflow"], "total": None, "skip": skip,
            "next": skip + PER_PAGE if len(rows) > PER_PAGE else None, "per_page": PER_PAGE}  # fmt: skip
    first = not skip and not where and not search
    return {
        "live": [row for found in live for row in found] if first else [],
        "debts": debts if first else [],
        "rows": rows[:PER_PAGE],
        "view": view,
    }


async def show_one(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """One with its steps."""
    found = await call.ask("workflow.get", given["id"])
    offered = await deeds.offer(
        call, DEEDS, kind="workflow", state=found["state"], subject=("workflow",), named=str(found["id"])
    )
    steps, facts = found["steps"], found["facts"] or {}
    candidates = facts.get("placement", []) if isinstance(facts.get("placement"), list) else []
    return {
        "it": found,
        "deeds": offered,
        "live": found["state"] in {"planning", "running", "undoing"},
        "done": sum(each["state"] in {"done", "skipped", "undone", "debt", "owed"} for each in steps),
        "facts": {name: value for name, value in facts.items() if value is not candidates},
        "candidates": candidates,
    }


PAGES = (
    Page("/workflows", "Workflows", "Operation", LOOK, TEMPLATES, "workflows.html", show_list, {}),
    Page(
        "/workflows/<int:id>", "Workflow", "", LOOK, TEMPLATES, "workflow.html", show_one,
        deeds.actions(DEEDS, "workflow", path="/workflows/{id}"),
    ),
)  # fmt: skip
