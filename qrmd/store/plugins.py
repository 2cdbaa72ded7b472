"""Rows of plugins: what the admin decided, what depends on them, and the tables they own."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from qrmd import events
from qrmd.errors import NotFound, PluginFault
from qrmd.model import Severity
from qrmd.names import shown
from qrmd.states import PluginState
from qrmd.store import outbox, releases, settings
from qrmd.store.connection import Db, Transaction
from qrmd.store.rows import dump, load
from qrmd.store.transitions import transition
from qrmd.store.workflows import LIVE

OUR_OWN = ("_sqlite_migrations", "sqlite_master", "sqlite_sequence", "sqlite_stat1", "sqlite_schema")
_COMMIT_OR_ATTACH = (sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH)
_FIRST_NAMES_TABLE = (
    sqlite3.SQLITE_CREATE_TABLE,
    sqlite3.SQLITE_CREATE_VIEW,
    sqlite3.SQLITE_DROP_TABLE,
    sqlite3.SQLITE_DROP_VIEW,
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_UPDATE,
    sqlite3.SQLITE_DELETE,
)
_SECOND_NAMES_TABLE = (
    sqlite3.SQLITE_ALTER_TABLE,
    sqlite3.SQLITE_CREATE_INDEX,
    sqlite3.SQLITE_CREATE_TRIGGER,
    sqlite3.SQLITE_DROP_INDEX,
    sqlite3.SQLITE_DROP_TRIGGER,
)


@dataclass(frozen=True, slots=True)
class PluginRow:
    """What is kept of a plugin; ``fault`` is why it is quarantined."""

    id: int
    name: str
    state: PluginState
    fault: str


def prefix_of(name: str) -> str:
    """``dir-storage`` → ``dir_storage_``."""
    return name.replace("-", "_") + "_"


def every(db: Db) -> dict[str, PluginRow]:
    """All plugins ever seen, by name."""
    return {row["name"]: load(PluginRow, row) for row in db.rows("SELECT * FROM plugins ORDER BY name")}


def get(db: Db, name: str) -> PluginRow:
    """The row of a plugin.

    Raises:
        NotFound: there is none.
    """
    row = db.row("SELECT * FROM plugins WHERE name = ?", (name,))
    if row is None:
        raise NotFound(f"there is no plugin {shown(name)}", hint="qrm plugin list")
    return load(PluginRow, row)


def ident_of(db: Db, name: str) -> int | None:
    """A plugin's id, None when it has none."""
    ident: int | None = db.value("SELECT id FROM plugins WHERE name = ?", (name,))
    return ident


def add_found(db: Transaction, names: Sequence[str]) -> None:
    """Make a row for each plugin that is seen for the first time."""
    known = every(db)
    for name in names:
        if name not in known:
            ident = db.insert("INSERT INTO plugins (name, state) VALUES (?, ?)", (name, PluginState.INSTALLED.value))
            events.append(db, "plugin.installed", f"plugin:{ident}", data={"plugin": name})


def move(db: Transaction, name: str, target: PluginState, actor: str, reason: str, fault: str = "") -> PluginRow:
    """Change a plugin's state with its event; a cursor is new at each enabling and kept over stop and start."""
    row = get(db, name)
    db.execute("UPDATE plugins SET fault = ? WHERE id = ?", (fault, row.id))
    was = transition(
        db,
        "plugin",
        row.id,
        target,
        actor=actor,
        reason=reason,
        severity=Severity.ERROR if fault else Severity.NOTICE,
        data={"plugin": name, **({"fault": fault} if fault else {})},
    )
    if was == PluginState.INSTALLED or target is PluginState.INSTALLED:
        outbox.forget(db, name)
    return get(db, name)


def note_fault(db: Transaction, name: str, fault: str) -> None:
    """Keep the newest fault of a plugin that is quarantined already."""
    db.execute("UPDATE plugins SET fault = ? WHERE name = ?", (fault, name))


# ---------------------------------------------------------------- tables


def copy_aside(db: Db, path: Path, name: str, migrations: Migrations) -> None:
    """Copy the database file if the plugin has migrations that are not applied yet."""
    pending = migrations.pending(db.toolkit)
    if not pending:
        return
    aside = path.with_name(f"{path.name}.before-{name}-{pending[0].name}")
    with closing(sqlite3.connect(aside)) as copy:
        shutil.copymode(path, aside)
        db.connection.backup(copy)


def migrate(db: Transaction, name: str, migrations: Migrations, version: str) -> list[str]:
    """Apply a plugin's pending migrations; they may touch its own tables only.

    Args:
        version: of its distribution, which is kept.

    Returns:
        Names of the migrations applied.

    Raises:
        PluginFault: a migration raised or reached for something else; nothing has changed.
    """
    releases.note(db, name, version)
    before = _tables(db)
    pending = [each.name for each in migrations.pending(db.toolkit)]
    if not pending:
        return []
    guard = _Guard(prefix_of(name), before - set(tables_of(db, name)))
    db.connection.set_authorizer(guard)
    try:
        migrations.apply(Database(db.connection))
    except Exception as error:
        why = f"it wanted to {guard.denied[0]}" if guard.denied else f"{type(error).__name__}: {error}"
        raise PluginFault(
            f"migration failed: {why}",
            subject=f"plugin:{name}",
            hint=f"its tables begin with {prefix_of(name)}; nothing has changed",
        ) from error
    finally:
        db.connection.set_authorizer(None)
    own = (set(tables_of(db, name)) | (_tables(db) - before)) & _tables(db) - set(OUR_OWN)
    db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (f"tables:{name}", dump(sorted(own))))
    return pending


