"""Plugins and the appliances that run already: what these lack, giving it to them, taking it back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from qrmd.deployment.adoption import AdoptionView, lacking, view
from qrmd.errors import Conflict, PluginFault, PreconditionFailed
from qrmd.operations.call import Call
from qrmd.operations.schema import Options
from qrmd.store import adoption
from qrmd.store.connection import Db
from qrmd.workflow.plan import Step

Lacking = tuple[int, list[Step]]
"""Id of an appliance, and what it lacks."""
PAGE = 100
LOOKED_AT = 500
"""Appliances that are looked at where it is only offered."""
GLANCE = 20
SURVEY_SECONDS = 0.25
"""For a survey, which is taken a glance at a time: who asks for a plugin does not wait for slow planners."""
SHOWN = 20
WAIT = 60.0
"""Seconds that each withdrawal gets at least, before the stop is refused."""


async def survey(call: Call, name: str) -> dict[str, Any]:
    """What appliances that run lack of a started plugin; empty when it is nothing.

    ``number`` of them, among the first ``looked_at``, which depends on how much time planners take; ``appliances``
    with the titles of ``steps``.
    """
    deadline = time.monotonic() + SURVEY_SECONDS
    found, looked_at = await _find_lacking(
        call, name, GLANCE, lambda _found, looked_at: looked_at >= LOOKED_AT or time.monotonic() > deadline
    )
    if not found:
        return {}
    shown = [{"appliance": ident, "steps": [step.title for step in steps]} for ident, steps in found[:SHOWN]]
    return {"number": len(found), "looked_at": looked_at, "appliances": shown}


async def _find_lacking(
    call: Call, name: str, page: int, is_enough: Callable[[int, int], bool]
) -> tuple[list[Lacking], int]:
    """Appliances that lack something, and how many were looked at.

    A page at a time: planners run on the reactor thread, and others have their turn in between.

    Args:
        is_enough: asked after each page, with the number of those found and of those looked at.
    """
    found: list[Lacking] = []
    looked_at = after = 0
    while call.core.hooks.implements(name, "appliance_start"):
        views = await call.read(_views, call, name, after, page)
        if not views:
            break
        planned = [(each.appliance.appliance.id, lacking(call.core.hooks, each)) for each in views]
        found += [(ident, steps) for ident, steps in planned if steps]
        looked_at, after = looked_at + len(views), planned[-1][0]
        if is_enough(len(found), looked_at):
            break
    return found, looked_at


def _views(db: Db, call: Call, name: str, after: int, page: int) -> list[AdoptionView]:
    arguments = {"plugin": name}
    return [view(call.core.installation, db, ident, arguments, 0) for ident in adoption.running(db, after, page)]


async def plans(call: Call, name: str) -> list[dict[str, Any]]:
    """What ``reconcile`` would do, of the first appliances."""
    found, _ = await _find_lacking(call, name, PAGE, lambda found, looked_at: looked_at >= LOOKED_AT or found >= PAGE)
    return [await _plan(call, "plugin.reconcile", ident, name) for ident, _ in found[:PAGE]]


async def withdrawals(call: Call, name: str) -> list[dict[str, Any]]:
    """What ``withdraw`` would do, of the first appliances."""
    return [await _plan(call, "plugin.withdraw", ident, name) for ident in (await _holding(call, name))[:PAGE]]


async def _holding(call: Call, name: str) -> list[int]:
    if not call.core.hooks.implements(name, "appliance_stop"):
        return []
    return await call.read(adoption.holding, name)


async def _plan(call: Call, operation: str, ident: int, name: str) -> dict[str, Any]:
    return (await call.core.engine.rehearse(operation, ident, {"plugin": name}, call.actor)).as_dict()


async def reconcile(call: Call, name: str, options: Options) -> dict[str, Any]:
    """Begin a workflow for each appliance that lacks something: ``{"workflows", "refused"}``."""
    found, _ = await _find_lacking(call, name, PAGE, lambda _found, _looked_at: False)
    begun: list[int] = []
    refused: list[dict[str, Any]] = []
    for ident, _ in found:
        try:
            begun.append(await _begin(call, "plugin.reconcile", ident, name, options))
        except (PreconditionFailed, PluginFault) as error:
            refused.append({"appliance": ident, "fault": error.as_dict()})
    return {"workflows": begun, "refused": refused}


async def withdraw(call: Call, name: str, options: Options, wait: float) -> None:
    """Take back what the plugin has outside for each appliance, and wait for that.

    Raises:
        Conflict: something could not be taken back; the plugin runs on.
    """
    begun = [await _begin(call, "plugin.withdraw", ident, name, options) for ident in await _holding(call, name)]
    for workflow in begun:
        await call.core.engine.wait(workflow, max(wait, WAIT))
    left = [workflow for workflow in begun if workflow in call.core.engine.live]
    if left:
        raise Conflict(
            f"{len(left)} withdrawals have not ended, the first is workflow {left[0]}",
            subject=f"plugin:{name}",
            hint=f"look at workflow.get {left[0]}; then stop it again",
            workflows=left[:100],
        )


async def _begin(call: Call, operation: str, ident: int, name: str, options: Options) -> int:
    return await call.core.engine.start(
        operation, ident, {"plugin": name}, actor=call.actor, reason=options.reason, parent=call.parent
    )
