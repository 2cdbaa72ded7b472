"""Users of the cloud."""

from __future__ import annotations

from qrmd.api import SYSTEM, Conflict, Db, NotFound, Ref, Transaction, events, load, names, now_us
from qrmd_cloud.limits import Amounts
from qrmd_cloud.model import User

FILTERS = ("name", "email")


def add(
    db: Transaction,
    name: str,
    email: str,
    password_hash: str,
    limits: Amounts,
    actor: str = SYSTEM.name,
    reason: str = "",
) -> int:
    """Insert a user.

    Raises:
        Conflict: the name is taken.
    """
    if db.value("SELECT 1 FROM cloud_users WHERE name = ? AND removed_at = 0", (name,)):
        raise Conflict(
            f"there is a cloud user {name} already", subject=f"cloud_user:{name}", hint="choose another name"
        )
    ident = db.insert(
        "INSERT INTO cloud_users (name, email, password_hash, created_at, limit_servers, limit_cpus, limit_memory_mb,"
        " limit_disk_mb, limit_nics) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (name, email, password_hash, now_us(), *_columns(limits)),
    )
    events.append(db, "cloud_user.added", f"cloud_user:{ident}", actor=actor, reason=reason, data={"name": name})
    return ident


def _columns(limits: Amounts) -> tuple[int, ...]:
    return (limits.servers, limits.cpus, limits.memory_mb, limits.disk_mb, limits.nics)


def find(db: Db, ref: Ref) -> User:
    """A user by id or name, not a removed one.

    Raises:
        NotFound: there is none.
    """
    user = by_name(db, ref) if isinstance(ref, str) else get(db, ref)
    if user is None or user.removed_at:
        raise NotFound(f"there is no cloud user {names.shown(str(ref))}", hint="see cloud.user.list")
    return user


def get(db: Db, ident: int) -> User | None:
    """A user by id, also a removed one."""
    row = db.row("SELECT * FROM cloud_users WHERE id = ?", (ident,))
    return None if row is None else load(User, row)


def by_name(db: Db, name: str) -> User | None:
    """A user by name, not a removed one."""
    row = db.row("SELECT * FROM cloud_users WHERE name = ? AND removed_at = 0", (name,))
    return None if row is None else load(User, row)


def set_limits(db: Transaction, ident: int, limits: Amounts) -> None:
    """Replace a user's limits."""
    db.execute(
        "UPDATE cloud_users SET limit_servers = ?, limit_cpus = ?, limit_memory_mb = ?, limit_disk_mb = ?,"
        " limit_nics = ? WHERE id = ?",
        (*_columns(limits), ident),
    )


def remove(db: Transaction, ident: int) -> None:
    """Keep the row for the history; the name is free again."""
    db.execute("UPDATE cloud_users SET removed_at = ?, password_hash = '' WHERE id = ?", (now_us(), ident))