def tables_of(db: Db, name: str) -> list[str]:
    """Tables that the plugin's migrations made."""
    text = db.value("SELECT value FROM meta WHERE key = ?", (f"tables:{name}",))
    return list(json.loads(text)) if text else []


def purge(db: Transaction, name: str, actor: str, reason: str) -> list[str]:
    """Drop all that is kept of a plugin; its row stays as installed.

    Returns:
        Names of the tables dropped.
    """
    tables = tables_of(db, name)
    row = get(db, name)
    for view in db.rows("SELECT name FROM sqlite_master WHERE type = 'view' AND name LIKE ?", (prefix_of(name) + "%",)):
        db.execute(f'DROP VIEW "{view["name"]}"')
    order = db.rows("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid DESC")
    for table in [each["name"] for each in order if each["name"] in tables]:
        db.execute(f'DROP TABLE "{table}"')
    if "_sqlite_migrations" in _tables(db):
        db.execute("DELETE FROM _sqlite_migrations WHERE migration_set = ?", (name,))
    db.execute("DELETE FROM meta WHERE key = ?", (f"tables:{name}",))
    releases.forget(db, name)
    settings.forget(db, name)
    db.execute("DELETE FROM owned WHERE plugin = ?", (name,))
    outbox.forget(db, name)
    db.execute("UPDATE plugins SET fault = '' WHERE id = ?", (row.id,))
    events.append(
        db,
        "plugin.purged",
        f"plugin:{row.id}",
        actor=actor,
        reason=reason,
        severity=Severity.WARNING,
        data={"plugin": name, "tables": tables},
    )
    return tables


def _tables(db: Db) -> set[str]:
    return {row["name"] for row in db.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}


class _Guard:
    """An SQLite authorizer that lets statements write to tables of one prefix only, and never end the transaction.

    A ``COMMIT`` inside a member would publish half of the group it shares its transaction with.
    """

    def __init__(self, prefix: str, foreign: set[str]) -> None:
        self._prefix = prefix
        self._foreign = foreign - set(OUR_OWN)
        self.denied: list[str] = []

    def __call__(
        self, code: int, first: str | None, second: str | None, _database: str | None, _trigger: str | None
    ) -> int:
        if code in _COMMIT_OR_ATTACH:
            return self._deny("end the transaction or attach a database (executescript does, execute does not)")
        table = first if code in _FIRST_NAMES_TABLE else second if code in _SECOND_NAMES_TABLE else None
        if table is None or table in OUR_OWN:
            return sqlite3.SQLITE_OK
        if table.startswith(self._prefix) and table not in self._foreign:
            return sqlite3.SQLITE_OK
        return self._deny(f"change table {table}")

    def _deny(self, what: str) -> int:
        self.denied.append(what)
        return sqlite3.SQLITE_DENY


# ---------------------------------------------------------------- what depends on a plugin


_OF_PLUGIN = (
    "SELECT w.id, w.operation, w.subject, s.title FROM steps s JOIN workflows w ON w.id = s.workflow_id"
    " WHERE s.plugin = ? AND"
)
_LIVE_STEPS = (  # in parts, each of which has an index: what has ended is not looked at
    f"{_OF_PLUGIN} w.state IN {LIVE} AND w.state <> 'planning' AND s.state <> 'skipped'"
    f" UNION ALL {_OF_PLUGIN} s.state = 'debt' UNION ALL {_OF_PLUGIN} s.state = 'owed'"
)


def live_steps(db: Db, name: str) -> list[str]:
    """Workflows that still need the plugin's actions, and debts it has to pay, one sentence each."""
    rows = db.rows(
        f"SELECT id, operation, subject, title FROM ({_LIVE_STEPS}) GROUP BY id ORDER BY id LIMIT 20",  # noqa: S608
        (name, name, name),
    )
    found = [
        f"workflow {row['id']} ({row['operation']} of {row['subject']}) has its step: {row['title']}" for row in rows
    ]
    planning = db.rows(
        f"SELECT id, operation FROM workflows WHERE state IN {LIVE} AND state = 'planning' ORDER BY id LIMIT 5"  # noqa: S608
    )
    return found + [f"workflow {row['id']} ({row['operation']}) is being planned" for row in planning]


def types_in_use(db: Db, virtualization: Sequence[str], deployment: Sequence[str]) -> list[str]:
    """Hosts and storages of these types, one sentence each."""
    hosts = db.rows("SELECT name, virtualization_type AS type FROM hosts WHERE state <> 'removed' ORDER BY id")
    storages = db.rows("SELECT name, deployment_type AS type FROM storages ORDER BY id")
    found = [f"host {row['name']} is of its type {row['type']}" for row in hosts if row["type"] in virtualization]
    return found + [
        f"storage {row['name']} is of its type {row['type']}" for row in storages if row["type"] in deployment
    ]


@dataclass(frozen=True, slots=True)
class OwnedRow:
    """A thing outside that a plugin made."""

    id: int
    subject: str
    kind: str
    external_id: str
    place: str


def owned_by(db: Db, name: str, limit: int = 1000) -> list[OwnedRow]:
    """What the plugin made outside and has not taken back."""
    rows = db.rows("SELECT * FROM owned WHERE plugin = ? ORDER BY id LIMIT ?", (name, limit))
    return [load(OwnedRow, row) for row in rows]


def disown(db: Transaction, ident: int) -> None:
    """Forget one owned row: the thing is gone outside."""
    db.execute("DELETE FROM owned WHERE id = ?", (ident,))
