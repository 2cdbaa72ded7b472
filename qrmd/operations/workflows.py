"""Verbs about workflows."""

from __future__ import annotations

from functools import partial
from typing import Any

from qrmd.errors import NotFound
from qrmd.operations.call import Call
from qrmd.operations.inputs import Ident, Seconds
from qrmd.operations.registry import LOOK, OPERATE, verb
from qrmd.operations.schema import ListOptions, Options
from qrmd.store import claims, keys
from qrmd.store.connection import Db
from qrmd.store.find import page
from qrmd.store.rows import shape
from qrmd.workflow.plan import Phase
from qrmd.workflow.steering import Turn

_OPTIONS, _LIST = Options(), ListOptions()
FIELDS = (
    "id", "operation", "subject", "state", "parent", "arguments", "actor", "reason", "started_at", "ended_at",
    "facts", "fault", "cancel",
)  # fmt: skip
STEP_FIELDS = (
    "id", "position", "action", "plugin", "phase", "title", "state", "attempts", "began_at", "ended_at", "wake_at",
    "deadline", "note", "fault", "on_failure",
)  # fmt: skip


@verb("workflow.list", roles=LOOK)
async def workflow_list(call: Call, options: ListOptions = _LIST) -> list[dict[str, Any]]:
    """Workflows, oldest first, a page at a time."""
    return await call.read(_list, options)


def _list(db: Db, options: ListOptions) -> list[dict[str, Any]]:
    return [shape(row) for row in page(db, "workflows", FIELDS, options)]


@verb("workflow.get", roles=LOOK)
async def workflow_get(call: Call, workflow: Ident) -> dict[str, Any]:
    """One workflow with its steps, in order, its children, and what it holds."""
    return {**await call.read(_get, workflow), "claims": await call.read(claims.of_workflow, workflow)}


def _get(db: Db, ident: int) -> dict[str, Any]:
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
    }


@verb("workflow.wait", roles=LOOK)
async def workflow_wait(call: Call, workflow: Ident, seconds: Seconds = 30.0) -> dict[str, Any]:
    """Wait until a workflow has ended or is stuck, at most so many seconds; returns it as ``workflow.get`` does."""
    await call.core.engine.wait(workflow, seconds)
    return await call.read(_get, workflow)


async def _steer(call: Call, turn: Turn, workflow: int, options: Options) -> Any:
    """Take a turn, once per key; a dry run says what it would do. Returns the workflow's id."""
    await call.read(_get, workflow)
    if options.dry_run:
        return call.core.engine.preview(turn, workflow)
    if not options.key:
        await call.core.engine.steer(turn, workflow, call.actor, options.reason)
        return workflow
    known = await call.read(keys.find, call.actor.name, call.verb, options.key)
    if known is None:
        also = partial(keys.keep, actor=call.actor.name, verb=call.verb, key=options.key, result=workflow)
        await call.core.engine.steer(turn, workflow, call.actor, options.reason, also)
    return workflow if known is None else known


@verb("workflow.cancel", roles=OPERATE, changes=True)
async def workflow_cancel(call: Call, workflow: Ident, options: Options = _OPTIONS) -> Any:
    """Undo a workflow from its next step boundary on. Returns its id."""
    return await _steer(call, Turn.CANCEL, workflow, options)


@verb("workflow.retry", roles=OPERATE, changes=True)
async def workflow_retry(call: Call, workflow: Ident, options: Options = _OPTIONS) -> Any:
    """Try the stuck step of a workflow again. Returns its id."""
    return await _steer(call, Turn.RETRY, workflow, options)


@verb("workflow.skip", roles=OPERATE, changes=True)
async def workflow_skip(call: Call, workflow: Ident, options: Options = _OPTIONS) -> Any:
    """Go on without the stuck step; what it made stays known to the leftovers audit. Returns the workflow's id."""
    return await _steer(call, Turn.SKIP, workflow, options)


@verb("workflow.abandon", roles=OPERATE, changes=True)
async def workflow_abandon(call: Call, workflow: Ident, options: Options = _OPTIONS) -> Any:
    """End a stuck workflow as it is; its subject stays in error. Returns its id."""
    return await _steer(call, Turn.ABANDON, workflow, options)


@verb("workflow.debts", roles=LOOK)
async def workflow_debts(call: Call) -> list[dict[str, Any]]:
    """Steps that are still owed, with their last fault and the time of their next attempt."""
    return await call.read(_debts)


def _debts(db: Db) -> list[dict[str, Any]]:
    rows = db.rows(
        "SELECT s.id, s.workflow_id, w.operation, w.subject, s.title, s.state, s.place, s.attempts, s.fault, s.wake_at"
        " FROM steps s JOIN workflows w ON w.id = s.workflow_id WHERE s.state IN ('debt', 'owed')"
        " ORDER BY s.id LIMIT 1000"
    )
    return [shape(row) for row in rows]
