"""Users and API tokens. A token belongs to an account of any realm; its secret is never kept."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from qrmd import events
from qrmd.clock import now_us
from qrmd.errors import Conflict, NotFound
from qrmd.model import Role, Severity
from qrmd.store.connection import Db, Transaction
from qrmd.store.rows import load

MOST_TOKENS = 100
"""Of one owner."""
ADMIN_ROLES = (Role.ADMINISTRATOR, Role.OPERATOR, Role.READONLY)
"""Roles a user of the administration can have; cloud users live in a realm of their own."""

_TABLES = (
    """CREATE TABLE users (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        role TEXT NOT NULL CHECK (role IN ('administrator', 'operator', 'readonly')),
        password_hash TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        changed_at INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE tokens (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        owner TEXT NOT NULL,
        account_id INTEGER NOT NULL,
        name TEXT NOT NULL,
        digest TEXT NOT NULL UNIQUE,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL DEFAULT 0,
        last_used_at INTEGER NOT NULL DEFAULT 0,
        UNIQUE (owner, account_id, name)
    ) STRICT""",
)


def create(db: Db | sqlite3.Connection) -> None:
    """Make the tables; called by the migration of the core."""
    for statement in _TABLES:
        db.execute(statement)


@dataclass(frozen=True, slots=True)
class User:
    """A user of the administration. Times in microseconds."""

    id: int
    name: str
    role: Role
    password_hash: str
    created_at: int
    changed_at: int


@dataclass(frozen=True, slots=True)
class Token:
    """An API token without its secret. ``expires_at`` 0: never; ``owner`` is an actor's name, ``user:anna``."""

    id: int
    owner: str
    account_id: int
    name: str
    created_at: int
    expires_at: int
    last_used_at: int


# ------------------------------------------------------------ users


def find(db: Db, name: str) -> User | None:
    """The user of that name."""
    row = db.row("SELECT * FROM users WHERE name = ?", (name,))
    return load(User, row) if row else None


def get(db: Db, ref: int | str) -> User:
    """The user by id or name.

    Raises:
        NotFound: there is none.
    """
    column = "id" if isinstance(ref, int) else "name"
    row = db.row(f"SELECT * FROM users WHERE {column} = ?", (ref,))  # noqa: S608 - one of two literals
    if row is None:
        raise NotFound(f"there is no user {ref!r:.80}", hint="user.list names them")
    return load(User, row)


def all_users(db: Db, after: int, limit: int) -> list[User]:
    """Users by id, a page of them."""
    rows = db.rows("SELECT * FROM users WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
    return [load(User, row) for row in rows]


def add(db: Transaction, name: str, role: Role, password_hash: str, *, actor: str, reason: str = "") -> int:
    """Add a user; its id.

    Raises:
        Conflict: the name is taken.
    """
    now = now_us()
    try:
        ident = db.insert(
            "INSERT INTO users (name, role, password_hash, created_at, changed_at) VALUES (?, ?, ?, ?, ?)",
            (name, role.value, password_hash, now, now),
        )
    except sqlite3.IntegrityError:
        raise Conflict(f"there is a user {name} already", subject=f"user:{name}") from None
    events.append(db, "user.added", f"user:{ident}", actor=actor, reason=reason, data={"name": name, "role": role})
    return ident


def set_role(db: Transaction, ref: int | str, role: Role, *, actor: str, reason: str = "") -> None:
    """Change what a user may do; takes effect with its next call.

    Raises:
        Conflict: it is the last administrator.
    """
    user = get(db, ref)
    if role is not Role.ADMINISTRATOR:
        _keep_an_administrator(db, user)
    db.execute("UPDATE users SET role = ?, changed_at = ? WHERE id = ?", (role.value, now_us(), user.id))
    events.append(
        db,
        "user.role_changed",
        f"user:{user.id}",
        actor=actor,
        reason=reason,
        severity=Severity.NOTICE,
        data={"name": user.name, "from": user.role, "to": role},
    )


def set_password(db: Transaction, ref: int | str, password_hash: str, *, actor: str, reason: str = "") -> None:
    """Replace a user's password; the old one is refused from the commit on. Tokens stay."""
    user = get(db, ref)
    db.execute("UPDATE users SET password_hash = ?, changed_at = ? WHERE id = ?", (password_hash, now_us(), user.id))
    events.append(
        db,
        "user.password_changed",
        f"user:{user.id}",
        actor=actor,
        reason=reason,
        severity=Severity.NOTICE,
        data={"name": user.name},
    )


def remove(db: Transaction, ref: int | str, *, actor: str, reason: str = "") -> None:
    """Remove a user with all its tokens.

    Raises:
        Conflict: it is the last administrator.
    """
    user = get(db, ref)
    _keep_an_administrator(db, user)
    db.execute("DELETE FROM tokens WHERE owner = ?", (f"user:{user.name}",))
    db.execute("DELETE FROM users WHERE id = ?", (user.id,))
    events.append(
        db,
        "user.removed",
        f"user:{user.id}",
        actor=actor,
        reason=reason,
        severity=Severity.NOTICE,
        data={"name": user.name},
    )


def count(db: Db) -> int:
    """How many users there are."""
    return int(db.value("SELECT count(*) FROM users"))


def _keep_an_administrator(db: Db, user: User) -> None:
    if user.role is not Role.ADMINISTRATOR:
        return
    others = db.value("SELECT count(*) FROM users WHERE role = 'administrator' AND id <> ?", (user.id,))
    if not others:
        raise Conflict(
            f"{user.name} is the last administrator",
            subject=f"user:{user.id}",
            hint="make somebody else administrator first",
        )


# ------------------------------------------------------------ tokens


def add_token(
    db: Transaction, owner: str, account_id: int, name: str, digest: str, expires_at: int, *, actor: str, reason: str
) -> int:
    """Keep a token's digest; its id.

    Raises:
        Conflict: the owner has a token of that name, or as many as one may have.
    """
    if db.value("SELECT count(*) FROM tokens WHERE owner = ?", (owner,)) >= MOST_TOKENS:
        raise Conflict(f"{owner} has {MOST_TOKENS} tokens already", hint="revoke some first; token.list names them")
    try:
        ident = db.insert(
            "INSERT INTO tokens (owner, account_id, name, digest, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
            (owner, account_id, name, digest, now_us(), expires_at),
        )
    except sqlite3.IntegrityError:
        raise Conflict(f"{owner} has a token {name} already", hint="revoke it or choose another name") from None
    events.append(
        db, "token.created", f"token:{ident}", actor=actor, reason=reason, data={"owner": owner, "name": name}
    )
    return ident


def token_by_digest(db: Db, digest: str) -> Token | None:
    """The token with that SHA-256."""
    row = db.row("SELECT * FROM tokens WHERE digest = ?", (digest,))
    return load(Token, row) if row else None


def tokens(db: Db, owner: str | None, after: int, limit: int) -> list[Token]:
    """Tokens by id, of one owner or (None) of all, a page of them."""
    rows = db.rows(
        "SELECT * FROM tokens WHERE (?1 IS NULL OR owner = ?1) AND id > ?2 ORDER BY id LIMIT ?3",
        (owner, after, limit),
    )
    return [load(Token, row) for row in rows]


def revoke_token(db: Transaction, ident: int, owner: str | None, *, actor: str, reason: str = "") -> None:
    """Forget a token; it is refused from the commit on.

    Args:
        owner: whose it must be (None: anybody's).

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    row = db.row("SELECT * FROM tokens WHERE id = ?", (ident,))
    if row is None or (owner is not None and row["owner"] != owner):
        raise NotFound(f"there is no token {ident}", subject=f"token:{ident}", hint="token.list names yours")
    db.execute("DELETE FROM tokens WHERE id = ?", (ident,))
    events.append(
        db,
        "token.revoked",
        f"token:{ident}",
        actor=actor,
        reason=reason,
        severity=Severity.NOTICE,
        data={"owner": row["owner"], "name": row["name"]},
    )


def touch_token(db: Transaction, ident: int, at: int) -> None:
    """Note a use."""
    db.execute("UPDATE tokens SET last_used_at = ? WHERE id = ?", (at, ident))
