"""Rows that the leftovers audit reads and writes."""

from __future__ import annotations

from dataclasses import dataclass

from qrmd import events
from qrmd.clock import now_us
from qrmd.drivers import Found
from qrmd.model import Severity
from qrmd.store.connection import Db, Transaction
from qrmd.store.rows import load


@dataclass(frozen=True, slots=True)
class OwnedRow:
    """A thing outside that is ours."""

    id: int
    subject: str
    plugin: str
    kind: str
    external_id: str
    place: str
    workflow_id: int


def owned(db: Db) -> list[OwnedRow]:
    """All of them."""
    return [load(OwnedRow, row) for row in db.rows("SELECT * FROM owned ORDER BY id")]


def count_at(db: Db, place: str) -> int:
    """How many things of ours a place holds."""
    return int(db.value("SELECT count(*) FROM owned WHERE place = ?", (place,)))


def exists(db: Db, subject: str) -> bool:
    """Whether the appliance or image that an owner tag names is still there."""
    kind, _, ident = subject.partition(":")
    table = {"appliance": "appliances", "image": "images"}.get(kind)
    if table is None or not ident.isdigit():
        return False
    state = db.value(f"SELECT state FROM {table} WHERE id = ?", (int(ident),))  # noqa: S608 - our own table names
    return state not in (None, "removed")


def busy_subjects(db: Db) -> frozenset[str]:
    """Subjects with a live workflow, and those whose workflow ended with a debt."""
    rows = db.rows(
        "SELECT subject FROM workflows WHERE state IN ('planning', 'running', 'undoing')"
        " UNION SELECT w.subject FROM steps s JOIN workflows w ON w.id = s.workflow_id WHERE s.state = 'debt'"
    )
    return frozenset(row[0] for row in rows)


def ignored(db: Db) -> frozenset[tuple[str, str, str]]:
    """What an admin said to leave alone."""
    rows = db.rows("SELECT kind, external_id, place FROM audit_ignored")
    return frozenset((row["kind"], row["external_id"], row["place"]) for row in rows)


def ignore(db: Transaction, kind: str, external_id: str, place: str, actor: str, reason: str) -> None:
    """Leave a thing alone from now on."""
    db.execute(
        "INSERT OR REPLACE INTO audit_ignored (kind, external_id, place, reason, at) VALUES (?, ?, ?, ?, ?)",
        (kind, external_id, place, reason, now_us()),
    )
    _note(db, "audit.ignored", kind, external_id, place, actor, reason)


def adopt(db: Transaction, found: Found, plugin: str, actor: str, reason: str) -> None:
    """Say that a thing belongs to the object that its tag names; its removal takes it along.

    Args:
        plugin: that answers for it.
    """
    db.execute(
        "INSERT INTO owned (subject, plugin, kind, external_id, place, workflow_id) VALUES (?, ?, ?, ?, ?, 0)"
        " ON CONFLICT (kind, external_id, place) DO NOTHING",
        (found.subject, plugin, found.kind, found.external_id, found.place),
    )
    _note(db, "audit.adopted", found.kind, found.external_id, found.place, actor, reason)


def forget(db: Transaction, kind: str, external_id: str, place: str, actor: str, reason: str) -> None:
    """A thing is gone outside."""
    db.execute("DELETE FROM owned WHERE kind = ? AND external_id = ? AND place = ?", (kind, external_id, place))
    _note(db, "audit.removed", kind, external_id, place, actor, reason)


def _note(db: Transaction, event: str, kind: str, external_id: str, place: str, actor: str, reason: str) -> None:
    data = {"kind": kind, "external_id": external_id}
    events.append(db, event, place, actor=actor, reason=reason, severity=Severity.NOTICE, data=data)
