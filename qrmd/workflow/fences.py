"""What is owed on fenced hosts: really done, last first, before such a host is admitted again."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import Deferred, DeferredLock

from qrmd.clock import SECOND, now_us
from qrmd.errors import StepFailed
from qrmd.states import StepState
from qrmd.store import fences, workflows
from qrmd.workflow.action import Action, Again
from qrmd.workflow.attempt import act
from qrmd.workflow.live import LiveStep, LiveWorkflow
from qrmd.workflow.parts import Parts


class Fences:
    """Pays what is owed at a place."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lock = DeferredLock()

    async def pay(self, place: str) -> list[str]:
        """Do all that is owed there. Returns the titles of the steps.

        Raises:
            StepFailed: one could not be done, it and the rest are still owed; what was done before it is not.
        """
        await self._lock.acquire()
        try:
            return await self._pay(place)
        finally:
            self._lock.release()

    async def _pay(self, place: str) -> list[str]:
        paid: list[str] = []
        for live in await self._parts.store.read(workflows.load_owing, self._parts.kinds, place):
            owed = [step for step in live.steps if step.state is StepState.OWED and step.step.place == place]
            for step in owed if live.kind.mirrored else reversed(owed):
                await self._do(live, step)
                await self._parts.store.write_urgently(fences.pay, live, step)
                paid.append(step.step.title)
        return paid

    async def _do(self, live: LiveWorkflow, step: LiveStep) -> None:
        action = self._parts.actions.get(step.step.action)
        if action is None:
            raise StepFailed(f"{step.step.title}: plugin {step.step.plugin} is not started", subject=live.subject)
        began = now_us()
        trial = replace(step, attempts=1, began_at=began, deadline=began + int(action.timeout * SECOND))
        try:
            await self._attempt(live, trial, action)
        except StepFailed as error:
            raise StepFailed(
                f"still owed: {step.step.title} (workflow {live.id}): {error.message}",
                subject=step.step.place,
                hint="mend it and ask again; the host stays fenced",
                workflow=live.id,
            ) from error

    async def _attempt(self, live: LiveWorkflow, step: LiveStep, action: Action) -> None:
        while True:
            outcome = await act(self._parts, live, step, action, undo=not live.kind.mirrored)
            if not isinstance(outcome, Again):
                return
            if now_us() > step.deadline:
                raise StepFailed(f"not so before its deadline: {outcome.note}", subject=live.subject)
            pause: Deferred[None] = Deferred()
            self._parts.clock.callLater(outcome.after, pause.callback, None)
            await pause
