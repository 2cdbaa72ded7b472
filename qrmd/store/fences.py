"""Fenced hosts: what is owed there instead of done, until the host is admitted again or scrapped."""

from __future__ import annotations

import json
from collections.abc import Sequence

from qrmd import events
from qrmd.clock import now_us
from qrmd.errors import Conflict
from qrmd.model import Severity
from qrmd.states import HostState, StepState
from qrmd.store import debts
from qrmd.store.connection import Db, Row, Transaction
from qrmd.store.journal import disown, done, save_carried, undone
from qrmd.store.transitions import state_of
from qrmd.store.workflows import LIVE, is_live
from qrmd.workflow.live import LiveStep, LiveWorkflow
from qrmd.workflow.plan import Owned


def is_fenced(db: Db, place: str) -> bool:
    """Whether a place (``host:1``) is a host that is fenced."""
    kind, _, ident = place.partition(":")
    return kind == "host" and state_of(db, "host", int(ident)) == HostState.FENCED


def owe(db: Transaction, live: LiveWorkflow, step: LiveStep) -> bool:
    """A step that takes away counts as done, because its host is fenced. What it owns there stays ours by its row.

    Returns:
        False: the host is not fenced any more, nothing was written.
    """
    if not is_fenced(db, step.step.place):
        return False
    save_carried(db, live)
    db.execute(
        "UPDATE steps SET state = 'owed', ended_at = ?, wake_at = 0, fault = '{}', note = ? WHERE id = ?",
        (now_us(), f"owed: {step.step.place} is fenced", step.id),
    )
    events.append(
        db,
        "workflow.step_owed",
        live.subject,
        severity=Severity.WARNING,
        workflow_id=live.id,
        data={"step": step.step.title, "place": step.step.place},
    )
    return True


def defer(db: Transaction, live: LiveWorkflow, step: LiveStep) -> bool:
    """A debt that takes away at a fenced host is not tried there any more: ``host.admit`` does it.

    Returns:
        False: it is no debt any more, or the host is not fenced any more; nothing was written.
    """
    return debts.is_debt(db, step) and owe(db, live, step)


def owed_at(db: Db, place: str) -> list[Row]:
    """Steps that are owed at a place, in the order in which they are paid."""
    return db.rows(
        "SELECT s.id, s.title, s.workflow_id, w.operation, w.subject FROM steps s JOIN workflows w"
        " ON w.id = s.workflow_id WHERE s.place = ? AND s.state = 'owed' ORDER BY s.workflow_id DESC, s.ended_at, s.id",
        (place,),
    )


def pay(db: Transaction, live: LiveWorkflow, step: LiveStep) -> None:
    """What was owed is really done: what it took away is not ours any more."""
    if live.kind.mirrored:
        done(db, step, {})
    else:
        undone(db, step)
    if not is_live(db, live.id):  # it may have ended since it was loaded
        debts.arrive(db, live)


def require_paid(db: Db, place: str) -> None:
    """Raises Conflict naming a step that is still owed at a place."""
    left = owed_at(db, place)
    if left:
        raise Conflict(
            f"{len(left)} steps are still owed there, the first: {left[0]['title']}",
            subject=place,
            hint="ask again; what can't be done is named then",
        )


def write_off(db: Transaction, place: str) -> int:
    """The host will not come back: nothing is owed there any more, and what we had there is gone with it.

    Returns:
        How many steps were owed or debts.
    """
    unpaid = f"SELECT id, workflow_id, owns, disowns FROM steps WHERE id IN ({debts.UNPAID_STEPS}) AND place = ?"  # noqa: S608
    rows = db.rows(unpaid, (place,))
    for row in rows:
        db.execute("UPDATE steps SET state = ? WHERE id = ?", (StepState.SKIPPED.value, row["id"]))
        disown(db, _things(row))
    db.execute("DELETE FROM owned WHERE place = ?", (place,))
    for row in db.rows(
        f"SELECT id, subject FROM workflows WHERE id IN ({', '.join('?' * len(rows))})"  # noqa: S608 - marks only
        f" AND state NOT IN {LIVE}",
        [row["workflow_id"] for row in rows],
    ):
        debts.settle(db, row["id"], row["subject"], "workflow.debts_void")
    return len(rows)


def _things(row: Row) -> Sequence[Owned]:
    return [Owned(*each) for each in (*json.loads(row["owns"]), *json.loads(row["disowns"]))]


def stuck_at(db: Db, place: str) -> list[int]:
    """Stuck workflows whose step under way is at a place."""
    rows = db.rows(
        "SELECT DISTINCT w.id FROM workflows w JOIN steps s ON s.workflow_id = w.id WHERE w.state = 'stuck'"
        " AND s.place = ? AND (s.state = 'undoing' OR (s.state IN ('running', 'waiting', 'failed') AND NOT EXISTS"
        " (SELECT 1 FROM steps WHERE workflow_id = w.id AND state IN ('undoing', 'undone')))) ORDER BY w.id",
        (place,),
    )
    return [row["id"] for row in rows]


def waiting_at(db: Db, place: str) -> list[int]:
    """Live workflows that have a step under way at a place."""
    rows = db.rows(
        "SELECT DISTINCT w.id FROM workflows w JOIN steps s ON s.workflow_id = w.id WHERE w.state IN ('running',"
        " 'undoing') AND s.place = ? AND s.state IN ('running', 'waiting', 'failed', 'undoing') ORDER BY w.id",
        (place,),
    )
    return [row["id"] for row in rows]
