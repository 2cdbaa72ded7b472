"""Rows of hosts."""

from __future__ import annotations

import sqlite3
from typing import Any

from qrmd import events
from qrmd.clock import now_us
from qrmd.errors import Conflict, NotFound
from qrmd.model import Host
from qrmd.operations.schema import ListOptions
from qrmd.states import HostState
from qrmd.store import audit
from qrmd.store.connection import Db, Transaction
from qrmd.store.find import by_ref, page, show
from qrmd.store.rows import dump, load

FIELDS = (
    "id", "name", "uri", "virtualization_type", "state", "cpus", "memory_mb", "cpu_overcommit", "memory_overcommit",
    "reserved_memory_mb", "facts", "seen_at", "used_cpus", "used_memory_mb", "machines",
)  # fmt: skip
LOADED = (
    "SELECT hosts.*, coalesce(used.cpus, 0) AS used_cpus, coalesce(used.memory_mb, 0) AS used_memory_mb,"
    " coalesce(used.machines, 0) AS machines FROM hosts LEFT JOIN (SELECT host_id, sum(cpus) AS cpus,"
    " sum(memory_mb) AS memory_mb, count(*) AS machines FROM resources WHERE state <> 'removed' GROUP BY host_id)"
    " used ON used.host_id = hosts.id"
)
"""Hosts with what they have promised."""
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


def list_page(db: Db, options: ListOptions) -> list[dict[str, Any]]:
    """A page of hosts with what they have promised. Raises InvalidInput for an unknown field."""
    return page(db, "hosts", FIELDS, options, query=LOADED)


def show_one(db: Db, ref: int | str) -> dict[str, Any]:
    """A host, what it has promised, and the appliances on it. Raises NotFound."""
    shown = show(db, "hosts", "host", ref)
    sums = db.rows(
        "SELECT coalesce(sum(cpus), 0) AS used_cpus, coalesce(sum(memory_mb), 0) AS used_memory_mb,"
        " count(*) AS machines FROM resources WHERE host_id = ? AND state <> 'removed'",
        (shown["id"],),
    )
    appliances = db.rows(
        "SELECT id, name, state, cpus, memory_mb FROM appliances WHERE host_id = ? AND state <> 'removed'",
        (shown["id"],),
    )
    return {**shown, **dict(sums[0]), "appliances": [dict(each) for each in appliances]}


def check_unused(db: Db, host: Host) -> None:
    """Refuse to forget a host that something is on. Raises Conflict naming the users."""
    users, owned = users_of(db, host.id), audit.count_at(db, f"host:{host.id}")
    if users or owned:
        raise Conflict(
            f"{', '.join(users[:5]) or f'{owned} things of ours'} still on it",
            subject=f"host:{host.id}",
            hint="remove those first; audit.leftovers names what is owned",
            users=users[:100],
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
