"""Marks on the meters of servers: append-only."""

from __future__ import annotations

from qrmd.api import Db, Transaction, load
from qrmd_cloud.model import Mark, MarkKind


def mark(db: Transaction, server_id: int, at: int, kind: MarkKind, cause: str, event_id: int | None = None) -> bool:
    """Append a mark; False when this event has marked already."""
    if event_id is not None and db.value("SELECT 1 FROM cloud_marks WHERE event_id = ?", (event_id,)):
        return False
    db.insert(
        "INSERT INTO cloud_marks (server_id, at, kind, cause, event_id) VALUES (?, ?, ?, ?, ?)",
        (server_id, at, kind.value, cause, event_id),
    )
    return True


def marks(db: Db, server_id: int) -> list[Mark]:
    """All marks of a server, in the order they were made."""
    rows = db.rows("SELECT * FROM cloud_marks WHERE server_id = ? ORDER BY id", (server_id,))
    return [load(Mark, row) for row in rows]
