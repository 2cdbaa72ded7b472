"""The journal: every write of the engine, each one transaction. Intent is always written before the deed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qrmd import events
from qrmd.clock import now_us
from qrmd.errors import Busy, Conflict, NotFound
from qrmd.model import Actor, Severity
from qrmd.states import StepState, WorkflowState
from qrmd.store import secrets
from qrmd.store.connection import Db, Row, Transaction
from qrmd.store.rows import dump
from qrmd.store.transitions import move, state_of, transition
from qrmd.vault import references
from qrmd.workflow.kinds import WorkflowKind
from qrmd.workflow.live import LiveStep, LiveWorkflow
from qrmd.workflow.plan import OnFailure, Owned, Phase, Step

LIVE = "('planning', 'running', 'undoing', 'stuck')"


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asked the engine for."""

    kind: WorkflowKind
    subject_id: int
    arguments: Mapping[str, Any]
    actor: Actor
    reason: str
    key: str | None
    parent: int | None
    secrets: Mapping[str, str]

    @property
    def subject(self) -> str:
        """``appliance:12``."""
        return f"{self.kind.subject_kind}:{self.subject_id}"


@dataclass(frozen=True, slots=True)
class Begun:
    """Move 1 has happened. ``existing``: the key was known, nothing was done."""

    workflow_id: int
    view: Any
    sealed: dict[int, bytes]
    existing: bool = False


def begin(db: Transaction, request: Request) -> Begun:
    """Move 1: the workflow in state ``planning`` holds its reservations.

    Raises:
        Busy: another workflow is live on the subject.
        Conflict: the subject is not in a state from which this operation goes.
        PreconditionFailed: what ``kind.reserve`` refuses.
    """
    kind = request.kind
    if request.key is not None:
        known = db.row("SELECT id, operation, subject FROM workflows WHERE key = ?", (request.key,))
        if known is not None:
            if (known["operation"], known["subject"]) != (kind.operation, request.subject):
                raise Conflict(f"the key was used for {known['operation']} of {known['subject']} before")
            return Begun(known["id"], None, {}, existing=True)
    check_source(db, kind, request.subject_id)
    ident = _insert(db, request)
    for name, value in request.secrets.items():
        secrets.keep(db, ident, name, value)
    kind.reserve(db, request.subject_id, request.arguments, ident)
    view = kind.view(db, request.subject_id, request.arguments, ident)
    named = references(dump(dict(request.arguments)))
    own = [int(each.partition(":")[2]) for each in secrets.named(db, ident).values()]
    return Begun(ident, view, secrets.sealed(db, [*named, *own]))


def check_source(db: Db, kind: WorkflowKind, subject_id: int) -> None:
    """Refuse an operation on a subject that is gone, busy or in another state.

    Raises:
        NotFound, Busy, Conflict: as it says.
    """
    subject = f"{kind.subject_kind}:{subject_id}"
    state = state_of(db, kind.subject_kind, subject_id)
    if state is None:
        raise NotFound(f"there is no {kind.subject_kind} {subject_id}", subject=subject)
    holder = live_on(db, subject)
    if holder is not None:
        raise Busy(
            f"{holder['operation']} is {holder['state']} (workflow {holder['id']}, by {holder['actor']})",
            subject=subject,
            hint=f"wait for it, or workflow.cancel {holder['id']}",
            workflow=holder["id"],
        )
    if state not in kind.journey.source:
        raise Conflict(
            f"it is {state}; {kind.operation} needs {' or '.join(kind.journey.source)}", subject=subject, state=state
        )


def live_on(db: Db, subject: str) -> Row | None:
    """The live workflow of a subject, if there is one."""
    return db.row(
        f"SELECT id, operation, state, actor, reason FROM workflows WHERE subject = ? AND state IN {LIVE}",  # noqa: S608
        (subject,),
    )


def _insert(db: Transaction, request: Request) -> int:
    return db.insert(
        "INSERT INTO workflows (operation, subject, state, key, parent, arguments, actor, role, reason, started_at)"
        " VALUES (?, ?, 'planning', ?, ?, ?, ?, ?, ?, ?)",
        (
            request.kind.operation,
            request.subject,
            request.key,
            request.parent,
            dump(dict(request.arguments)),
            request.actor.name,
            request.actor.role.value,
            request.reason,
            now_us(),
        ),
    )


def freeze(db: Transaction, live: LiveWorkflow, steps: Sequence[Step], facts: Mapping[str, Any]) -> None:
    """Move 3: steps, state change of the subject, event; and the intent of the first step.

    Raises:
        Conflict: the subject changed its state meanwhile.
    """
    db.execute("UPDATE workflows SET facts = ? WHERE id = ?", (dump(dict(facts)), live.id))
    move(db, "workflow", live.id, WorkflowState.RUNNING, source=WorkflowState.PLANNING)
    for position, step in enumerate(steps):
        live.steps.append(LiveStep(_insert_step(db, live.id, position, step), position, step))
    transition(
        db,
        live.kind.subject_kind,
        live.subject_id,
        live.kind.journey.during,
        source=live.kind.journey.source,
        actor=live.actor,
        reason=live.reason,
        workflow_id=live.id,
    )
    db.on_rollback(live.steps.clear)


