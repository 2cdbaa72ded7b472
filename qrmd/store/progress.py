"""Workflows, their steps and what they owe, as people see them."""

from __future__ import annotations

from typing import Any

from qrmd.errors import NotFound
from qrmd.operations.schema import ListOptions
from qrmd.store import claims
from qrmd.store.connection import Db
from qrmd.store.debts import UNPAID_STEPS
from qrmd.store.find import page
from qrmd.store.rows import shape, shapes
from qrmd.workflow.plan import Phase

FIELDS = (
    "id", "operation", "subject", "state", "parent", "arguments", "actor", "reason", "started_at", "ended_at",
    "facts", "fault", "cancel",
)  # fmt: skip
STEP_FIELDS = (
    "id", "position", "action", "plugin", "phase", "title", "state", "attempts", "began_at", "ended_at", "wake_at",
    "deadline", "note", "fault", "on_failure",
)  # fmt: skip
_DEBTS = f"""
SELECT s.id, s.workflow_id, w.operation, w.subject, s.title, s.state, s.place, s.attempts, s.fault, s.wake_at
FROM steps s JOIN workflows w ON w.id = s.workflow_id WHERE s.id IN ({UNPAID_STEPS})
"""  # noqa: S608 - our own text


def list_page(db: Db, options: ListOptions) -> list[dict[str, Any]]:
    """A page of workflows. Raises InvalidInput for an unknown field."""
    return page(db, "workflows", FIELDS, options)


def show_one(db: Db, ident: int) -> dict[str, Any]:
    """A workflow with its steps, in order, its children, and what it holds. Raises NotFound."""
    row = db.row(f"SELECT {', '.join(FIELDS)} FROM workflows WHERE id = ?", (ident,))  # noqa: S608 - our own names
    if row is None:
        raise NotFound(f"there is no workflow {ident}", hint="qrm workflow list")
    steps = db.rows(
        f"SELECT {', '.join(STEP_FIELDS)} FROM steps WHERE workflow_id = ? ORDER BY position",  # noqa: S608
        (ident,),
    )
    children = db.rows("SELECT id, operation, subject, state FROM workflows WHERE parent = ? ORDER BY id", (ident,))
    return {
        **shape(row),
        "steps": [{**shape(step), "phase": Phase(step["phase"]).name.lower()} for step in steps],
        "children": [dict(child) for child in children],
        "claims": claims.of_workflow(db, ident),
    }


def list_debts(db: Db) -> list[dict[str, Any]]:
    """Steps that are still owed, the oldest 1000."""
    return shapes(db.rows(f"{_DEBTS} ORDER BY s.id LIMIT 1000"))


def owed_at(db: Db, place: str) -> list[dict[str, Any]]:
    """Steps that are still owed at a place (``host:1``), the oldest 1000."""
    told = "SELECT workflow_id, operation, subject, title, state FROM"
    return shapes(db.rows(f"{told} ({_DEBTS} AND s.place = ?) ORDER BY id LIMIT 1000", (place,)))
