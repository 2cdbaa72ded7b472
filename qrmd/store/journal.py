"""The journal: what becomes of steps and workflows, each write one transaction. Intent is written before the deed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qrmd import events
from qrmd.clock import now_us
from qrmd.errors import Conflict
from qrmd.model import Severity
from qrmd.states import StepState, WorkflowState
from qrmd.store import secrets
from qrmd.store.connection import Transaction
from qrmd.store.rows import dump
from qrmd.store.transitions import is_edge, move, state_of, transition
from qrmd.workflow.live import Begin, LiveStep, LiveWorkflow
from qrmd.workflow.plan import Owned, Step

UNPAID = frozenset({StepState.DEBT, StepState.OWED})
"""What may still need the workflow's secrets after its end."""


class CancelAsked(Exception):
    """Somebody asked to cancel before the end was written."""


def save_carried(db: Transaction, live: LiveWorkflow) -> None:
    """Write the steps that are done in memory and not in their rows yet."""
    for step, result in live.carried:
        done(db, step, result)


def intend(db: Transaction, live: LiveWorkflow, step: LiveStep, begin: Begin) -> None:
    """Write the intent of one attempt, and the rows of what it will own; with it the steps carried so far."""
    save_carried(db, live)
    db.execute(
        "UPDATE steps SET state = 'running', attempts = ?, note = '', wake_at = 0, began_at = ?, deadline = ?"
        " WHERE id = ?",
        (begin.attempts, begin.began_at, begin.deadline, step.id),
    )
    own(db, live, step.step)


def own(db: Transaction, live: LiveWorkflow, step: Step) -> None:
    """Rows of what a step will make outside."""
    if step.owns:
        db.execute_many(
            "INSERT INTO owned (subject, plugin, kind, external_id, place, workflow_id) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (kind, external_id, place) DO UPDATE SET workflow_id = excluded.workflow_id,"
            " subject = excluded.subject, plugin = excluded.plugin",
            [(live.subject, step.plugin, each.kind, each.external_id, each.place, live.id) for each in step.owns],
        )


def done(db: Transaction, step: LiveStep, result: Mapping[str, Any]) -> None:
    """A step is done; what it disowns is gone outside."""
    db.execute(
        "UPDATE steps SET state = 'done', result = ?, attempts = ?, began_at = ?, ended_at = ?, wake_at = 0, note = '',"
        " fault = '{}' WHERE id = ?",
        (dump(dict(result)), step.attempts, step.began_at, now_us(), step.id),
    )
    disown(db, step.step.disowns)


def disown(db: Transaction, things: Sequence[Owned]) -> None:
    """Forget rows of things that are gone outside."""
    for each in things:
        db.execute(
            "DELETE FROM owned WHERE kind = ? AND external_id = ? AND place = ?",
            (each.kind, each.external_id, each.place),
        )


def waiting(db: Transaction, step: LiveStep, wake_at: int, note: str) -> None:
    """A step asked to be called again."""
    db.execute("UPDATE steps SET state = 'waiting', wake_at = ?, note = ? WHERE id = ?", (wake_at, note, step.id))


def noted(db: Transaction, step: LiveStep, note: str) -> None:
    """Say on a step why it does not go on; its state stays."""
    db.execute("UPDATE steps SET note = ? WHERE id = ?", (note, step.id))


def failed(db: Transaction, step: LiveStep, state: StepState, fault: Mapping[str, Any], wake_at: int) -> None:
    """An attempt failed; ``state`` says what comes of it, ``wake_at`` 0: it gave up."""
    db.execute(
        "UPDATE steps SET state = ?, fault = ?, wake_at = ?, attempts = ? WHERE id = ?",
        (state.value, dump(dict(fault)), wake_at, step.attempts, step.id),
    )


# ------------------------------------------------------------ undoing


