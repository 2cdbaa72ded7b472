"""The plugin's tables. Append-only: a migration that has been released is never changed."""

from __future__ import annotations

from enum import StrEnum

from sqlite_utils import Database

from qrmd.api import Migrations
from qrmd_cloud.model import LineKind, MarkKind, ProductKind
from qrmd_cloud.states import MailState, RequestState, ServerState

cloud = Migrations("cloud")


def _one_of(column: str, enum: type[StrEnum]) -> str:
    return f"CHECK ({column} IN ({', '.join(repr(each.value) for each in enum)}))"


USERS = (
    """CREATE TABLE cloud_users (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, email TEXT NOT NULL, password_hash TEXT NOT NULL,
        created_at INTEGER NOT NULL, removed_at INTEGER NOT NULL DEFAULT 0,
        limit_servers INTEGER NOT NULL DEFAULT 0 CHECK (limit_servers >= 0),
        limit_cpus INTEGER NOT NULL DEFAULT 0 CHECK (limit_cpus >= 0),
        limit_memory_mb INTEGER NOT NULL DEFAULT 0 CHECK (limit_memory_mb >= 0),
        limit_disk_mb INTEGER NOT NULL DEFAULT 0 CHECK (limit_disk_mb >= 0),
        limit_nics INTEGER NOT NULL DEFAULT 0 CHECK (limit_nics >= 0)) STRICT""",
    "CREATE UNIQUE INDEX cloud_users_name ON cloud_users (name) WHERE removed_at = 0",
    f"""CREATE TABLE cloud_products (
        id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL {_one_of("kind", ProductKind)}, value TEXT NOT NULL,
        name TEXT NOT NULL, unit INTEGER NOT NULL CHECK (unit > 0),
        price_micro INTEGER NOT NULL CHECK (price_micro >= 0),
        enabled INTEGER NOT NULL CHECK (enabled IN (0, 1))) STRICT""",
    "CREATE UNIQUE INDEX cloud_products_kind ON cloud_products (kind, value) WHERE enabled = 1",
)

REQUESTS = (
    f"""CREATE TABLE cloud_requests (
        id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INTEGER NOT NULL REFERENCES cloud_users (id),
        state TEXT NOT NULL {_one_of("state", RequestState)}, image TEXT NOT NULL, type TEXT NOT NULL,
        cpus INTEGER NOT NULL CHECK (cpus > 0), memory_mb INTEGER NOT NULL CHECK (memory_mb > 0),
        disk_mb INTEGER NOT NULL CHECK (disk_mb > 0), nics INTEGER NOT NULL CHECK (nics > 0),
        quantity INTEGER NOT NULL CHECK (quantity > 0), start_at INTEGER NOT NULL, stop_at INTEGER NOT NULL,
        ha INTEGER NOT NULL, hostname TEXT NOT NULL, ssh_key TEXT NOT NULL, partial INTEGER NOT NULL,
        reason TEXT NOT NULL, created_at INTEGER NOT NULL, approved_at INTEGER NOT NULL DEFAULT 0,
        approved_by TEXT NOT NULL DEFAULT '', price_micro INTEGER NOT NULL DEFAULT 0 CHECK (price_micro >= 0),
        price_lines TEXT NOT NULL DEFAULT '[]', explanation TEXT NOT NULL DEFAULT '{{}}',
        wish TEXT NOT NULL DEFAULT '' CHECK (wish IN ('', 'cancel', 'deprovision')),
        cause TEXT NOT NULL DEFAULT '' CHECK (cause IN ('', 'no_resource', 'error')),
        placing INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0,
        tried_at INTEGER NOT NULL DEFAULT 0, workflow_id INTEGER NOT NULL DEFAULT 0,
        active_at INTEGER NOT NULL DEFAULT 0, ended_at INTEGER NOT NULL DEFAULT 0,
        warned_at INTEGER NOT NULL DEFAULT 0, exhausted_at INTEGER NOT NULL DEFAULT 0,
        due_at INTEGER NOT NULL DEFAULT 0) STRICT""",
    """CREATE INDEX cloud_requests_due ON cloud_requests (due_at)
        WHERE state IN ('active', 'deprovisioning', 'error')""",
    "CREATE INDEX cloud_requests_user ON cloud_requests (user_id, state)",
    """CREATE INDEX cloud_requests_waiting ON cloud_requests (approved_at, id)
        WHERE state IN ('approved', 'no_resource')""",
    "CREATE INDEX cloud_requests_state ON cloud_requests (state, id)",
    f"""CREATE TABLE cloud_servers (
        id INTEGER PRIMARY KEY AUTOINCREMENT, request_id INTEGER NOT NULL REFERENCES cloud_requests (id),
        user_id INTEGER NOT NULL REFERENCES cloud_users (id), number INTEGER NOT NULL, hostname TEXT NOT NULL,
        state TEXT NOT NULL {_one_of("state", ServerState)}, appliance_id INTEGER UNIQUE,
        workflow_id INTEGER NOT NULL DEFAULT 0, address TEXT NOT NULL DEFAULT '', login TEXT NOT NULL DEFAULT '',
        active_at INTEGER NOT NULL DEFAULT 0, note TEXT NOT NULL DEFAULT '', UNIQUE (request_id, number)) STRICT""",
    "CREATE UNIQUE INDEX cloud_servers_hostname ON cloud_servers (hostname) WHERE state <> 'removed'",
    "CREATE INDEX cloud_servers_user ON cloud_servers (user_id, state)",
    """CREATE TABLE cloud_attempts (
        appliance_id INTEGER PRIMARY KEY, server_id INTEGER NOT NULL REFERENCES cloud_servers (id),
        at INTEGER NOT NULL) STRICT""",
    """CREATE TABLE cloud_queue (
        id INTEGER PRIMARY KEY CHECK (id = 1), freed_at INTEGER NOT NULL) STRICT""",
    "INSERT INTO cloud_queue (id, freed_at) VALUES (1, 0)",
    f"""CREATE TABLE cloud_mails (
        id INTEGER PRIMARY KEY AUTOINCREMENT, state TEXT NOT NULL {_one_of("state", MailState)},
        recipient TEXT NOT NULL, template TEXT NOT NULL, variables TEXT NOT NULL,
        request_id INTEGER REFERENCES cloud_requests (id), at INTEGER NOT NULL, once TEXT NOT NULL UNIQUE) STRICT""",
    "CREATE INDEX cloud_mails_queued ON cloud_mails (id) WHERE state = 'queued'",
)