def _insert_step(db: Transaction, workflow_id: int, position: int, step: Step) -> int:
    return db.insert(
        "INSERT INTO steps (workflow_id, position, action, version, plugin, phase, title, args, provides, on_failure,"
        " owns, disowns, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending')",
        (
            workflow_id,
            position,
            step.action,
            step.version,
            step.plugin,
            int(step.phase),
            step.title,
            dump(dict(step.args)),
            dump({"provides": step.provides, "needs": step.needs}),
            step.on_failure.value,
            dump([[each.kind, each.external_id, each.place] for each in step.owns]),
            dump([[each.kind, each.external_id, each.place] for each in step.disowns]),
        ),
    )


def intend(db: Transaction, live: LiveWorkflow, step: LiveStep, deadline: int) -> None:
    """Write the intent of one attempt, and the rows of what it will own."""
    now = now_us()
    db.execute(
        "UPDATE steps SET state = 'running', attempts = attempts + 1, note = '', wake_at = 0,"
        " began_at = CASE began_at WHEN 0 THEN ? ELSE began_at END,"
        " deadline = CASE deadline WHEN 0 THEN ? ELSE deadline END WHERE id = ?",
        (now, deadline, step.id),
    )
    for each in step.step.owns:
        db.execute(
            "INSERT INTO owned (subject, plugin, kind, external_id, place, workflow_id) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (kind, external_id, place) DO UPDATE SET workflow_id = excluded.workflow_id",
            (live.subject, step.step.plugin, each.kind, each.external_id, each.place, live.id),
        )


def done(db: Transaction, step: LiveStep, result: Mapping[str, Any]) -> None:
    """A step is done; what it disowns is gone outside."""
    db.execute(
        "UPDATE steps SET state = 'done', result = ?, ended_at = ?, wake_at = 0, note = '', fault = '{}' WHERE id = ?",
        (dump(dict(result)), now_us(), step.id),
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


def failed(db: Transaction, step: LiveStep, state: StepState, fault: Mapping[str, Any], wake_at: int) -> None:
    """An attempt failed; ``state`` says what comes of it."""
    db.execute(
        "UPDATE steps SET state = ?, fault = ?, wake_at = ? WHERE id = ?",
        (state.value, dump(dict(fault)), wake_at, step.id),
    )


def debt(db: Transaction, live: LiveWorkflow, step: LiveStep, fault: Mapping[str, Any], wake_at: int) -> None:
    """A step that may come later has failed: it stays visible and is retried."""
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


def undoing(db: Transaction, step: LiveStep) -> None:
    """The intent to undo a step."""
    db.execute("UPDATE steps SET state = 'undoing', wake_at = 0, attempts = attempts + 1 WHERE id = ?", (step.id,))


def undone(db: Transaction, step: LiveStep) -> None:
    """A step is undone: what it owned is gone outside."""
    db.execute("UPDATE steps SET state = 'undone', ended_at = ?, wake_at = 0 WHERE id = ?", (now_us(), step.id))
    disown(db, step.step.owns)


def turn_back(db: Transaction, live: LiveWorkflow, fault: Mapping[str, Any]) -> None:
    """A plan that compensates begins to undo."""
    db.execute("UPDATE workflows SET fault = ? WHERE id = ?", (dump(dict(fault)), live.id))
    transition(
        db,
        "workflow",
        live.id,
        WorkflowState.UNDOING,
        actor=live.actor,
        reason=str(fault.get("message", "")),
        severity=Severity.WARNING,
        workflow_id=live.id,
        data={"subject": live.subject, "fault": dict(fault)},
    )


def finish(db: Transaction, live: LiveWorkflow) -> None:
    """Every step is done: the subject arrives, reservations become facts, secrets go unless a debt needs them."""
    kind = live.kind
    kind.complete(db, live.subject_id, live.arguments, live.id)
    _arrive(db, live, kind.journey.done, kind.done_event)
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
        event=event,
        actor=live.actor,
        reason=live.reason,
        workflow_id=live.id,
        data={"fault": dict(live.fault)} if live.fault else None,
    )


def _end(db: Transaction, live: LiveWorkflow, state: WorkflowState) -> None:
    move(db, "workflow", live.id, state)
    db.execute("UPDATE workflows SET ended_at = ? WHERE id = ?", (now_us(), live.id))
    db.execute("DELETE FROM claims WHERE workflow_id = ?", (live.id,))
    if not any(each.state is StepState.DEBT for each in live.steps):
        secrets.forget(db, live.id)


