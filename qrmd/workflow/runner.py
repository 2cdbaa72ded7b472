"""Running one workflow forward and backward over its journal."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from qrmd.clock import SECOND, now_us
from qrmd.errors import Conflict, QrmdError, StepFailed
from qrmd.states import StepState, WorkflowState
from qrmd.store import debts, fences, journal
from qrmd.workflow.action import Action, Again, Observation
from qrmd.workflow.attempt import NeverEnded, act, redact
from qrmd.workflow.live import Begin, LiveStep, LiveWorkflow
from qrmd.workflow.parts import Parts
from qrmd.workflow.plan import OnFailure

log = logging.getLogger(__name__)

LEAST_UNDO = 60.0
LONG_WAIT = 5.0
"""Seconds from which on each wish to wait is a row, and not the first one only."""
DRAINING = 1.0
CANCELLED: Mapping[str, Any] = {"code": 409, "error": "Cancelled", "message": "cancelled"}


class Runner:
    """Drives live workflows; ``advance`` returns the seconds until it wants to be called again.

    What is in memory changes after the write that says so, never before: after a failed write the same is tried again.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.draining = False

    async def advance(self, live: LiveWorkflow) -> float | None:
        """Go on as far as possible now. None: it has ended or is stuck."""
        try:
            pause = await self._forward(live) if live.state is WorkflowState.RUNNING else None
            if pause is None and _undoing(live):
                pause = await self._backward(live)
        except NeverEnded as error:
            await self.stick(live, live.current, redact(live, self._parts, error.as_dict()))
            return None
        return pause

    async def stick(self, live: LiveWorkflow, step: LiveStep | None, fault: Mapping[str, Any]) -> None:
        """A human is asked to decide about a step."""
        await self._parts.store.write_urgently(journal.stick, live, step, fault)
        live.state, live.fault, live.carried, live.intended = WorkflowState.STUCK, fault, (), None
        if step is not None:
            step.wake_at, step.fault = 0, fault
        live.current = step

    # ------------------------------------------------------------ forward

    async def _forward(self, live: LiveWorkflow) -> float | None:
        pauses: list[float] = []
        for step in live.steps:
            if step.ended or not _needs_met(live, step):
                continue
            if live.kind.compensates and (live.cancel or step.given_up):
                await self._turn_back(live, step.fault if step.given_up else CANCELLED)
                return None
            if step.given_up:
                continue
            if self.draining:
                await self._flush(live)
                return DRAINING
            pause = await self._attempt(live, step)
            if pause is not None:
                pauses.append(pause)
                if live.kind.compensates or self._holds(step):
                    return min(pauses)
            elif step.given_up and live.kind.compensates:
                await self._turn_back(live, step.fault)
                return None
        if pauses:
            await self._flush(live)
            return min(pauses)
        await self._arrive(live)
        return None

    def _holds(self, step: LiveStep) -> bool:
        """A step that waits holds the phases after it; one that failed, or whose plugin is away, does not."""
        return step.state is StepState.WAITING and step.step.action in self._parts.actions

    async def _arrive(self, live: LiveWorkflow) -> None:
        """Nothing is left to try: it is done, or a step of a plan that never compensates gave up."""
        broken = next((step for step in live.steps if step.given_up), None)
        if broken is not None:
            await self.stick(live, broken, broken.fault)
            return
        try:
            await self._parts.store.write_urgently(journal.finish, live)
        except journal.CancelAsked:
            await self._turn_back(live, CANCELLED)
            return
        live.state, live.carried = WorkflowState.DONE, ()

    async def _attempt(self, live: LiveWorkflow, step: LiveStep) -> float | None:
        """One attempt: seconds to wait, or None when it is done, became a debt or gave up."""
        now, unwritten = now_us(), None
        action = self._parts.actions.get(step.step.action)
        if action is None:
            await self._flush(live)
            await self._note(step, f"waiting for plugin {step.step.plugin} to be started")
            return self._parts.pacing.plugin_pause
        if step.wake_at > now:
            await self._flush(live)
            return (step.wake_at - now) / SECOND
        if step.state is StepState.WAITING:
            await self._flush(live)
        elif live.intended is step:
            live.intended = None
        elif await (self._owe(live, step) if live.kind.mirrored else self._is_barred(live, step)):
            return None
        else:
            begin = _beginning(step, action)
            if isinstance(action, Observation) and not step.step.owns:
                unwritten = begin
            else:
                await self._intend(live, step, begin)
            step.begin(begin)
        live.current = step
        try:
            outcome = await act(self._parts, live, step, action, undo=False)
        except NeverEnded:
            raise
        except QrmdError as error:
            await self._intend(live, step, unwritten)
            return await self._failure(live, step, action, error)
        if isinstance(outcome, Again):
            await self._intend(live, step, unwritten)
            return await self._wait(live, step, outcome)
        step.state, step.wake_at = StepState.DONE, 0
        live.slots.update(outcome.result)
        live.carried += ((step, outcome.result),)
        live.failures = 0
        return None

    async def _intend(self, live: LiveWorkflow, step: LiveStep, begin: Begin | None) -> None:
        """None: its row says so already. That of an observation says so when it has not ended well at once."""
        if begin is not None:
            await self._parts.store.write_urgently(journal.intend, live, step, begin)
            live.carried = ()

    async def _wait(self, live: LiveWorkflow, step: LiveStep, again: Again) -> float | None:
        """Short waits are a row once, and stay in memory while their note is the same."""
        if now_us() > step.deadline:
            fault = StepFailed(f"not so before its deadline: {again.note or 'still waiting'}", subject=live.subject)
            await self._exhausted(live, step, fault)
            return None
        if step.state is not StepState.WAITING or step.note != again.note or again.after >= LONG_WAIT:
            wake_at = now_us() + int(again.after * SECOND)
            await self._parts.store.write_urgently(journal.waiting, step, wake_at, again.note)
            step.state, step.note = StepState.WAITING, again.note
        step.wake_at = 0  # a wake-up may come earlier
        return again.after

    async def _failure(self, live: LiveWorkflow, step: LiveStep, action: Action, error: QrmdError) -> float | None:
        """Retry while it is worth it, else decide what the failure means."""
        retryable = isinstance(error, StepFailed) and now_us() < step.deadline
        stubborn = not live.kind.compensates and step.step.on_failure is OnFailure.UNDO
        if retryable and (step.attempts <= action.retries or stubborn):
            pause = self._parts.pacing.pause(step.attempts)
            await self._failed(live, step, StepState.FAILED, error, pause)
            return pause
        await self._exhausted(live, step, error)
        return None

    async def _exhausted(self, live: LiveWorkflow, step: LiveStep, error: QrmdError) -> None:
        """No further attempt by itself: a debt, or a step that gave up."""
        if step.step.on_failure is not OnFailure.LATER:
            await self._failed(live, step, StepState.FAILED, error, 0)
            return
        fault = redact(live, self._parts, error.as_dict())
        wake_at = now_us() + int(self._parts.pacing.pause(step.attempts) * SECOND)
        await self._parts.store.write_urgently(debts.make, live, step, fault, wake_at)
        step.state, step.wake_at, step.fault = StepState.DEBT, wake_at, fault

    async def _failed(
        self, live: LiveWorkflow, step: LiveStep, state: StepState, error: QrmdError, pause: float
    ) -> None:
        fault = redact(live, self._parts, error.as_dict())
        wake_at = now_us() + int(pause * SECOND) if pause else 0
        await self._parts.store.write_urgently(journal.failed, step, state, fault, wake_at)
        step.state, step.wake_at, step.fault = state, wake_at, fault

    async def _turn_back(self, live: LiveWorkflow, fault: Mapping[str, Any]) -> None:
        await self._parts.store.write_urgently(journal.turn_back, live, fault)
        live.state, live.fault, live.carried = WorkflowState.UNDOING, fault, ()
        for step in live.steps:
            step.wake_at = step.deadline = 0

    async def _flush(self, live: LiveWorkflow) -> None:
        if live.carried:
            await self._parts.store.write_urgently(journal.save_carried, live)
            live.carried = ()

    async def _note(self, step: LiveStep, note: str) -> None:
        if step.note != note:
            await self._parts.store.write_urgently(journal.noted, step, note)
            step.note = note

    # ------------------------------------------------------------ backward

    async def _backward(self, live: LiveWorkflow) -> float | None:
        for step in reversed(live.steps):
            if not step.touched:
                continue
            if self.draining:
                return DRAINING
            under_way = step.state is StepState.UNDOING and step.deadline
            if not under_way and await self._owe(live, step):
                continue
            pause = await self._undo(live, step)
            if pause is not None or not _undoing(live):
                return pause
        await self._parts.store.write_urgently(journal.retreat, live)
        live.state = WorkflowState.UNDONE
        return None

    async def _undo(self, live: LiveWorkflow, step: LiveStep) -> float | None:
        now = now_us()
        action = self._parts.actions.get(step.step.action)
        if action is None:
            await self._note(step, f"waiting for plugin {step.step.plugin} to be started")
            return self._parts.pacing.plugin_pause
        if step.wake_at > now:
            return (step.wake_at - now) / SECOND
        if step.state is not StepState.UNDOING or not step.deadline:
            await self._intend_undo(step, action)
        live.current = step
        try:
            outcome = await act(self._parts, live, step, action, undo=True)
        except NeverEnded:
            raise
        except QrmdError as error:
            return await self._undo_failed(live, step, error)
        if isinstance(outcome, Again):
            if now_us() <= step.deadline:
                return outcome.after
            return await self._undo_failed(live, step, StepFailed(f"not undone in time: {outcome.note}"))
        await self._parts.store.write_urgently(journal.undone, step)
        step.state = StepState.UNDONE
        live.failures = 0
        return None

    async def _intend_undo(self, step: LiveStep, action: Action) -> None:
        """Each attempt of an undo has its own deadline."""
        deadline = now_us() + int(max(action.timeout, LEAST_UNDO) * SECOND)
        if step.state is not StepState.UNDOING:
            step.attempts = 0
        step.attempts += 1
        await self._parts.store.write_urgently(journal.undoing, step, deadline)
        step.state, step.deadline, step.note = StepState.UNDOING, deadline, ""

    async def _undo_failed(self, live: LiveWorkflow, step: LiveStep, error: QrmdError) -> float | None:
        if step.attempts >= self._parts.pacing.undo_attempts:
            await self.stick(live, step, redact(live, self._parts, error.as_dict()))
            return None
        pause = self._parts.pacing.pause(step.attempts)
        await self._failed(live, step, StepState.UNDOING, error, pause)
        step.deadline = 0
        return pause

    # ------------------------------------------------------------ fenced hosts

    async def _owe(self, live: LiveWorkflow, step: LiveStep) -> bool:
        """Whether its host is fenced: then nothing is there to be taken away now, and it is owed."""
        store = self._parts.store
        if not step.step.place or not await store.read(fences.is_fenced, step.step.place):
            return False
        if not await store.write_urgently(fences.owe, live, step):
            return False
        step.state, step.wake_at, live.carried = StepState.OWED, 0, ()
        return True

    async def _is_barred(self, live: LiveWorkflow, step: LiveStep) -> bool:
        """Whether it has failed and its host is fenced by now: nothing is made there, so it gives up at once."""
        if not step.fault or not await self._parts.store.read(fences.is_fenced, step.step.place):
            return False
        hint = "host.admit it and workflow.retry; or workflow.abandon, and stop what it was for: that gives it up there"
        await self._exhausted(live, step, Conflict("its host is fenced", subject=step.step.place, hint=hint))
        return True


def _beginning(step: LiveStep, action: Action) -> Begin:
    now = now_us()
    return Begin(step.attempts + 1, step.began_at or now, step.deadline or now + int(action.timeout * SECOND))


def _undoing(live: LiveWorkflow) -> bool:
    return live.state is WorkflowState.UNDOING


def _needs_met(live: LiveWorkflow, step: LiveStep) -> bool:
    """Whether every slot it needs comes from a step that has ended (a skipped one counts: a human said so)."""
    if not step.step.needs:
        return True
    return all(provider.ended for slot in step.step.needs for provider in live.steps if slot in provider.step.provides)
