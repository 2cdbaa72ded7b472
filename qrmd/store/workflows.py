"""Rows of workflows and steps: how they begin, and what is read of them after a restart."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from qrmd.clock import now_us
from qrmd.errors import Busy, Conflict, NotFound
from qrmd.states import StepState, WorkflowState
from qrmd.store import debts, keys, secrets
from qrmd.store.connection import Db, Row, Transaction
from qrmd.store.journal import own
from qrmd.store.rows import dump
from qrmd.store.transitions import move, state_of, transition
from qrmd.vault import references
from qrmd.workflow.kinds import WorkflowKind
from qrmd.workflow.live import LiveStep, LiveWorkflow
from qrmd.workflow.plan import OnFailure, Owned, Phase, Step
from qrmd.workflow.request import Begun, Request

LIVE = "('planning', 'running', 'undoing', 'stuck')"
Void = tuple[LiveWorkflow, Sequence[LiveStep]]
ENGINE = "engine"
"""Whose keys those are that stand for a workflow which another request began."""


def begin(db: Transaction, request: Request) -> Begun:
    """Move 1: the workflow in state ``planning`` holds its reservations.

    Raises:
        Busy: another workflow is live on the subject.
        Conflict: the subject is not in a state from which this operation goes.
        PreconditionFailed: what ``kind.reserve`` refuses.
    """
    kind = request.kind
    known = known_by_key(db, request)
    if known is not None:
        return known
    if request.create is not None:
        request = replace(request, subject_id=request.create(db))
    check_source(db, kind, request.subject_id)
    ident = _insert(db, request)
    for name, value in request.secrets.items():
        secrets.keep(db, ident, name, value)
    kind.reserve(db, request.subject_id, request.arguments, ident)
    view = kind.view(db, request.subject_id, request.arguments, ident)
    return Begun(ident, request.subject_id, view, _sealed(db, ident, references(dump(dict(request.arguments)))))


def _sealed(db: Db, workflow_id: int, named: Sequence[int]) -> dict[int, bytes]:
    own = [int(each.partition(":")[2]) for each in secrets.named(db, workflow_id).values()]
    return secrets.sealed(db, {*named, *own})


def is_live(db: Db, ident: int) -> bool:
    """Whether a workflow has not ended; a stuck one has not."""
    return db.value(f"SELECT 1 FROM workflows WHERE id = ? AND state IN {LIVE}", (ident,)) is not None  # noqa: S608


def begun_by_key(db: Db, operation: str, key: str) -> int | None:
    """Id of the workflow of this operation that a key began."""
    found: int | None = db.value("SELECT id FROM workflows WHERE key = ? AND operation = ?", (key, operation))
    return found


def known_by_key(db: Db, request: Request) -> Begun | None:
    """What the key of a request began before. Raises Conflict when that was something else."""
    if request.key is None:
        return None
    row = db.row("SELECT id, operation, subject FROM workflows WHERE key = ?", (request.key,))
    if row is None:
        stood_for = keys.find(db, ENGINE, request.kind.operation, request.key)
        return None if stood_for is None else Begun(stood_for, request.subject_id, existing=True)
    same_subject = request.create is not None or row["subject"] == request.subject
    if row["operation"] != request.kind.operation or not same_subject:
        raise Conflict(
            f"the key was used for {row['operation']} of {row['subject']} before",
            hint="use a new key for a new operation",
        )
    return Begun(row["id"], int(row["subject"].partition(":")[2]), existing=True)


def check_source(db: Db, kind: WorkflowKind, subject_id: int) -> None:
    """Refuse an operation on a subject that is gone or in another state, maybe because it is busy.

    Raises:
        NotFound, Busy, Conflict: as it says.
    """
    subject = f"{kind.subject_kind}:{subject_id}"
    state = state_of(db, kind.subject_kind, subject_id)
    if state in kind.journey.source:
        return
    if state is None:
        raise NotFound(f"there is no {kind.subject_kind} {subject_id}", subject=subject)
    holder = live_on(db, subject)
    if holder is not None:
        raise busy(holder, subject)
    raise Conflict(
        f"it is {state}; {kind.operation} needs {' or '.join(kind.journey.source)}", subject=subject, state=state
    )


def busy(holder: Row, subject: str, purpose: str = "") -> Busy:
    """Who holds an object, and what for.

    Args:
        holder: ``id``, ``operation``, ``state``, ``actor`` and ``reason`` of its workflow.
        purpose: more than that the workflow works on the object.
    """
    reason = f": {holder['reason']}" if holder["reason"] else ""
    stuck = holder["state"] == WorkflowState.STUCK
    ident = holder["id"]
    return Busy(
        f"{holder['operation']}{purpose} is {holder['state']} (workflow {ident}, by {holder['actor']}{reason})",
        subject=subject,
        hint=f"workflow.retry, skip or abandon {ident}" if stuck else f"wait for it, or workflow.cancel {ident}",
        workflow=ident,
    )


def live_on(db: Db, subject: str) -> Row | None:
    """The live workflow of a subject, if there is one."""
    return db.row(
        f"SELECT id, operation, state, actor, reason FROM workflows WHERE subject = ? AND state IN {LIVE}",  # noqa: S608
        (subject,),
    )


def _insert(db: Transaction, request: Request) -> int:
    """The row is the lock on the subject. Raises Busy."""
    try:
        return _insert_row(db, request)
    except sqlite3.IntegrityError:
        holder = live_on(db, request.subject)
        if holder is None:
            raise
        raise busy(holder, request.subject) from None


def _insert_row(db: Transaction, request: Request) -> int:
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


def freeze(
    db: Transaction,
    live: LiveWorkflow,
    steps: Sequence[Step],
    facts: Mapping[str, Any],
    void: Sequence[Void] = (),
    deadline: int = 0,
) -> None:
    """Move 3: steps, state change of the subject, event.

    Args:
        void: debts of earlier workflows of the subject that end with this one's beginning.
        deadline: of the first step, when it is attempted right after this; its intent is written here then.

    Raises:
        Conflict: the subject changed its state meanwhile.
    """
    db.on_rollback(live.steps.clear)
    also = {"facts": dump(dict(facts))}
    move(db, "workflow", live.id, WorkflowState.RUNNING, source=WorkflowState.PLANNING, also=also)
    live.steps += _insert_steps(db, live.id, steps, deadline)
    if deadline:
        own(db, live, steps[0])
    _depart(db, live)
    for debtor, owed in void:
        debts.void(db, debtor, owed)


def _depart(db: Transaction, live: LiveWorkflow) -> None:
    """The subject leaves its state, or must still be in it when the operation does not change it."""
    kind, during = live.kind, live.kind.journey.during
    if during is None:
        state = state_of(db, kind.subject_kind, live.subject_id)
        if state not in kind.journey.source:
            raise Conflict(f"it has become {state} meanwhile", subject=live.subject, state=state)
        return
    transition(
        db,
        kind.subject_kind,
        live.subject_id,
        during,
        source=kind.journey.source,
        actor=live.actor,
        reason=live.reason,
        workflow_id=live.id,
    )


def _insert_steps(db: Transaction, workflow_id: int, steps: Sequence[Step], deadline: int) -> list[LiveStep]:
    ident = int(db.value("SELECT seq FROM sqlite_sequence WHERE name = 'steps'") or 0) + 1
    made = [LiveStep(ident + position, position, step) for position, step in enumerate(steps)]
    if deadline:
        made[0].state, made[0].attempts, made[0].began_at, made[0].deadline = StepState.RUNNING, 1, now_us(), deadline
    db.execute_many(
        "INSERT INTO steps (id, workflow_id, position, state, attempts, began_at, deadline, action, version, plugin,"
        " phase, title, args, provides, on_failure, owns, disowns, place)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(each.id, workflow_id, *_progress(each), *_columns(each.step)) for each in made],
    )
    return made


def _progress(step: LiveStep) -> tuple[Any, ...]:
    return step.position, step.state.value, step.attempts, step.began_at, step.deadline


def _columns(step: Step) -> tuple[Any, ...]:
    return (
        step.action,
        step.version,
        step.plugin,
        int(step.phase),
        step.title,
        dump(dict(step.args)),
        dump({"provides": step.provides, "needs": step.needs}),
        step.on_failure.value,
        dump([(each.kind, each.external_id, each.place) for each in step.owns]),
        dump([(each.kind, each.external_id, each.place) for each in step.disowns]),
        step.place,
    )


# ------------------------------------------------------------ after a restart


def load_live(db: Db, kinds: Mapping[str, WorkflowKind]) -> list[LiveWorkflow]:
    """All live workflows of kinds that are known, with their steps."""
    rows = db.rows(f"SELECT * FROM workflows WHERE state IN {LIVE} ORDER BY id")  # noqa: S608
    return [_load(db, row, kinds[row["operation"]]) for row in rows if row["operation"] in kinds]


def load_debtors(db: Db, kinds: Mapping[str, WorkflowKind]) -> list[LiveWorkflow]:
    """Ended workflows that have debts."""
    owing = "SELECT workflow_id FROM steps WHERE state = 'debt'"
    rows = db.rows(f"SELECT * FROM workflows WHERE id IN ({owing}) AND state NOT IN {LIVE} ORDER BY id")  # noqa: S608
    return [_load(db, row, kinds[row["operation"]]) for row in rows if row["operation"] in kinds]


def load_owing(db: Db, kinds: Mapping[str, WorkflowKind], place: str) -> list[LiveWorkflow]:
    """Workflows of known kinds that owe something at a place, the newest first: what was made last goes first."""
    owing = "SELECT workflow_id FROM steps WHERE place = ? AND state = 'owed'"
    rows = db.rows(f"SELECT * FROM workflows WHERE id IN ({owing}) ORDER BY id DESC", (place,))  # noqa: S608
    return [_load(db, row, kinds[row["operation"]]) for row in rows if row["operation"] in kinds]


def _load(db: Db, row: Row, kind: WorkflowKind) -> LiveWorkflow:
    live = LiveWorkflow(
        row["id"],
        kind,
        int(row["subject"].partition(":")[2]),
        json.loads(row["arguments"]),
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
    live.sealed = _sealed(db, row["id"], named)
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
        row["place"],
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
