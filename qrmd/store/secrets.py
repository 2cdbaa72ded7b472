"""Rows of secrets. They end with their workflow."""

from __future__ import annotations

from collections.abc import Iterable

from qrmd.store.connection import Db, Transaction


def keep(db: Transaction, workflow_id: int, name: str, value: str) -> str:
    """Keep a secret for a workflow; returns its reference ``secret:<id>``."""
    ident = db.insert(
        "INSERT INTO secrets (workflow_id, name, sealed) VALUES (?, ?, ?)",
        (workflow_id, name, db.vault.seal(value)),
    )
    return f"secret:{ident}"


def named(db: Db, workflow_id: int) -> dict[str, str]:
    """References of a workflow's own secrets by name."""
    rows = db.execute("SELECT id, name FROM secrets WHERE workflow_id = ?", (workflow_id,))
    return {row["name"]: f"secret:{row['id']}" for row in rows}


def sealed(db: Db, idents: Iterable[int]) -> dict[int, bytes]:
    """Sealed values by id; ids that are gone are left out."""
    found = {}
    for ident in idents:
        value = db.value("SELECT sealed FROM secrets WHERE id = ?", (ident,))
        if value is not None:
            found[ident] = value
    return found


def forget(db: Transaction, workflow_id: int) -> None:
    """Delete a workflow's secrets."""
    db.execute("DELETE FROM secrets WHERE workflow_id = ?", (workflow_id,))
