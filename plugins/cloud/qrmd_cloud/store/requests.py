"""Requests and the queue of those that wait for capacity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from qrmd.api import SYSTEM, Db, NotFound, Transaction, dump, load, transition
from qrmd_cloud.limits import Amounts
from qrmd_cloud.model import Request, User
from qrmd_cloud.states import OPEN, RESERVED, RequestState

FILTERS = ("state", "user_id", "image", "type")
KIND = "cloud_request"

_COLUMNS = tuple(each.name for each in fields(Request) if each.name != "id")
_INSERT = (
    f"INSERT INTO cloud_requests ({', '.join(_COLUMNS)})"  # noqa: S608 - names of our own fields
    f" VALUES ({', '.join(':' + name for name in _COLUMNS)})"
)


def _in(states: tuple[str, ...]) -> str:
    return "(" + ", ".join(f"'{each}'" for each in states) + ")"


def insert(db: Transaction, request: Request) -> int:
    """Insert; its id is ignored."""
    values = {name: getattr(request, name) for name in _COLUMNS}
    values |= {"price_lines": dump(list(request.price_lines)), "explanation": dump(request.explanation)}
    values |= {name: int(values[name]) for name in ("ha", "partial", "placing")}
    return db.insert(_INSERT, values | {"state": request.state.value})


def get(db: Db, ident: int, user_id: int | None = None) -> Request:
    """A request; with ``user_id`` only that user's.

    Raises:
        NotFound: there is none that the caller may see.
    """
    row = db.row("SELECT * FROM cloud_requests WHERE id = ?", (ident,))
    if row is None or user_id not in {None, row["user_id"]}:
        raise NotFound(f"there is no cloud request {ident}", subject=f"{KIND}:{ident}", hint="see cloud.request.list")
    return load(Request, row)


def put(db: Transaction, ident: int, **columns: Any) -> None:
    """Change columns other than the state."""
    values = {name: dump(value) if isinstance(value, dict | list) else value for name, value in columns.items()}
    assignments = ", ".join(f"{name} = :{name}" for name in values)
    db.execute(f"UPDATE cloud_requests SET {assignments} WHERE id = :id", values | {"id": ident})  # noqa: S608


def move(
    db: Transaction,
    ident: int,
    target: RequestState,
    *,
    actor: str = SYSTEM.name,
    reason: str = "",
    workflow_id: int | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Along an edge, with its event. Raises Conflict when there is no such edge."""
    transition(db, KIND, ident, target, actor=actor, reason=reason, workflow_id=workflow_id, data=data)


def reserved(db: Db, user: User, *, states: tuple[str, ...] = RESERVED, without: int = 0) -> Amounts:
    """What a user's servers take, counted in rows.

    Args:
        states: of the requests that count.
        without: id of a request that does not.
    """
    sql = (
        "SELECT COUNT(*), COALESCE(SUM(r.cpus), 0), COALESCE(SUM(r.memory_mb), 0), COALESCE(SUM(r.disk_mb), 0),"
        " COALESCE(SUM(r.nics), 0) FROM cloud_servers s JOIN cloud_requests r ON r.id = s.request_id"
        " WHERE s.user_id = ? AND s.state <> 'removed' AND r.id <> ? AND r.state IN "
    )
    row = db.row(sql + _in(states), (user.id, without))
    return Amounts(*row) if row else Amounts()


def open_of(db: Db, user_id: int) -> list[int]:
    """Ids of a user's requests that are not at their end."""
    rows = db.rows(
        f"SELECT id FROM cloud_requests WHERE user_id = ? AND state IN {_in(OPEN)} ORDER BY id",  # noqa: S608
        (user_id,),
    )
    return [row["id"] for row in rows]


def count_open(db: Db, user_id: int) -> int:
    """How many of a user's requests are not at their end."""
    sql = f"SELECT COUNT(*) FROM cloud_requests WHERE user_id = ? AND state IN {_in(OPEN)}"  # noqa: S608 - own names
    return int(db.value(sql, (user_id,)))


def nth_latest(db: Db, user_id: int, n: int) -> int:
    """When a user made the ``n``-th latest request, whatever became of it; 0: there are fewer."""
    sql = "SELECT created_at FROM cloud_requests WHERE user_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?"
    return int(db.value(sql, (user_id, n - 1)) or 0)


# ------------------------------------------------------------ the queue


_BEHIND = """ FROM cloud_requests w WHERE w.state = 'no_resource' AND (w.approved_at, w.id) < (r.approved_at, r.id)
    AND w.image = r.image AND w.type IN ('any', r.type) AND w.cpus <= r.cpus AND w.memory_mb <= r.memory_mb
    AND w.disk_mb <= r.disk_mb AND w.nics <= r.nics
    AND (CASE WHEN w.partial THEN 1 ELSE w.quantity END) <= (CASE WHEN r.partial THEN 1 ELSE r.quantity END)"""
