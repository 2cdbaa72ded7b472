"""Idempotency of changing verbs that are not workflows."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from qrmd.clock import now_us
from qrmd.errors import Conflict
from qrmd.store.connection import Db, Transaction
from qrmd.store.rows import dump


def find(db: Db, actor: str, verb: str, key: str) -> Any:
    """The answer that was kept for (actor, key), None when there is none.

    Raises:
        Conflict: the key was used for another verb.
    """
    row = db.row("SELECT verb, result FROM keys WHERE actor = ? AND key = ?", (actor, key))
    if row is None:
        return None
    if row["verb"] != verb:
        raise Conflict(f"the key was used for {row['verb']} before", hint="use a new key for a new operation")
    return json.loads(row["result"])


def keep(db: Transaction, actor: str, verb: str, key: str, result: Any) -> None:
    """Keep the first answer to (actor, key)."""
    db.execute(
        "INSERT INTO keys (actor, key, verb, result, at) VALUES (?, ?, ?, ?, ?)",
        (actor, key, verb, dump(result), now_us()),
    )


def once(db: Transaction, actor: str, verb: str, key: str, function: Callable[[Transaction], Any]) -> Any:
    """The first answer to (actor, key); ``function`` runs only the first time.

    Raises:
        Conflict: the key was used for another verb.
    """
    if db.value("SELECT 1 FROM keys WHERE actor = ? AND key = ?", (actor, key)) is not None:
        return find(db, actor, verb, key)
    result = function(db)
    keep(db, actor, verb, key, result)
    return result
