"""Rows of settings: JSON by name. Secret ones are sealed."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any

from qrmd import events
from qrmd.model import Severity
from qrmd.store.connection import Db, Transaction
from qrmd.store.rows import dump


def values(db: Db) -> dict[str, Any]:
    """All values that were set; a sealed one is ``{"sealed": base64}``."""
    return {row["key"]: json.loads(row["value"]) for row in db.rows("SELECT key, value FROM settings")}


def put(db: Transaction, name: str, value: Any, *, secret: bool, actor: str, reason: str = "") -> None:
    """Set a value; the event never holds a secret one."""
    kept = {"sealed": b64encode(db.vault.seal(value)).decode()} if secret else value
    db.execute(
        "INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (name, dump(kept)),
    )
    _note(db, name, None if secret else value, actor, reason)


def reset(db: Transaction, name: str, *, actor: str, reason: str = "") -> None:
    """Back to the default."""
    db.execute("DELETE FROM settings WHERE key = ?", (name,))
    _note(db, name, None, actor, reason)


def forget(db: Transaction, plugin: str) -> None:
    """All values of a plugin."""
    prefix = f"{plugin}."
    db.execute("DELETE FROM settings WHERE substr(key, 1, ?) = ?", (len(prefix), prefix))


def unsealed(value: Any, vault: Any) -> str:
    """The text of a sealed value."""
    text: str = vault.open(b64decode(value["sealed"]))
    return text


def _note(db: Transaction, name: str, value: Any, actor: str, reason: str) -> None:
    data = {"name": name} if value is None else {"name": name, "value": value}
    events.append(
        db, "settings.changed", f"setting:{name}", actor=actor, reason=reason, severity=Severity.NOTICE, data=data
    )