def turn_back(db: Transaction, live: LiveWorkflow, fault: Mapping[str, Any], actor: str = "") -> None:
    """A plan that compensates begins to undo."""
    save_carried(db, live)
    db.execute("UPDATE workflows SET fault = ? WHERE id = ?", (dump(dict(fault)), live.id))
    db.execute("UPDATE steps SET wake_at = 0, deadline = 0 WHERE workflow_id = ?", (live.id,))
    transition(
        db,
        "workflow",
        live.id,
        WorkflowState.UNDOING,
        actor=actor or live.actor,
        reason=str(fault.get("message", "")),
        severity=Severity.WARNING,
        workflow_id=live.id,
        data={"subject": live.subject, "fault": dict(fault)},
    )


def undoing(db: Transaction, step: LiveStep, deadline: int) -> None:
    """The intent to undo a step."""
    db.execute(
        "UPDATE steps SET state = 'undoing', wake_at = 0, note = '', attempts = ?, deadline = ? WHERE id = ?",
        (step.attempts, deadline, step.id),
    )


def undone(db: Transaction, step: LiveStep) -> None:
    """A step is undone: what it owned is gone outside."""
    db.execute("UPDATE steps SET state = 'undone', ended_at = ?, wake_at = 0 WHERE id = ?", (now_us(), step.id))
    disown(db, step.step.owns)


# ------------------------------------------------------------ ends


def finish(db: Transaction, live: LiveWorkflow) -> None:
    """Every step is done: the subject arrives, reservations become facts, secrets go unless a debt needs them.

    Raises:
        CancelAsked: somebody was promised that it will be undone.
    """
    if live.kind.compensates and db.value("SELECT cancel FROM workflows WHERE id = ?", (live.id,)):
        raise CancelAsked
    save_carried(db, live)
    live.kind.complete(db, live.subject_id, live.arguments, live.id)
    arrived = (live.kind.journey.owing if _owes(db, live) else None) or live.kind.journey.done
    _arrive(db, live, arrived, live.kind.done_event)
    _end(db, live, WorkflowState.DONE)


def retreat(db: Transaction, live: LiveWorkflow) -> None:
    """Everything is undone: reservations are released."""
    live.kind.release(db, live.subject_id, live.arguments, live.id)
    _arrive(db, live, live.kind.journey.undone, "")
    _end(db, live, WorkflowState.UNDONE)


def refuse(db: Transaction, live: LiveWorkflow, fault: Mapping[str, Any]) -> None:
    """A plan that was not frozen: reservations are released, the subject never moved."""
    live.kind.release(db, live.subject_id, live.arguments, live.id)
    db.execute("UPDATE workflows SET fault = ? WHERE id = ?", (dump(dict(fault)), live.id))
    _end(db, live, WorkflowState.UNDONE)


def _arrive(db: Transaction, live: LiveWorkflow, state: str | None, event: str) -> None:
    if state is None:
        return
    transition(
        db,
        live.kind.subject_kind,
        live.subject_id,
        state,
        likely=live.kind.journey.during,
        event=event,
        actor=live.actor,
        reason=live.reason,
        workflow_id=live.id,
        data={"fault": dict(live.fault)} if live.fault else None,
    )


def _end(db: Transaction, live: LiveWorkflow, state: WorkflowState) -> None:
    move(db, "workflow", live.id, state, likely=live.state, also={"ended_at": now_us()})
    if not _owes(db, live):
        secrets.forget(db, live.id)


def _owes(db: Transaction, live: LiveWorkflow) -> bool:
    """Whether a step is unpaid. What memory takes for owed may have been paid meanwhile, when its host came back."""
    return any(each.state in UNPAID for each in live.steps) and is_unpaid(db, live.id)


def is_unpaid(db: Transaction, workflow_id: int) -> bool:
    """Whether a workflow has a step that may still need its secrets."""
    unpaid = "SELECT 1 FROM steps WHERE workflow_id = ? AND state IN ('debt', 'owed') LIMIT 1"
    return db.value(unpaid, (workflow_id,)) is not None


# ------------------------------------------------------------ a human's turn


