"""A plugin that comes when appliances run already, or goes while they do: what is added, what is withdrawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from qrmd import events
from qrmd.hooks.calls import Hooks
from qrmd.model import ApplianceView
from qrmd.states import ApplianceState as A
from qrmd.store import adoption, appliances
from qrmd.store.adoption import Thing
from qrmd.store.connection import Db, Transaction
from qrmd.workflow.action import Context, Done, Observation, Outcome
from qrmd.workflow.kinds import Journey, WorkflowKind
from qrmd.workflow.plan import Owned, Phase, Step

Arguments = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AdoptionView:
    """An appliance and a plugin.

    Attributes:
        owned: what the plugin has outside for it.
        slots: what the steps of its last start published.
    """

    plugin: str
    appliance: ApplianceView
    owned: frozenset[Thing]
    slots: Mapping[str, Any]


class Recall(Observation):
    """Publishes again what earlier steps have found out. Arguments: ``slots``."""

    name = "core.recall"
    timeout = 10.0
    retries = 0

    async def do(self, ctx: Context, args: Arguments) -> Outcome:
        """Nothing outside is looked at."""
        return Done(args["slots"])


def kinds(installation: str) -> list[WorkflowKind]:
    """Both operations leave the state of the appliance as it is: it goes on running, whatever comes of them."""
    seen = partial(view, installation)
    stays = partial(Journey, during=None, done=None, undone=None, stuck=None)
    return [
        WorkflowKind(
            "plugin.reconcile",
            "appliance",
            stays((A.ACTIVE, A.PAUSED)),
            seen,
            lacking,
            complete=partial(_tell, "appliance.reconciled"),
        ),
        WorkflowKind(
            "plugin.withdraw",
            "appliance",
            stays((A.ACTIVE, A.PAUSED, A.ERROR, A.STOPPED)),
            seen,
            withdrawn,
            complete=partial(_tell, "appliance.withdrawn"),
            compensates=False,
            mirrored=True,
        ),
    ]


def view(installation: str, db: Db, ident: int, arguments: Arguments, workflow: int) -> AdoptionView:
    """What is planned from; ``arguments``: ``plugin``."""
    plugin = arguments["plugin"]
    seen = appliances.view(db, ident, {}, workflow, installation)
    return AdoptionView(plugin, seen, adoption.owned(db, ident, plugin), adoption.slots(db, ident))


def lacking(hooks: Hooks, seen: AdoptionView) -> list[Step]:
    """The steps of the plugin's start that own something which is not there, and those that they need. Pure.

    A step that owns nothing leaves nothing outside, so it is not missed.
    """
    planned = hooks.steps("appliance_start", seen.appliance, only=seen.plugin)
    wanted = [step for step in planned if _things(step.owns) - seen.owned]
    for step in wanted:
        wanted += [each for each in planned if each not in wanted and set(each.provides) & set(step.needs)]
    known = {slot for step in wanted for slot in step.provides}
    recalled = {
        slot: seen.slots[slot] for step in wanted for slot in step.needs if slot not in known and slot in seen.slots
    }
    if not recalled:
        return wanted
    title = f"recall {', '.join(sorted(recalled))} of {seen.appliance.appliance.name}"
    return [Step("core.recall", {"slots": recalled}, Phase.FENCE, title, provides=tuple(recalled)), *wanted]


def withdrawn(hooks: Hooks, seen: AdoptionView) -> list[Step]:
    """The steps of the plugin's stop that take away what it has there. Pure.

    What other plugins' steps would have seen before (that the machine is off) is not waited for: it goes on running.
    """
    planned = hooks.steps("appliance_stop", seen.appliance, only=seen.plugin)
    wanted = [step for step in planned if _things(step.disowns) & seen.owned]
    known = {slot for step in wanted for slot in step.provides}
    return [replace(step, needs=tuple(slot for slot in step.needs if slot in known)) for step in wanted]


def _things(owned: Sequence[Owned]) -> frozenset[Thing]:
    return frozenset((each.kind, each.external_id, each.place) for each in owned)


def _tell(event: str, db: Transaction, ident: int, arguments: Arguments, workflow: int) -> None:
    events.append(db, event, f"appliance:{ident}", workflow_id=workflow, data={"plugin": arguments["plugin"]})
