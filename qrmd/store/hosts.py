"""Rows of hosts."""

from __future__ import annotations

import sqlite3
from typing import Any

from qrmd import events
from qrmd.clock import now_us
from qrmd.errors import Conflict, NotFound
from qrmd.model import Host
from qrmd.states import HostState
from qrmd.store.connection import Db, Transaction
from qrmd.store.find import by_ref
from qrmd.store.rows import dump, load

COLUMNS = "cpu_overcommit", "memory_overcommit", "reserved_memory_mb"


def all_hosts(db: Db) -> list[Host]:
    """Every host that is not removed."""
    return [load(Host, row) for row in db.rows("SELECT * FROM hosts WHERE state <> 'removed' ORDER BY id")]


def find(db: Db, ref: int | str) -> Host:
    """One host by id or name. Raises NotFound."""
    return db.recall("hosts", ref, lambda: load(Host, by_ref(db, "hosts", "host", ref)))


def add(
    db: Transaction, name: str, uri: str, virtualization_type: str, limits: dict[str, Any], actor: str, reason: str
) -> int:
    """Insert a host in state ``new``. Raises Conflict when name or URI is taken."""
    try:
        ident = db.insert(
            "INSERT INTO hosts (name, uri, virtualization_type, state, cpu_overcommit, memory_overcommit,"
            " reserved_memory_mb) VALUES (?, ?, ?, 'new', ?, ?, ?)",
            (name, uri, virtualization_type, *(limits[each] for each in COLUMNS)),
        )
    except sqlite3.IntegrityError:
        raise Conflict("a host of that name or URI exists already", subject=f"host:{name}") from None
    events.append(db, "host.added", f"host:{ident}", actor=actor, reason=reason, data={"name": name, "uri": uri})
    return ident


def save_facts(db: Transaction, ident: int, cpus: int, memory_mb: int, facts: dict[str, Any]) -> None:
    """What the host said of itself."""
    db.execute(
        "UPDATE hosts SET cpus = ?, memory_mb = ?, facts = ?, seen_at = ? WHERE id = ?",
        (cpus, memory_mb, dump(facts), now_us(), ident),
    )


def users_of(db: Db, ident: int) -> list[str]:
    """What still needs a host: appliances on it and storages bound to it."""
    rows = db.rows(
        "SELECT 'appliance ' || name FROM appliances WHERE host_id = ? AND state <> 'removed'"
        " UNION ALL SELECT 'storage ' || name FROM storages WHERE host_id = ?",
        (ident, ident),
    )
    return [row[0] for row in rows]


def state_of(db: Db, ident: int) -> HostState:
    """The host's state. Raises NotFound."""
    state = db.value("SELECT state FROM hosts WHERE id = ?", (ident,))
    if state is None:
        raise NotFound(f"there is no host {ident}", subject=f"host:{ident}")
    return HostState(state)