"""Requests that wait before ``r`` and ask for no more: where they find no room, ``r`` finds none either."""

_DUE = """ r.start_at <= :now AND (r.stop_at = 0 OR r.stop_at > :now)
    AND (r.state = 'approved' OR (r.state = 'no_resource'
        AND (r.tried_at < (SELECT freed_at FROM cloud_queue) OR r.tried_at + :retry <= :now)))
    AND r.state IN ('approved', 'no_resource')"""


def next_waiting(db: Db, now: int, retry_us: int) -> Request | None:
    """The oldest approved request whose turn it is, none while another is still looking for its place.

    A request that found no resource has its turn when something became free since, or after ``retry_us``. Nobody
    passes an older one that asks for no more.
    """
    if db.value("SELECT 1 FROM cloud_requests WHERE state = 'provisioning' AND placing = 1 LIMIT 1"):
        return None
    sql = f"SELECT * FROM cloud_requests r WHERE {_DUE} AND NOT EXISTS (SELECT 1 {_BEHIND})"  # noqa: S608 - own text
    row = db.row(f"{sql} ORDER BY r.approved_at, r.id LIMIT 1", {"now": now, "retry": retry_us})
    return None if row is None else load(Request, row)


def hopeless(db: Db, now: int) -> list[tuple[int, int]]:
    """Approved requests that need no try of their own, each with the older one that asks for no more."""
    rows = db.rows(
        f"SELECT r.id, (SELECT w.id {_BEHIND} ORDER BY w.approved_at, w.id LIMIT 1) AS before"  # noqa: S608 - own text
        " FROM cloud_requests r WHERE r.state = 'approved' AND r.start_at <= ? AND before IS NOT NULL"
        " ORDER BY r.approved_at, r.id",
        (now,),
    )
    return [(row["id"], row["before"]) for row in rows]


def waits(db: Db) -> bool:
    """Whether a request waits for its turn."""
    return db.value("SELECT 1 FROM cloud_requests WHERE state IN ('approved', 'no_resource') LIMIT 1") is not None


def is_behind(db: Db, request: Request) -> bool:
    """Whether an older request waits for capacity, or was called up and looks for its place: then this one queues."""
    return (
        db.value(
            "SELECT 1 FROM cloud_requests WHERE (state = 'no_resource'"
            " OR (state = 'provisioning' AND placing = 1 AND attempts > 1)) AND (approved_at, id) < (?, ?) LIMIT 1",
            (request.approved_at, request.id),
        )
        is not None
    )


def note_free(db: Transaction, at: int) -> None:
    """Something became free at ``at``."""
    db.execute("UPDATE cloud_queue SET freed_at = MAX(freed_at, ?)", (at,))


# ------------------------------------------------------------ what time asks for


def expired(db: Db, now: int) -> list[int]:
    """Requests whose stop time came before they were active."""
    rows = db.rows(
        "SELECT id FROM cloud_requests WHERE state IN ('new', 'approved', 'no_resource')"
        " AND stop_at > 0 AND stop_at <= ? ORDER BY id",
        (now,),
    )
    return [row["id"] for row in rows]


def ending(db: Db, now: int, grace_us: int) -> list[tuple[int, str]]:
    """Active requests to de-provision, each with the reason."""
    rows = db.rows(
        "SELECT id, CASE WHEN wish <> '' THEN 'asked for while it was being provisioned'"
        " WHEN stop_at > 0 AND stop_at <= :now THEN 'the stop time has come'"
        " ELSE 'no CCUs, and the grace is over' END AS why FROM cloud_requests WHERE state = 'active' AND (wish <> ''"
        " OR (stop_at > 0 AND stop_at <= :now) OR (exhausted_at > 0 AND exhausted_at + :grace <= :now)) ORDER BY id",
        {"now": now, "grace": grace_us},
    )
    return [(row["id"], row["why"]) for row in rows]


def to_bill(db: Db, now: int) -> list[int]:
    """Requests whose bill is to be looked at."""
    rows = db.rows(
        "SELECT id FROM cloud_requests WHERE state IN ('active', 'deprovisioning', 'error')"
        " AND due_at <= ? AND active_at > 0 ORDER BY id",
        (now,),
    )
    return [row["id"] for row in rows]


def look_again(db: Transaction, user_id: int) -> None:
    """Look at all bills of a user soon: the balance has changed."""
    db.execute("UPDATE cloud_requests SET due_at = 0 WHERE user_id = ? AND state = 'active'", (user_id,))
