"""Steps that may come later: retried with back-off until they are paid, in view all the time."""

from __future__ import annotations

import logging

from twisted.internet.defer import Deferred

from qrmd.clock import SECOND, now_us
from qrmd.errors import QrmdError
from qrmd.states import StepState
from qrmd.workflow import journal
from qrmd.workflow.action import Again
from qrmd.workflow.attempt import act, back_off, redact
from qrmd.workflow.live import LiveStep, LiveWorkflow
from qrmd.workflow.parts import Parts

log = logging.getLogger(__name__)

LONGEST_PAUSE = 60.0


class Debts:
    """Ended workflows that still owe a step."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._debtors: dict[int, LiveWorkflow] = {}

    def __len__(self) -> int:
        """How many workflows owe something."""
        return len(self._debtors)

    def add(self, live: LiveWorkflow) -> None:
        """Take over a workflow that ended with debts."""
        if live.id not in self._debtors:
            self._debtors[live.id] = live
            for step in live.steps:
                if step.state is StepState.DEBT:
                    self._later(live, step)

    def pay_now(self) -> None:
        """Try all debts at once: something came back."""
        for live in self._debtors.values():
            for step in live.steps:
                step.wake_at = 0

    def _later(self, live: LiveWorkflow, step: LiveStep) -> None:
        pause = max(0.05, min(LONGEST_PAUSE, (step.wake_at - now_us()) / SECOND))
        self._parts.clock.callLater(
            pause, lambda: Deferred.fromCoroutine(self._try(live, step)).addErrback(log.error)
        )

    async def _try(self, live: LiveWorkflow, step: LiveStep) -> None:
        action = self._parts.actions.get(step.step.action)
        fault = {"message": f"plugin {step.step.plugin} is not started"}
        if action is not None:
            step.deadline = now_us() + int(action.timeout * SECOND)
            try:
                outcome = await act(self._parts, live, step, action, undo=False)
            except QrmdError as error:
                fault = redact(live, self._parts, error.as_dict())
            else:
                if not isinstance(outcome, Again):
                    await self._paid(live, step)
                    return
                fault = {"message": outcome.note}
        step.attempts += 1
        step.wake_at = now_us() + int(back_off(step.attempts) * SECOND)
        await self._parts.store.write_urgently(journal.debt, live, step, fault, step.wake_at)
        self._later(live, step)

    async def _paid(self, live: LiveWorkflow, step: LiveStep) -> None:
        await self._parts.store.write_urgently(journal.done, step, {})
        step.state = StepState.DONE
        if not any(each.state is StepState.DEBT for each in live.steps):
            await self._parts.store.write_urgently(journal.settle, live)
            self._debtors.pop(live.id, None)
