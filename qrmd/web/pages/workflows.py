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
    Deed("cancel", "workflow.cancel", "Cancel", hint="What it did is undone, from the next step boundary on."),
    Deed("retry", "workflow.retry", "Retry", hint="The stuck step is tried again."),
    Deed("skip", "workflow.skip", "Skip the step", danger=True,
         hint="It goes on without the step; what that made stays known to the audit."),
    Deed("abandon", "workflow.abandon", "Abandon", danger=True, hint="It ends as it is; its subject stays in error."),
)  # fmt: skip


async def show_list(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those under way first, then the latest."""
    *live, debts, newest = await all_of(
        (
            *(call.ask("workflow.list", {"where": {"state": state}, "limit": 200}) for state in LIVE),
            call.ask("workflow.debts"),
            _newest(call),
        )
    )
    text = str(given.get("before", ""))
    before = int(text) if text.isdecimal() and len(text) < 16 else newest + 1
    first = max(0, before - PER_PAGE - 1)
    rows = await call.ask("workflow.list", {"after": first, "limit": PER_PAGE})
    return {
        "live": [row for rows in live for row in rows],
        "debts": debts,
        "rows": [row for row in reversed(rows) if row["id"] < before],
        "older": first + 1 if first else None,
        "first_page": before > newest,
    }


async def _newest(call: Call) -> int:
    """Id of the latest workflow, from the events: a list begins at its oldest row."""
    rows = await call.ask("event.list", {"where": {"newest": True}, "limit": 1000, "fields": ["workflow_id"]})
    seen = max((row["workflow_id"] or 0 for row in rows), default=0)
    while True:
        later = await call.ask("workflow.list", {"after": seen, "fields": ["id"], "limit": 1000})
        if not later:
            return seen
        seen = int(later[-1]["id"])


async def show_one(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """One with its steps."""
    found = await call.ask("workflow.get", given["id"])
    offered = await deeds.offer(call, DEEDS, kind="workflow", state=found["state"], subject=("workflow",))
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
