"""Running one workflow forward and backward over its journal."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qrmd.clock import SECOND, now_us
from qrmd.errors import QrmdError, StepFailed
from qrmd.states import StepState, WorkflowState
from qrmd.store.connection import Transaction
from qrmd.workflow import journal
from qrmd.workflow.action import Action, Again
from qrmd.workflow.attempt import NeverEnded, act, back_off, redact
from qrmd.workflow.live import LiveStep, LiveWorkflow
from qrmd.workflow.parts import Parts
from qrmd.workflow.plan import OnFailure

log = logging.getLogger(__name__)

UNDO_ATTEMPTS = 8
PLUGIN_PAUSE = 2.0


@dataclass(frozen=True, slots=True)
class _Carried:
    """A finished step whose row is written together with the next intent."""

    step: LiveStep
    result: Mapping[str, Any]


class _FailedError(Exception):
    """A step gave up; ``args[0]`` is the fault as a dict."""


class Runner:
    """Drives live workflows; ``advance`` returns the seconds until it wants to be called again."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def advance(self, live: LiveWorkflow) -> float | None:
        """Go on as far as possible now. None: it has ended or is stuck."""
        try:
            if live.state is WorkflowState.RUNNING:
                pause = await self._forward(live)
                if pause is not None or not live.undoing:
                    return pause
            if live.undoing:
                return await self._backward(live)
        except NeverEnded as error:
            await self._stick(live, _current(live), error.as_dict())
        return None

    # ------------------------------------------------------------ forward

    async def _forward(self, live: LiveWorkflow) -> float | None:
        pauses: list[float] = []
        carried: _Carried | None = None
        for step in live.steps:
            if step.ended:
                continue
            if live.cancel and live.kind.compensates:
                await self._flush(carried)
                return await self._turn_back(live, {"code": 409, "message": "cancelled", "error": "Cancelled"})
            if not _needs_met(live, step):
                continue
            try:
                outcome = await self._attempt(live, step, carried)
            except _FailedError as failure:
                return await self._give_up(live, step, failure.args[0])
            if isinstance(outcome, _Carried):
                carried = outcome
                continue
            if outcome is None:
                carried = None
                continue
            carried = None
            pauses.append(outcome)
            if live.kind.compensates or step.state is StepState.WAITING:
                return min(pauses)
        if pauses:
            await self._flush(carried)
            return min(pauses)
        await self._finish(live, carried)
        return None

    async def _attempt(self, live: LiveWorkflow, step: LiveStep, carried: _Carried | None) -> _Carried | float | None:
        """One attempt: the finished step to carry on, seconds to wait, or None when it became a debt."""
        now = now_us()
        action = self._parts.actions.get(step.step.action)
        if step.wake_at > now or action is None:
            await self._flush(carried)
            if action is None:
                await self._note(step, f"waiting for plugin {step.step.plugin} to be started")
                return PLUGIN_PAUSE
            return (step.wake_at - now) / SECOND
        if step.state is not StepState.WAITING or carried is not None:
            await self._intend(live, step, action, carried)
        try:
            outcome = await act(self._parts, live, step, action, undo=False)
        except NeverEnded:
            raise
        except QrmdError as error:
            return await self._failure(live, step, action, error)
        if isinstance(outcome, Again):
            return await self._wait(live, step, outcome)
        step.state = StepState.DONE
        live.slots.update(outcome.result)
        return _Carried(step, outcome.result)

    async def _intend(self, live: LiveWorkflow, step: LiveStep, action: Action, carried: _Carried | None) -> None:
        deadline = step.deadline or now_us() + int(action.timeout * SECOND)
        await self._parts.store.write_urgently(_advance, live, step, deadline, carried)
        step.state = StepState.RUNNING
        step.attempts += 1
        step.deadline = deadline
        step.began_at = step.began_at or now_us()

    async def _wait(self, live: LiveWorkflow, step: LiveStep, again: Again) -> float | None:
        """The first wish to wait is a row; later ones stay in memory while their note is the same."""
        if now_us() > step.deadline:
            fault = StepFailed(f"not so before its deadline: {again.note or 'still waiting'}", subject=live.subject)
            await self._exhausted(live, step, fault)
            return None
        if step.state is not StepState.WAITING or step.note != again.note:
            wake_at = now_us() + int(again.after * SECOND)
            await self._parts.store.write_urgently(journal.waiting, step, wake_at, again.note)
            step.state, step.note = StepState.WAITING, again.note
        return again.after

    async def _failure(self, live: LiveWorkflow, step: LiveStep, action: Action, error: QrmdError) -> float | None:
        """Retry while it is worth it, else decide what the failure means."""
        insists = not live.kind.compensates
        retryable = (isinstance(error, StepFailed) and step.attempts <= action.retries) or insists
        if retryable and now_us() < step.deadline:
            pause = back_off(step.attempts)
            await self._failed(live, step, StepState.FAILED, error, pause)
            return pause
        await self._exhausted(live, step, error)
        return None

    async def _exhausted(self, live: LiveWorkflow, step: LiveStep, error: QrmdError) -> None:
        fault = redact(live, self._parts, error.as_dict())
        if step.step.on_failure is OnFailure.LATER:
            pause = back_off(step.attempts)
            wake_at = now_us() + int(pause * SECOND)
            await self._parts.store.write_urgently(journal.debt, live, step, fault, wake_at)
            step.state, step.wake_at, step.fault = StepState.DEBT, wake_at, fault
            return
        raise _FailedError(fault)

    async def _failed(
        self, live: LiveWorkflow, step: LiveStep, state: StepState, error: QrmdError, pause: float
    ) -> None:
        fault = redact(live, self._parts, error.as_dict())
        wake_at = now_us() + int(pause * SECOND)
        await self._parts.store.write_urgently(journal.failed, step, state, fault, wake_at)
        step.state, step.wake_at, step.fault = state, wake_at, fault

    async def _give_up(self, live: LiveWorkflow, step: LiveStep, fault: Mapping[str, Any]) -> float | None:
        await self._parts.store.write_urgently(journal.failed, step, StepState.FAILED, fault, 0)
        step.state = StepState.FAILED
        if live.kind.compensates:
            return await self._turn_back(live, fault)
        await self._stick(live, step, fault)
        return None

    async def _turn_back(self, live: LiveWorkflow, fault: Mapping[str, Any]) -> float | None:
        await self._parts.store.write_urgently(journal.turn_back, live, fault)
        live.state, live.fault = WorkflowState.UNDOING, fault
        for step in live.steps:
            step.wake_at = 0
        return None

    async def _finish(self, live: LiveWorkflow, carried: _Carried | None) -> None:
        await self._parts.store.write_urgently(_finish, live, carried)
        live.state = WorkflowState.DONE

    async def _flush(self, carried: _Carried | None) -> None:
        if carried is not None:
            await self._parts.store.write_urgently(journal.done, carried.step, carried.result)

    async def _note(self, step: LiveStep, note: str) -> None:
        if step.note != note:
            await self._parts.store.write_urgently(journal.waiting, step, 0, note)
            step.state, step.note = StepState.WAITING, note

    # ------------------------------------------------------------ backward

    async def _backward(self, live: LiveWorkflow) -> float | None:
        for step in reversed(live.steps):
            if not step.touched:
                continue
            now = now_us()
            action = self._parts.actions.get(step.step.action)
            if step.wake_at > now:
                return (step.wake_at - now) / SECOND
            if action is None:
                return PLUGIN_PAUSE
            pause = await self._undo(live, step, action)
            if pause is not None:
                return pause
            if live.state is not WorkflowState.UNDOING:
                return None
        await self._parts.store.write_urgently(journal.retreat, live)
        live.state = WorkflowState.UNDONE
        return None

    async def _undo(self, live: LiveWorkflow, step: LiveStep, action: Action) -> float | None:
        if step.state is not StepState.UNDOING:
            step.deadline = now_us() + int(max(action.timeout, 60.0) * SECOND)
            step.attempts = 0
            await self._parts.store.write_urgently(journal.undoing, step)
            step.state = StepState.UNDOING
        try:
            outcome = await act(self._parts, live, step, action, undo=True)
        except NeverEnded:
            raise
        except QrmdError as error:
            return await self._undo_failed(live, step, error)
        if isinstance(outcome, Again):
            if now_us() > step.deadline:
                await self._stick(live, step, StepFailed(f"not undone in time: {outcome.note}").as_dict())
                return None
            return outcome.after
        await self._parts.store.write_urgently(journal.undone, step)
        step.state = StepState.UNDONE
        return None

    async def _undo_failed(self, live: LiveWorkflow, step: LiveStep, error: QrmdError) -> float | None:
        step.attempts += 1
        if step.attempts >= UNDO_ATTEMPTS:
            await self._stick(live, step, redact(live, self._parts, error.as_dict()))
            return None
        pause = back_off(step.attempts)
        await self._failed(live, step, StepState.UNDOING, error, pause)
        return pause

    async def _stick(self, live: LiveWorkflow, step: LiveStep | None, fault: Mapping[str, Any]) -> None:
        await self._parts.store.write_urgently(journal.stick, live, step, fault)
        live.state, live.fault = WorkflowState.STUCK, fault


def _current(live: LiveWorkflow) -> LiveStep | None:
    busy = {StepState.RUNNING, StepState.WAITING, StepState.UNDOING, StepState.FAILED}
    return next((step for step in live.steps if step.state in busy), None)


def _needs_met(live: LiveWorkflow, step: LiveStep) -> bool:
    """Whether every slot it needs comes from a step that has ended (a skipped one counts: a human said so)."""
    return all(
        provider.ended for slot in step.step.needs for provider in live.steps if slot in provider.step.provides
    )


def _advance(db: Transaction, live: LiveWorkflow, step: LiveStep, deadline: int, carried: _Carried | None) -> None:
    if carried is not None:
        journal.done(db, carried.step, carried.result)
    journal.intend(db, live, step, deadline)


def _finish(db: Transaction, live: LiveWorkflow, carried: _Carried | None) -> None:
    if carried is not None:
        journal.done(db, carried.step, carried.result)
    journal.finish(db, live)
