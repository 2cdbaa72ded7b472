"""Rows of debts: steps that may come later, of workflows that have ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qrmd import events
from qrmd.clock import now_us
from qrmd.model import Severity
from qrmd.states import StepState
from qrmd.store import secrets
from qrmd.store.connection import Db, Transaction
from qrmd.store.journal import done, failed, is_unpaid
from qrmd.store.transitions import state_of, transition
from qrmd.workflow.live import LiveStep, LiveWorkflow

UNPAID_STEPS = "SELECT id FROM steps WHERE state = 'debt' UNION ALL SELECT id FROM steps WHERE state = 'owed'"
"""Ids of steps that are owed. Each half has an index of its own; together in one condition they would have none."""


def make(db: Transaction, live: LiveWorkflow, step: LiveStep, fault: Mapping[str, Any], wake_at: int) -> None:
    """A step that may come later has failed: it stays visible and is retried. A debt that was forgiven stays so."""
    if step.state is StepState.DEBT and not is_debt(db, step):
        return
    failed(db, step, StepState.DEBT, fault, wake_at)
    if step.state is not StepState.DEBT:
        events.append(
            db,
            "workflow.debt_made",
            live.subject,
            severity=Severity.WARNING,
            workflow_id=live.id,
            data={"step": step.step.title, "fault": dict(fault)},
        )


def is_debt(db: Db, step: LiveStep) -> bool:
    """Whether a step is a debt by its row; it may have been forgiven while it was tried."""
    return bool(db.value("SELECT state FROM steps WHERE id = ?", (step.id,)) == StepState.DEBT)


def pay(db: Transaction, live: LiveWorkflow, step: LiveStep) -> None:
    """A debt is paid; with the last one the workflow's secrets go, and a subject that waited for it arrives."""
    if not is_debt(db, step):
        return
    done(db, step, {})
    arrive(db, live)


def arrive(db: Transaction, live: LiveWorkflow) -> None:
    """After a payment: when it was the last one, a subject that waited for it is there."""
    journey, kind = live.kind.journey, live.kind.subject_kind
    if not settle(db, live.id, live.subject, "workflow.debts_paid") or journey.owing is None or journey.done is None:
        return
    if state_of(db, kind, live.subject_id) == journey.owing:
        transition(db, kind, live.subject_id, journey.done, actor=live.actor, workflow_id=live.id)


def settle(db: Transaction, workflow_id: int, subject: str, event: str) -> bool:
    """Forget the secrets of a workflow that owes nothing any more; whether that is so."""
    if is_unpaid(db, workflow_id):
        return False
    secrets.forget(db, workflow_id)
    events.append(db, event, subject, workflow_id=workflow_id)
    return True


def void(db: Transaction, debtor: LiveWorkflow, steps: Sequence[LiveStep]) -> None:
    """What a workflow owes is not wanted any more: one of the other direction begins and takes away what is there."""
    for step in steps:
        db.execute("UPDATE steps SET state = 'skipped', ended_at = ? WHERE id = ?", (now_us(), step.id))
    settle(db, debtor.id, debtor.subject, "workflow.debts_void")
