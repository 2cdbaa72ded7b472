"""Cursors of observers, events they could not digest, and the operations they asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qrmd import events
from qrmd.clock import now_us
from qrmd.errors import NotFound
from qrmd.model import Event, Severity
from qrmd.store.connection import Db, Transaction
from qrmd.store.rows import dump, load

PARKED = "plugin.event_parked"


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far an observer has come: the last event it has digested, and what the next one did to it."""

    plugin: str
    event_id: int
    attempts: int = 0
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Parked:
    """An event that an observer could not digest."""

    plugin: str
    event_id: int
    fault: str
    at: int


@dataclass(frozen=True, slots=True)
class Requested:
    """An operation that an observer asked for."""

    id: int
    plugin: str
    key: str
    verb: str
    arguments: dict[str, Any]


def last_event(db: Db) -> int:
    """Id of the newest event."""
    return int(db.value("SELECT max(id) FROM events") or 0)


def begin(db: Transaction, plugin: str) -> Cursor:
    """The plugin's cursor; a new one stands at now."""
    db.execute("INSERT OR IGNORE INTO cursors (plugin, event_id) VALUES (?, ?)", (plugin, last_event(db)))
    found = cursor(db, plugin)
    assert found is not None  # noqa: S101 - inserted above
    return found


def cursor(db: Db, plugin: str) -> Cursor | None:
    """The plugin's cursor, None when it observes nothing."""
    row = db.row("SELECT * FROM cursors WHERE plugin = ?", (plugin,))
    return None if row is None else load(Cursor, row)


def forget(db: Transaction, plugin: str) -> None:
    """Drop cursor, parked events and requests."""
    for table in ("cursors", "parked_events", "requested"):
        db.execute(f"DELETE FROM {table} WHERE plugin = ?", (plugin,))  # noqa: S608 - our own names


def after(db: Db, event_id: int, limit: int) -> list[Event]:
    """The next events in order."""
    rows = db.rows("SELECT * FROM events WHERE id > ? ORDER BY id LIMIT ?", (event_id, limit))
    return [load(Event, row) for row in rows]


def event(db: Db, event_id: int) -> Event:
    """One event.

    Raises:
        NotFound: there is none.
    """
    row = db.row("SELECT * FROM events WHERE id = ?", (event_id,))
    if row is None:
        raise NotFound(f"there is no event {event_id}")
    return load(Event, row)


def advance(db: Transaction, plugin: str, event_id: int) -> None:
    """Move the cursor: in the same transaction as the observer's own writes."""
    db.execute("UPDATE cursors SET event_id = ?, attempts = 0, fault = '' WHERE plugin = ?", (event_id, plugin))


def note_failure(db: Transaction, plugin: str, event_id: int, fault: str, limit: int) -> int:
    """Count a failed try of the event after the cursor; at the limit it is parked and the cursor goes on.

    Returns:
        Tries so far, 0 when the event was parked.
    """
    db.execute("UPDATE cursors SET attempts = attempts + 1, fault = ? WHERE plugin = ?", (fault, plugin))
    attempts = int(db.value("SELECT attempts FROM cursors WHERE plugin = ?", (plugin,)) or 0)
    if 0 < attempts < limit:
        return attempts
    db.execute(
        "INSERT OR REPLACE INTO parked_events (plugin, event_id, fault, at) VALUES (?, ?, ?, ?)",
        (plugin, event_id, fault, now_us()),
    )
    advance(db, plugin, event_id)
    _tell(db, PARKED, plugin, Severity.ERROR, {"event": event_id, "fault": fault})
    return 0


def count_parked(db: Db) -> dict[str, int]:
    """How many events each plugin could not digest; those without any are left out."""
    rows = db.rows("SELECT plugin, count(*) AS number FROM parked_events GROUP BY plugin")
    return {row["plugin"]: row["number"] for row in rows}


def parked(db: Db, plugin: str) -> list[Parked]:
    """Events the plugin could not digest, oldest first."""
    rows = db.rows("SELECT * FROM parked_events WHERE plugin = ? ORDER BY event_id LIMIT 1000", (plugin,))
    return [load(Parked, row) for row in rows]


def unpark(db: Transaction, plugin: str, event_id: int, kind: str, actor: str, reason: str) -> None:
    """Forget a parked event: it was digested at last, or somebody said to skip it.

    Raises:
        NotFound: it is not parked.
    """
    gone = db.execute("DELETE FROM parked_events WHERE plugin = ? AND event_id = ?", (plugin, event_id)).rowcount
    if not gone:
        raise NotFound(f"event {event_id} is not parked", subject=f"plugin:{plugin}")
    _tell(db, kind, plugin, Severity.NOTICE, {"event": event_id}, actor=actor, reason=reason)


# ---------------------------------------------------------------- operations asked for


def request(db: Transaction, plugin: str, key: str, verb: str, arguments: Mapping[str, Any]) -> None:
    """Remember that an observer asked for an operation; the same key asks once."""
    db.execute(
        "INSERT OR IGNORE INTO requested (plugin, key, verb, arguments) VALUES (?, ?, ?, ?)",
        (plugin, key, verb, dump(dict(arguments))),
    )


def requests(db: Db, plugins: Sequence[str], limit: int = 200) -> list[Requested]:
    """What these plugins asked for and was not yet accepted, in order."""
    rows = db.rows(
        "SELECT * FROM requested WHERE plugin IN (SELECT value FROM json_each(?)) ORDER BY id LIMIT ?",
        (dump(list(plugins)), limit),
    )
    return [Requested(row["id"], row["plugin"], row["key"], row["verb"], json.loads(row["arguments"])) for row in rows]


def accepted(db: Transaction, ident: int) -> None:
    """The verb took it."""
    db.execute("DELETE FROM requested WHERE id = ?", (ident,))


def refused(db: Transaction, asked: Requested, fault: Mapping[str, Any]) -> None:
    """The verb refused it for good; said once."""
    accepted(db, asked.id)
    data = {"verb": asked.verb, "key": asked.key, "fault": dict(fault)}
    _tell(db, "plugin.request_refused", asked.plugin, Severity.WARNING, data)


def _tell(
    db: Transaction,
    kind: str,
    plugin: str,
    severity: Severity,
    data: dict[str, Any],
    *,
    actor: str = "",
    reason: str = "",
) -> None:
    ident = db.value("SELECT id FROM plugins WHERE name = ?", (plugin,))
    events.append(
        db,
        kind,
        f"plugin:{plugin if ident is None else ident}",
        actor=actor or "system",
        reason=reason,
        severity=severity,
        data={"plugin": plugin, **data},
    )
