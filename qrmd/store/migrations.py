"""The core's tables. Append-only: a migration that has been released is never changed."""

from __future__ import annotations

import shutil
import sqlite3
import uuid
from enum import StrEnum
from pathlib import Path

import sqlite_utils
from sqlite_utils.migrations import Migrations

from qrmd.clock import now_us
from qrmd.model import Severity
from qrmd.states import (
    ApplianceState,
    HostState,
    ImageState,
    PluginState,
    ResourceState,
    StepState,
    WorkflowState,
)
from qrmd.store import users

core = Migrations("core")


def one_of(column: str, enum: type[StrEnum]) -> str:
    """A CHECK constraint that allows the members of ``enum``."""
    return f"CHECK ({column} IN ({', '.join(repr(each.value) for each in enum)}))"


# Removed images and appliances are kept for the history, so they outlive the storages and kernels that they name.
SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, kind TEXT NOT NULL,
    severity TEXT NOT NULL {one_of("severity", Severity)}, actor TEXT NOT NULL, reason TEXT NOT NULL,
    subject TEXT NOT NULL, workflow_id INTEGER, data TEXT NOT NULL) STRICT;
CREATE INDEX events_subject ON events (subject, id);
CREATE TRIGGER events_no_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;

CREATE TABLE cursors (
    plugin TEXT PRIMARY KEY, event_id INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    fault TEXT NOT NULL DEFAULT '') STRICT;
CREATE TABLE parked_events (
    plugin TEXT NOT NULL, event_id INTEGER NOT NULL, fault TEXT NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (plugin, event_id)) STRICT;
CREATE TABLE requested (
    id INTEGER PRIMARY KEY AUTOINCREMENT, plugin TEXT NOT NULL, key TEXT NOT NULL UNIQUE,
    verb TEXT NOT NULL, arguments TEXT NOT NULL) STRICT;

CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE keys (
    actor TEXT NOT NULL, key TEXT NOT NULL, verb TEXT NOT NULL, result TEXT NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (actor, key)) STRICT;
CREATE TABLE plugins (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL {one_of("state", PluginState)}, fault TEXT NOT NULL DEFAULT '') STRICT;

CREATE TABLE hosts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, uri TEXT NOT NULL, virtualization_type TEXT NOT NULL,
    state TEXT NOT NULL {one_of("state", HostState)}, cpus INTEGER NOT NULL DEFAULT 0,
    memory_mb INTEGER NOT NULL DEFAULT 0, cpu_overcommit REAL NOT NULL DEFAULT 4.0,
    memory_overcommit REAL NOT NULL DEFAULT 1.0, reserved_memory_mb INTEGER NOT NULL DEFAULT 512,
    facts TEXT NOT NULL DEFAULT '{{}}', seen_at INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE UNIQUE INDEX hosts_name ON hosts (name) WHERE state <> 'removed';
CREATE UNIQUE INDEX hosts_uri ON hosts (uri, virtualization_type) WHERE state <> 'removed';

CREATE TABLE storages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, deployment_type TEXT NOT NULL,
    location TEXT NOT NULL, host_id INTEGER REFERENCES hosts (id), capacity_mb INTEGER NOT NULL DEFAULT 0,
    overcommit REAL NOT NULL DEFAULT 1.0) STRICT;
CREATE TABLE networks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, bridge TEXT NOT NULL UNIQUE,
    cidr TEXT NOT NULL, range_first TEXT NOT NULL, range_last TEXT NOT NULL, gateway TEXT NOT NULL,
    dns TEXT NOT NULL, domain TEXT NOT NULL) STRICT;
CREATE TABLE kernels (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, path TEXT NOT NULL, initrd TEXT NOT NULL,
    cmdline TEXT NOT NULL) STRICT;