LEDGER = (
    f"""CREATE TABLE cloud_ledger (
        id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INTEGER NOT NULL REFERENCES cloud_users (id),
        at INTEGER NOT NULL, kind TEXT NOT NULL {_one_of("kind", LineKind)}, amount_micro INTEGER NOT NULL,
        balance_micro INTEGER NOT NULL CHECK (balance_micro >= 0),
        server_id INTEGER REFERENCES cloud_servers (id), request_id INTEGER REFERENCES cloud_requests (id),
        begin_at INTEGER NOT NULL DEFAULT 0, from_at INTEGER NOT NULL DEFAULT 0, to_at INTEGER NOT NULL DEFAULT 0,
        price_micro INTEGER NOT NULL DEFAULT 0, waived_micro INTEGER NOT NULL DEFAULT 0 CHECK (waived_micro >= 0),
        actor TEXT NOT NULL, reason TEXT NOT NULL,
        CHECK ((kind IN ('credit', 'refund') AND amount_micro >= 0)
            OR (kind IN ('debit', 'charge') AND amount_micro <= 0)),
        CHECK ((kind IN ('charge', 'refund')) = (server_id IS NOT NULL)),
        CHECK (kind IN ('credit', 'debit') OR (begin_at <= from_at AND from_at < to_at))) STRICT""",
    "CREATE UNIQUE INDEX cloud_ledger_once ON cloud_ledger (server_id, kind, from_at) WHERE server_id IS NOT NULL",
    "CREATE INDEX cloud_ledger_user ON cloud_ledger (user_id, id)",
    "CREATE INDEX cloud_ledger_request ON cloud_ledger (request_id) WHERE request_id IS NOT NULL",
    """CREATE TRIGGER cloud_ledger_sums BEFORE INSERT ON cloud_ledger
        WHEN NEW.balance_micro <> NEW.amount_micro + COALESCE(
            (SELECT balance_micro FROM cloud_ledger WHERE user_id = NEW.user_id ORDER BY id DESC LIMIT 1), 0)
        BEGIN SELECT RAISE(ABORT, 'the balance of a ledger line is not the sum of its user''s lines'); END""",
    """CREATE TABLE cloud_holds (
        request_id INTEGER PRIMARY KEY REFERENCES cloud_requests (id),
        user_id INTEGER NOT NULL REFERENCES cloud_users (id),
        amount_micro INTEGER NOT NULL CHECK (amount_micro >= 0), at INTEGER NOT NULL) STRICT""",
    "CREATE INDEX cloud_holds_user ON cloud_holds (user_id, amount_micro)",
    f"""CREATE TABLE cloud_marks (
        id INTEGER PRIMARY KEY AUTOINCREMENT, server_id INTEGER NOT NULL REFERENCES cloud_servers (id),
        at INTEGER NOT NULL, kind TEXT NOT NULL {_one_of("kind", MarkKind)}, cause TEXT NOT NULL,
        event_id INTEGER UNIQUE) STRICT""",
    "CREATE INDEX cloud_marks_server ON cloud_marks (server_id, id)",
)


def _append_only(table: str) -> tuple[str, ...]:
    stop = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    known = f"EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id)"  # noqa: S608 - our own names
    return (
        f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {stop}",
        f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {stop}",
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {known} {stop}",
    )


PRICES = (
    ("cpu", "processor", 1, 1_000_000),
    ("memory", "256 MiB of memory", 256, 1_000_000),
    ("disk", "1 GiB of disk", 1024, 1_000_000),
    ("nic", "network card", 1, 1_000_000),
)
"""A first price list: kind, name, unit, micro-CCU per hour."""


@cloud()
def m001_first_tables(db: Database) -> None:
    """All tables of the first release, and a first price list."""
    for statement in (*USERS, *REQUESTS, *LEDGER, *_append_only("cloud_ledger"), *_append_only("cloud_marks")):
        db.conn.execute(statement)
    db.conn.executemany(
        "INSERT INTO cloud_products (kind, value, name, unit, price_micro, enabled) VALUES (?, '', ?, ?, ?, 1)",
        PRICES,
    )
