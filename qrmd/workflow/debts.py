"""Steps that may come later: retried with back-off until they are paid, in view all the time."""

from __future__ import annotations

import logging

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from qrmd.clock import SECOND, now_us
from qrmd.errors import QrmdError
from qrmd.states import StepState
from qrmd.store import debts as rows
from qrmd.store import fences
from qrmd.store.workflows import Void
from qrmd.timers import Timer
from qrmd.workflow.action import Again
from qrmd.workflow.attempt import act, redact
from qrmd.workflow.live import LiveStep, LiveWorkflow
from qrmd.workflow.parts import Parts

log = logging.getLogger(__name__)

LEAST_PAUSE = 0.05


class Debts:
    """Ended workflows that still owe a step."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._debtors: dict[str, list[LiveWorkflow]] = {}
        self._timers: dict[int, Timer] = {}
        self._trying: dict[int, Deferred[None]] = {}
        self._draining = False

    def __len__(self) -> int:
        """How many workflows owe something."""
        return sum(map(len, self._debtors.values()))

    def add(self, live: LiveWorkflow) -> None:
        """Take over a workflow that ended with debts."""
        known = self._debtors.setdefault(live.subject, [])
        if all(each.id != live.id for each in known):
            known.append(live)
            for step in live.owing:
                self._later(live, step)

    def pay_now(self, place: str = "") -> None:
        """Try all debts at once, or those at a place (``host:1``): something changed there."""
        for known in self._debtors.values():
            for live in known:
                for step in live.owing:
                    if step.id in self._timers and place in {"", step.step.place}:
                        step.wake_at = 0
                        self._later(live, step)

    def drain(self) -> None:
        """Begin no further attempts."""
        self._draining = True
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()

    def against(self, live: LiveWorkflow) -> list[Void]:
        """Debts of earlier workflows of the same subject that went the other way: they end when this one begins.

        One that leaves the subject as it is ends nothing.
        """
        if live.kind.journey.during is None:
            return []
        earlier = self._debtors.get(live.subject, ())
        return [(each, each.owing) for each in earlier if each.kind.mirrored is not live.kind.mirrored and each.owing]

    async def forget(self, void: list[Void]) -> None:
        """These are not owed any more; returns when attempts under way have ended."""
        for debtor, owed in void:
            for step in owed:
                step.state = StepState.SKIPPED
                timer = self._timers.pop(step.id, None)
                if timer is not None and timer.active():
                    timer.cancel()
            self._settle(debtor)
        for _, owed in void:
            for step in owed:
                if step.id in self._trying:
                    ended: Deferred[None] = Deferred()
                    self._trying[step.id].addCallback(ended.callback)
                    await ended

    def _settle(self, live: LiveWorkflow) -> None:
        known = self._debtors.get(live.subject, [])
        if not live.owing and live in known:
            known.remove(live)
            if not known:
                del self._debtors[live.subject]

    def _later(self, live: LiveWorkflow, step: LiveStep) -> None:
        timer = self._timers.pop(step.id, None)
        if timer is not None and timer.active():
            timer.cancel()
        if not self._draining:
            pause = min(self._parts.pacing.longest_pause, (step.wake_at - now_us()) / SECOND)
            self._timers[step.id] = self._parts.clock.callLater(max(LEAST_PAUSE, pause), self._begin, live, step)

    def _begin(self, live: LiveWorkflow, step: LiveStep) -> None:
        del self._timers[step.id]
        ended: Deferred[None] = Deferred()
        self._trying[step.id] = ended

        def end(failure: Failure | None) -> None:
            del self._trying[step.id]
            if failure is not None:
                log.error("debt %s: %s", step.step.title, failure.getTraceback())
            if step.state is StepState.DEBT:
                self._later(live, step)
            ended.callback(None)

        Deferred.fromCoroutine(self._try(live, step)).addBoth(end)

    async def _try(self, live: LiveWorkflow, step: LiveStep) -> None:
        """One attempt; what it says about the step is only written while the step is still owed."""
        store = self._parts.store
        step.wake_at = now_us() + int(self._parts.pacing.pause(step.attempts + 1) * SECOND)
        if not await store.read(rows.is_debt, step):
            self._end(live, step, StepState.SKIPPED)  # written off with its host
            return
        if await store.read(fences.is_fenced, step.step.place):
            await self._rest(live, step)
            return
        step.attempts += 1
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
        if step.state is StepState.DEBT:
            await store.write_urgently(rows.make, live, step, fault, step.wake_at)
            step.fault = fault

    async def _rest(self, live: LiveWorkflow, step: LiveStep) -> None:
        """Its host is fenced, so it is not tried: what takes away is owed from now on, anything else waits."""
        step.wake_at = now_us() + int(self._parts.pacing.longest_pause * SECOND)
        if live.kind.mirrored and await self._parts.store.write_urgently(fences.defer, live, step):
            self._end(live, step, StepState.OWED)

    async def _paid(self, live: LiveWorkflow, step: LiveStep) -> None:
        if step.state is not StepState.DEBT:
            return
        await self._parts.store.write_urgently(rows.pay, live, step)
        self._end(live, step, StepState.DONE)

    def _end(self, live: LiveWorkflow, step: LiveStep, state: StepState) -> None:
        """It is no debt any more."""
        step.state = state
        self._settle(live)
