"""What people do to a live workflow: cancel, retry, skip, abandon."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from qrmd.errors import Conflict
from qrmd.model import Actor
from qrmd.states import StepState, WorkflowState
from qrmd.store import journal
from qrmd.store.connection import Transaction
from qrmd.workflow.driver import Driver
from qrmd.workflow.live import LiveStep, LiveWorkflow
from qrmd.workflow.parts import Parts

Also = Callable[[Transaction], object] | None
"""What else is written in the same transaction: an idempotency key."""


class Turn(StrEnum):
    """What can be done."""

    CANCEL = "cancel"
    RETRY = "retry"
    SKIP = "skip"
    ABANDON = "abandon"


class Steering:
    """Checks whether a turn is possible, writes it and lets the workflow go on."""

    def __init__(self, parts: Parts, driver: Driver) -> None:
        self._parts = parts
        self._driver = driver

    async def take(self, turn: Turn, workflow_id: int, actor: Actor, reason: str, also: Also = None) -> None:
        """Do it.

        Raises:
            Conflict: it is not in a state in which that is possible; nothing has changed.
        """
        live = self._checked(turn, workflow_id)
        match turn:
            case Turn.CANCEL:
                await self._cancel(live, actor, reason, also)
            case Turn.RETRY:
                await self._go_on(live, None, actor, reason, also)
            case Turn.SKIP:
                await self._go_on(live, stuck_step(live), actor, reason, also)
            case Turn.ABANDON:
                await self._parts.store.write_urgently(_abandon, live, actor.name, reason, also)
                live.state = WorkflowState.ABANDONED
                self._driver.end(live)

    def preview(self, turn: Turn, workflow_id: int) -> dict[str, Any]:
        """What it would do. Raises Conflict as ``take`` does."""
        live = self._checked(turn, workflow_id)
        shown: dict[str, Any] = {"dry_run": True, "workflow": live.id, "operation": live.kind.operation}
        step = stuck_step(live) if live.state is WorkflowState.STUCK else None
        match turn:
            case Turn.CANCEL:
                return shown | {"undoes": [each.step.title for each in reversed(live.steps) if each.touched]}
            case Turn.ABANDON:
                owned = [each for step in live.steps if step.touched for each in step.step.owns]
                return shown | {"leaves": [f"{each.kind} {each.external_id} at {each.place}" for each in owned]}
        return shown | {"step": step.step.title if step else "", "direction": str(_direction(live))}

    def _checked(self, turn: Turn, workflow_id: int) -> LiveWorkflow:
        subject = f"workflow:{workflow_id}"
        live = self._driver.live.get(workflow_id)
        if live is None:
            raise Conflict("it has ended, or there is no such workflow", subject=subject)
        if turn is not Turn.CANCEL:
            if live.state is not WorkflowState.STUCK:
                raise Conflict(f"it is {live.state}, not stuck", subject=subject, state=live.state.value)
            return live
        if not live.kind.compensates:
            raise Conflict(f"{live.kind.operation} goes one way only and can't be cancelled", subject=subject)
        if live.state not in {WorkflowState.RUNNING, WorkflowState.STUCK} or stuck_undoing(live):
            raise Conflict(f"it is {live.state} and can't be cancelled", subject=subject, state=live.state.value)
        return live

    async def _cancel(self, live: LiveWorkflow, actor: Actor, reason: str, also: Also) -> None:
        await self._parts.store.write_urgently(_ask_cancel, live, actor.name, reason, also)
        live.cancel = True
        if live.state is WorkflowState.STUCK:
            self._refresh(live, WorkflowState.RUNNING)
        self._driver.wake(live)

    async def _go_on(self, live: LiveWorkflow, skipped: LiveStep | None, actor: Actor, reason: str, also: Also) -> None:
        target = _direction(live)
        await self._parts.store.write_urgently(_unstick, live, target, skipped, actor.name, reason, also)
        if skipped is not None:
            skipped.state = StepState.SKIPPED
        self._refresh(live, target)
        self._driver.schedule(live)

    @staticmethod
    def _refresh(live: LiveWorkflow, target: WorkflowState) -> None:
        for step in live.steps:
            step.deadline = step.wake_at = step.began_at = step.attempts = 0
            if step.state is StepState.FAILED:
                step.state = StepState.RUNNING
        live.state = target


def stuck_step(live: LiveWorkflow) -> LiveStep | None:
    """The step that a human is asked about: the one that gave up, else the one that was under way."""
    under_way = {StepState.UNDOING} if _direction(live) is WorkflowState.UNDOING else _UNDER_WAY
    gave_up = next((step for step in live.steps if step.given_up), None)
    if gave_up is not None and under_way is _UNDER_WAY:
        return gave_up
    return next((step for step in live.steps if step.state in under_way), None)


_UNDER_WAY = {StepState.RUNNING, StepState.WAITING, StepState.FAILED}


def _direction(live: LiveWorkflow) -> WorkflowState:
    backward = any(step.state in {StepState.UNDOING, StepState.UNDONE} for step in live.steps)
    return WorkflowState.UNDOING if backward else WorkflowState.RUNNING


def stuck_undoing(live: LiveWorkflow) -> bool:
    """It is stuck on its way back: cancelling is no way out of that."""
    return live.state is WorkflowState.STUCK and _direction(live) is WorkflowState.UNDOING


def _ask_cancel(db: Transaction, live: LiveWorkflow, actor: str, reason: str, also: Also) -> None:
    if live.state is WorkflowState.STUCK:
        journal.unstick(db, live, WorkflowState.RUNNING, None, actor, reason)
    journal.ask_cancel(db, live.id, actor, reason)
    if also is not None:
        also(db)


def _unstick(
    db: Transaction,
    live: LiveWorkflow,
    target: WorkflowState,
    skipped: LiveStep | None,
    actor: str,
    reason: str,
    also: Also,
) -> None:
    journal.unstick(db, live, target, skipped, actor, reason)
    if also is not None:
        also(db)


def _abandon(db: Transaction, live: LiveWorkflow, actor: str, reason: str, also: Also) -> None:
    journal.abandon(db, live, actor, reason)
    if also is not None:
        also(db)
