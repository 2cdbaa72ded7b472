"""Rows of events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qrmd.store.connection import Db, Transaction

FILTERS = ("kind", "severity", "actor", "subject", "workflow_id")


def append(db: Transaction, values: tuple[Any, ...]) -> int:
    """Insert an event: at, kind, severity, actor, reason, subject, workflow_id, data. Returns its id."""
    return db.insert(
        "INSERT INTO events (at, kind, severity, actor, reason, subject, workflow_id, data)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        values,
    )


def page(db: Db, where: Mapping[str, Any], after: int, limit: int, newest: bool) -> list[dict[str, Any]]:
    """Events by id after ``after``; newest first, those before ``after`` (0: from the end).

    Args:
        where: column of ``FILTERS`` → value.
    """
    conditions = ["id < ?" if newest else "id > ?"]
    values: list[Any] = [after or 2**62 if newest else after]
    for name, value in where.items():
        if name not in FILTERS:
            raise KeyError(name)
        conditions.append(f"{name} = ?")
        values.append(value)
    rows = db.rows(
        f"SELECT id, at, kind, severity, actor, reason, subject, workflow_id, data FROM events"  # noqa: S608 - names from FILTERS
        f" WHERE {' AND '.join(conditions)} ORDER BY id {'DESC' if newest else 'ASC'} LIMIT ?",
        (*values, limit),
    )
    return [{**dict(row), "data": json.loads(row["data"])} for row in rows]