def stick(db: Transaction, live: LiveWorkflow, step: LiveStep | None, fault: Mapping[str, Any]) -> None:
    """A step needs a human; the subject goes to its error state."""
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
    if live.kind.journey.stuck is not None:
        transition(
            db,
            live.kind.subject_kind,
            live.subject_id,
            live.kind.journey.stuck,
            severity=Severity.ERROR,
            actor=live.actor,
            workflow_id=live.id,
            data={"fault": dict(fault)},
        )


def unstick(db: Transaction, live: LiveWorkflow, actor: str, reason: str, verb: str) -> None:
    """A human said to go on: the workflow runs again in its direction, the subject is on its way again."""
    backward = any(each.state in {StepState.UNDOING, StepState.UNDONE} for each in live.steps)
    transition(
        db,
        "workflow",
        live.id,
        WorkflowState.UNDOING if backward else WorkflowState.RUNNING,
        event=f"workflow.{verb}",
        actor=actor,
        reason=reason,
        workflow_id=live.id,
        data={"subject": live.subject},
    )
    if live.kind.journey.stuck is not None:
        transition(
            db,
            live.kind.subject_kind,
            live.subject_id,
            live.kind.journey.during,
            source=live.kind.journey.stuck,
            actor=actor,
            reason=reason,
            workflow_id=live.id,
        )


def skip(db: Transaction, step: LiveStep) -> None:
    """A human said to go on without this step; what it owns stays a row for the audit."""
    db.execute("UPDATE steps SET state = 'skipped', ended_at = ? WHERE id = ?", (now_us(), step.id))


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
    db.execute("DELETE FROM claims WHERE workflow_id = ?", (live.id,))
    secrets.forget(db, live.id)


def ask_cancel(db: Transaction, workflow_id: int, actor: str, reason: str) -> None:
    """Remember that a workflow is to be undone at its next step boundary."""
    db.execute("UPDATE workflows SET cancel = 1 WHERE id = ?", (workflow_id,))
    events.append(
        db,
        "workflow.cancel_asked",
        f"workflow:{workflow_id}",
        actor=actor,
        reason=reason,
        workflow_id=workflow_id,
    )


def settle(db: Transaction, live: LiveWorkflow) -> None:
    """The last debt of an ended workflow is paid."""
    secrets.forget(db, live.id)
    events.append(db, "workflow.debts_paid", live.subject, workflow_id=live.id)


# ------------------------------------------------------------ after a restart


def load_live(db: Db, kinds: Mapping[str, WorkflowKind]) -> list[LiveWorkflow]:
    """All live workflows of kinds that are known, with their steps."""
    rows = db.rows(f"SELECT * FROM workflows WHERE state IN {LIVE} ORDER BY id")  # noqa: S608
    return [_load(db, row, kinds[row["operation"]]) for row in rows if row["operation"] in kinds]


def load_debtors(db: Db, kinds: Mapping[str, WorkflowKind]) -> list[LiveWorkflow]:
    """Ended workflows that have debts."""
    rows = db.rows(
        "SELECT * FROM workflows WHERE id IN (SELECT workflow_id FROM steps WHERE state = 'debt')"
        f" AND state NOT IN {LIVE} ORDER BY id"  # noqa: S608
    )
    return [_load(db, row, kinds[row["operation"]]) for row in rows if row["operation"] in kinds]


def _load(db: Db, row: Row, kind: WorkflowKind) -> LiveWorkflow:
    arguments = json.loads(row["arguments"])
    live = LiveWorkflow(
        row["id"],
        kind,
        int(row["subject"].partition(":")[2]),
        arguments,
        row["actor"],
        row["reason"],
        WorkflowState(row["state"]),
        row["parent"],
        fault=json.loads(row["fault"]),
        cancel=bool(row["cancel"]),
    )
    named = references(row["arguments"])
    for step in db.rows("SELECT * FROM steps WHERE workflow_id = ? ORDER BY position", (row["id"],)):
        live.steps.append(_load_step(step))
        if step["state"] == StepState.DONE:
            live.slots.update(json.loads(step["result"]))
        named += references(step["args"])
    own = [int(each.partition(":")[2]) for each in secrets.named(db, row["id"]).values()]
    live.sealed = secrets.sealed(db, {*named, *own})
    return live


def _load_step(row: Row) -> LiveStep:
    slots = json.loads(row["provides"])
    step = Step(
        row["action"],
        json.loads(row["args"]),
        Phase(row["phase"]),
        row["title"],
        tuple(slots["provides"]),
        tuple(slots["needs"]),
        OnFailure(row["on_failure"]),
        tuple(Owned(*each) for each in json.loads(row["owns"])),
        tuple(Owned(*each) for each in json.loads(row["disowns"])),
        row["version"],
        row["plugin"],
    )
    return LiveStep(
        row["id"],
        row["position"],
        step,
        StepState(row["state"]),
        row["attempts"],
        row["began_at"],
        row["deadline"],
        row["wake_at"],
        row["note"],
        json.loads(row["fault"]),
    )