CREATE TABLE images (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, storage_id INTEGER NOT NULL,
    volume TEXT NOT NULL, format TEXT NOT NULL, size_mb INTEGER NOT NULL CHECK (size_mb >= 0),
    state TEXT NOT NULL {one_of("state", ImageState)}, sha256 TEXT NOT NULL DEFAULT '',
    source TEXT NOT NULL DEFAULT '', default_user TEXT NOT NULL DEFAULT 'root',
    min_memory_mb INTEGER NOT NULL DEFAULT 0, created_at INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE UNIQUE INDEX images_name ON images (name) WHERE state <> 'removed';

CREATE TABLE resources (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, virtualization_type TEXT NOT NULL,
    uuid TEXT NOT NULL UNIQUE, state TEXT NOT NULL {one_of("state", ResourceState)},
    host_id INTEGER REFERENCES hosts (id), cpus INTEGER NOT NULL, memory_mb INTEGER NOT NULL,
    appliance_id INTEGER) STRICT;
CREATE INDEX resources_host ON resources (host_id) WHERE state <> 'removed';
CREATE TABLE appliances (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, image_id INTEGER NOT NULL REFERENCES images (id),
    virtualization_type TEXT NOT NULL, cpus INTEGER NOT NULL CHECK (cpus > 0),
    memory_mb INTEGER NOT NULL CHECK (memory_mb > 0), disk_mb INTEGER NOT NULL CHECK (disk_mb > 0),
    state TEXT NOT NULL {one_of("state", ApplianceState)}, hostname TEXT NOT NULL,
    kernel_id INTEGER, resource_id INTEGER REFERENCES resources (id),
    host_id INTEGER REFERENCES hosts (id), networks TEXT NOT NULL, ssh_keys TEXT NOT NULL, login TEXT NOT NULL,
    owner TEXT NOT NULL, comment TEXT NOT NULL DEFAULT '', placement TEXT NOT NULL DEFAULT '{{}}',
    created_at INTEGER NOT NULL, active_at INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE UNIQUE INDEX appliances_name ON appliances (name) WHERE state <> 'removed';
CREATE INDEX appliances_image ON appliances (image_id) WHERE state <> 'removed';

CREATE TABLE nics (
    id INTEGER PRIMARY KEY AUTOINCREMENT, appliance_id INTEGER NOT NULL REFERENCES appliances (id),
    position INTEGER NOT NULL, network_id INTEGER NOT NULL REFERENCES networks (id),
    mac TEXT NOT NULL UNIQUE, address TEXT NOT NULL, UNIQUE (network_id, address),
    UNIQUE (appliance_id, position)) STRICT;
CREATE INDEX nics_network ON nics (network_id);
CREATE TABLE volumes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, appliance_id INTEGER NOT NULL REFERENCES appliances (id),
    storage_id INTEGER NOT NULL REFERENCES storages (id), position INTEGER NOT NULL, name TEXT NOT NULL,
    format TEXT NOT NULL, size_mb INTEGER NOT NULL, made INTEGER NOT NULL DEFAULT 0,
    UNIQUE (storage_id, name), UNIQUE (appliance_id, position)) STRICT;

CREATE TABLE workflows (
    id INTEGER PRIMARY KEY AUTOINCREMENT, operation TEXT NOT NULL, subject TEXT NOT NULL,
    state TEXT NOT NULL {one_of("state", WorkflowState)}, key TEXT UNIQUE, parent INTEGER, arguments TEXT NOT NULL,
    actor TEXT NOT NULL, role TEXT NOT NULL, reason TEXT NOT NULL, started_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL DEFAULT 0, facts TEXT NOT NULL DEFAULT '{{}}', fault TEXT NOT NULL DEFAULT '{{}}',
    cancel INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE UNIQUE INDEX workflows_live ON workflows (subject)
    WHERE state IN ('planning', 'running', 'undoing', 'stuck');
CREATE INDEX workflows_state ON workflows (state) WHERE state IN ('planning', 'running', 'undoing', 'stuck');
CREATE INDEX workflows_parent ON workflows (parent) WHERE parent IS NOT NULL;
CREATE TABLE steps (
    id INTEGER PRIMARY KEY AUTOINCREMENT, workflow_id INTEGER NOT NULL REFERENCES workflows (id),
    position INTEGER NOT NULL, action TEXT NOT NULL, version INTEGER NOT NULL, plugin TEXT NOT NULL,
    phase INTEGER NOT NULL, title TEXT NOT NULL, args TEXT NOT NULL, provides TEXT NOT NULL,
    on_failure TEXT NOT NULL CHECK (on_failure IN ('undo', 'later')), owns TEXT NOT NULL, disowns TEXT NOT NULL,
    state TEXT NOT NULL {one_of("state", StepState)}, attempts INTEGER NOT NULL DEFAULT 0,
    began_at INTEGER NOT NULL DEFAULT 0, ended_at INTEGER NOT NULL DEFAULT 0, wake_at INTEGER NOT NULL DEFAULT 0,
    deadline INTEGER NOT NULL DEFAULT 0, note TEXT NOT NULL DEFAULT '', result TEXT NOT NULL DEFAULT '{{}}',
    fault TEXT NOT NULL DEFAULT '{{}}', place TEXT NOT NULL DEFAULT '', UNIQUE (workflow_id, position)) STRICT;
CREATE INDEX steps_debts ON steps (state) WHERE state = 'debt';
CREATE INDEX steps_owed ON steps (place) WHERE state = 'owed';
CREATE TABLE owned (
    id INTEGER PRIMARY KEY AUTOINCREMENT, subject TEXT NOT NULL, plugin TEXT NOT NULL, kind TEXT NOT NULL,
    external_id TEXT NOT NULL, place TEXT NOT NULL, workflow_id INTEGER NOT NULL, UNIQUE (kind, external_id, place)
    ) STRICT;
CREATE INDEX owned_subject ON owned (subject);
CREATE TABLE secrets (
    id INTEGER PRIMARY KEY AUTOINCREMENT, workflow_id INTEGER NOT NULL REFERENCES workflows (id),
    name TEXT NOT NULL, sealed BLOB NOT NULL) STRICT;
CREATE INDEX secrets_workflow ON secrets (workflow_id);
CREATE TABLE audit_ignored (
    kind TEXT NOT NULL, external_id TEXT NOT NULL, place TEXT NOT NULL, reason TEXT NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (kind, external_id, place)) STRICT;
"""


@core()
def m001_first_tables(db: sqlite_utils.Database) -> None:
    """All tables of the first release, and the identity of this installation."""
    for statement in _statements(SCHEMA):
        db.conn.execute(statement)
    users.create(db.conn)
    db.conn.execute("INSERT INTO meta (key, value) VALUES ('installation', ?)", (str(uuid.uuid4()),))
    db.conn.execute("INSERT INTO meta (key, value) VALUES ('created_at', ?)", (str(now_us()),))


HOSTNAMES = """
CREATE TABLE hostnames (
    network_id INTEGER NOT NULL REFERENCES networks (id) ON DELETE CASCADE, hostname TEXT NOT NULL,
    holder TEXT NOT NULL, PRIMARY KEY (network_id, hostname)) STRICT, WITHOUT ROWID;
CREATE INDEX hostnames_holder ON hostnames (holder);
INSERT OR IGNORE INTO hostnames (network_id, hostname, holder)
    SELECT n.value, a.hostname, 'appliance:' || a.id FROM appliances a, json_each(a.networks) n
    WHERE a.state <> 'removed' ORDER BY a.id;
"""


@core()
def m002_hostnames(db: sqlite_utils.Database) -> None:
    """One holder per host name and network; where two have one, the older keeps it."""
    for statement in _statements(HOSTNAMES):
        db.conn.execute(statement)


def _statements(script: str) -> list[str]:
    """Split a script where a statement is complete (triggers hold semicolons)."""
    found, current = [], ""
    for line in script.splitlines():
        current += line + "\n"
        if current.strip() and sqlite3.complete_statement(current):
            found.append(current)
            current = ""
    return found


def migrate(path: Path, connection: sqlite3.Connection, sets: list[Migrations]) -> list[str]:
    """Apply what is pending; the file is copied aside first (``.before-<first pending>``).

    Returns:
        Names of the migrations applied.
    """
    database = sqlite_utils.Database(connection)
    pending = [(each, one.name) for each in sets for one in each.pending(database)]
    if not pending:
        return []
    if database.table_names():
        aside = path.with_name(f"{path.name}.before-{pending[0][0].name}-{pending[0][1]}")
        with sqlite3.connect(aside) as copy:
            connection.backup(copy)
        copy.close()
        shutil.copymode(path, aside)
    for each in sets:
        each.apply(database)
    return [f"{each.name}.{name}" for each, name in pending]
