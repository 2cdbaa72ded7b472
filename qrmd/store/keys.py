"""Idempotency of changing verbs that are not workflows."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from qrmd.clock import now_us
from qrmd.errors import Conflict
from qrmd.store.connection import Transaction
from qrmd.store.rows import dump


def once(db: Transaction, actor: str, verb: str, key: str, function: Callable[[Transaction], Any]) -> Any:
    """The first answer to (actor, key); ``function`` runs only the first time.

    Raises:
        Conflict: the key was used for another verb.
    """
    row = db.row("SELECT verb, result FROM keys WHERE actor = ? AND key = ?", (actor, key))
    if row is not None:
        if row["verb"] != verb:
            raise Conflict(f"the key was used for {row['verb']} before", hint="use a new key for a new operation")
        return json.loads(row["result"])
    result = function(db)
    db.execute(
        "INSERT INTO keys (actor, key, verb, result, at) VALUES (?, ?, ?, ?, ?)",
        (actor, key, verb, dump(result), now_us()),
    )
    return result
