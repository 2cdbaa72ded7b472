"""Verbs about workflows."""

from __future__ import annotations

from functools import partial
from typing import Any

from qrmd.operations.call import Call
from qrmd.operations.inputs import Ident, Seconds
from qrmd.operations.registry import LOOK, OPERATE, verb
from qrmd.operations.schema import ListOptions, Options
from qrmd.store import keys, progress
from qrmd.workflow.steering import Turn

_OPTIONS, _LIST = Options(), ListOptions()


@verb("workflow.list", roles=LOOK)
async def workflow_list(call: Call, options: ListOptions = _LIST) -> list[dict[str, Any]]:
    """Workflows, oldest first, a page at a time."""
    return await call.read(progress.list_page, options)


@verb("workflow.get", roles=LOOK)
async def workflow_get(call: Call, workflow: Ident) -> dict[str, Any]:
    """One workflow with its steps, in order, its children, and what it holds."""
    return await call.read(progress.show_one, workflow)


@verb("workflow.wait", roles=LOOK)
async def workflow_wait(call: Call, workflow: Ident, seconds: Seconds = 30.0) -> dict[str, Any]:
    """Wait until a workflow has ended or is stuck, at most so many seconds; returns it as ``workflow.get`` does."""
    await call.core.engine.wait(workflow, seconds)
    return await call.read(progress.show_one, workflow)


async def _steer(call: Call, turn: Turn, workflow: int, options: Options) -> Any:
    """Take a turn, once per key; a dry run says what it would do. Returns the workflow's id."""
    await call.read(progress.show_one, workflow)
    if options.dry_run:
        return call.core.engine.preview(turn, workflow)
    if not options.key:
        await call.core.engine.steer(turn, workflow, call.actor, options.reason)
        return workflow
    known = await call.known(options)
    if known is None:
        also = partial(keys.keep, actor=call.asker, verb=call.verb, key=options.key, result=workflow)
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
    return await call.read(progress.list_debts)
