"""The only code that changes a state: compare-and-swap along an edge, with its event in the same transaction."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from qrmd import events
from qrmd.errors import Conflict, NotFound
from qrmd.model import Severity
from qrmd.states import MACHINES
from qrmd.store.connection import Db, Transaction

_TABLES = {
    "resource": "resources",
    "appliance": "appliances",
    "image": "images",
    "host": "hosts",
    "workflow": "workflows",
    "plugin": "plugins",
}
_EDGES: dict[str, frozenset[tuple[str, str]]] = {
    kind: frozenset((edge.source.value, edge.target.value) for edge in edges) for kind, (_, edges) in MACHINES.items()
}


def add_machine(kind: str, table: str, edges: frozenset[tuple[str, str]]) -> None:
    """Make a plugin's state machine known."""
    _TABLES[kind] = table
    _EDGES[kind] = edges


def remove_machine(kind: str) -> None:
    """Forget a plugin's state machine."""
    _TABLES.pop(kind, None)
    _EDGES.pop(kind, None)


def transition(
    db: Transaction,
    kind: str,
    ident: int,
    target: StrEnum | str,
    *,
    source: tuple[str, ...] | str | None = None,
    likely: str | None = None,
    also: Mapping[str, Any] | None = None,
    event: str = "",
    actor: str = "system",
    reason: str = "",
    severity: Severity = Severity.INFO,
    workflow_id: int | None = None,
    data: Mapping[str, Any] | None = None,
) -> str:
    """Move an object along an edge; returns the state it was in.

    Args:
        source: states it must be in (None: any that has an edge to ``target``).
        likely: the state it is probably in, which saves a look (None: the first of ``source``).
        also: columns that are set with the state; their names are ours, never a caller's.
        event: kind of the event (default ``<kind>.<target>``).

    Raises:
        NotFound: no such row.
        Conflict: the object is in a state that has no such edge; nothing has changed.
    """
    target = str(target)
    was = move(db, kind, ident, target, source=source, likely=likely, also=also)
    events.append(
        db,
        event or f"{kind}.{target}",
        f"{kind}:{ident}",
        actor=actor,
        reason=reason,
        severity=severity,
        workflow_id=workflow_id,
        data={"from": was, "to": target, **(data or {})},
    )
    return was


def state_of(db: Db, kind: str, ident: int) -> str | None:
    """The state an object is in, None when there is no such row."""
    state: str | None = db.value(f"SELECT state FROM {_TABLES[kind]} WHERE id = ?", (ident,))  # noqa: S608
    return state


def is_edge(kind: str, source: str | None, target: str) -> bool:
    """Whether the state machine of ``kind`` leads from ``source`` to ``target``."""
    return (source, target) in _EDGES[kind]


def move(
    db: Transaction,
    kind: str,
    ident: int,
    target: str,
    *,
    source: tuple[str, ...] | str | None = None,
    likely: str | None = None,
    also: Mapping[str, Any] | None = None,
) -> str:
    """The compare-and-swap of ``transition`` without an event of its own: the caller appends a fuller one."""
    expected = (source,) if isinstance(source, str) else source
    guess = likely or (expected[0] if expected else None)
    if guess is not None and (guess, target) in _EDGES[kind] and _swap(db, kind, ident, guess, target, also):
        return str(guess)
    was = state_of(db, kind, ident)
    if was is None:
        raise NotFound(f"there is no {kind} {ident}", subject=f"{kind}:{ident}")
    if (was, target) not in _EDGES[kind] or (expected is not None and was not in expected):
        raise Conflict(f"it is {was}, so it can't become {target}", subject=f"{kind}:{ident}", state=was)
    _swap(db, kind, ident, was, target, also)
    return was


def _swap(db: Transaction, kind: str, ident: int, was: str, target: str, also: Mapping[str, Any] | None) -> bool:
    columns = "".join(f", {name} = ?" for name in also) if also else ""
    values = (target, *(also.values() if also else ()), ident, was)
    done = db.execute(f"UPDATE {_TABLES[kind]} SET state = ?{columns} WHERE id = ? AND state = ?", values)  # noqa: S608
    return done.rowcount == 1