def stick(db: Transaction, live: LiveWorkflow, step: LiveStep | None, fault: Mapping[str, Any]) -> None:
    """A step needs a human; the subject goes to its error state, if it still is where this workflow put it."""
    save_carried(db, live)
    if step is not None:
        failed(db, step, step.state, fault, 0)
    db.execute("UPDATE workflows SET fault = ? WHERE id = ?", (dump(dict(fault)), live.id))
    transition(
        db,
        "workflow",
        live.id,
        WorkflowState.STUCK,
        severity=Severity.ERROR,
        workflow_id=live.id,
        data={"subject": live.subject, "step": step.step.title if step else "", "fault": dict(fault)},
    )
    _move_subject(db, live, live.kind.journey.stuck, live.actor, live.reason, Severity.ERROR, fault)


def _move_subject(
    db: Transaction,
    live: LiveWorkflow,
    target: str | None,
    actor: str,
    reason: str,
    severity: Severity = Severity.INFO,
    fault: Mapping[str, Any] | None = None,
) -> None:
    """Along an edge if there is one; a workflow must not hang because its subject is somewhere else."""
    kind = live.kind.subject_kind
    if target is None or not is_edge(kind, state_of(db, kind, live.subject_id), target):
        return
    transition(
        db,
        kind,
        live.subject_id,
        target,
        severity=severity,
        actor=actor,
        reason=reason,
        workflow_id=live.id,
        data={"fault": dict(fault)} if fault else None,
    )


def unstick(
    db: Transaction, live: LiveWorkflow, target: WorkflowState, skipped: LiveStep | None, actor: str, reason: str
) -> None:
    """A human said to go on: the workflow runs in its direction, the subject is on its way again.

    Args:
        target: ``running`` or ``undoing``.
        skipped: the step to go on without; what it owns stays a row for the audit. None: it is tried again.
    """
    db.execute(
        "UPDATE steps SET attempts = 0, began_at = 0, deadline = 0, wake_at = 0,"
        " state = CASE state WHEN 'failed' THEN 'running' ELSE state END"
        " WHERE workflow_id = ? AND state IN ('running', 'waiting', 'failed', 'undoing')",
        (live.id,),
    )
    if skipped is not None:
        db.execute("UPDATE steps SET state = 'skipped', ended_at = ? WHERE id = ?", (now_us(), skipped.id))
    transition(
        db,
        "workflow",
        live.id,
        target,
        event="workflow.retried" if skipped is None else "workflow.skipped",
        actor=actor,
        reason=reason,
        workflow_id=live.id,
        data={"subject": live.subject, **({"step": skipped.step.title} if skipped else {})},
    )
    _move_subject(db, live, live.kind.journey.during, actor, reason)


def abandon(db: Transaction, live: LiveWorkflow, actor: str, reason: str) -> None:
    """A human ended it: the subject stays in error, what is left are owned rows."""
    transition(
        db,
        "workflow",
        live.id,
        WorkflowState.ABANDONED,
        actor=actor,
        reason=reason,
        severity=Severity.WARNING,
        workflow_id=live.id,
        data={"subject": live.subject},
    )
    db.execute("UPDATE workflows SET ended_at = ? WHERE id = ?", (now_us(), live.id))
    if not _owes(db, live):
        secrets.forget(db, live.id)


def ask_cancel(db: Transaction, workflow_id: int, actor: str, reason: str) -> None:
    """Remember that a workflow is to be undone at its next step boundary.

    Raises:
        Conflict: it is not running any more.
    """
    state = state_of(db, "workflow", workflow_id)
    if state != WorkflowState.RUNNING:
        raise Conflict(f"it is {state} and can't be cancelled", subject=f"workflow:{workflow_id}", state=state)
    db.execute("UPDATE workflows SET cancel = 1 WHERE id = ?", (workflow_id,))
    events.append(
        db,
        "workflow.cancel_asked",
        f"workflow:{workflow_id}",
        actor=actor,
        reason=reason,
        workflow_id=workflow_id,
    )
