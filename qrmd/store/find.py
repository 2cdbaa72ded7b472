"""Finding one row by id or name, and pages of many, as interfaces show them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from qrmd.errors import InvalidInput, NotFound
from qrmd.names import shown
from qrmd.operations.schema import ListOptions
from qrmd.store.connection import Db
from qrmd.store.rows import shape
from qrmd.store.workflows import LIVE

_STATEFUL = {"hosts", "images", "appliances", "resources"}
_TOLD = ("name", "hostname", "owner", "comment", "uuid", "operation", "subject", "actor", "reason", "location", "cidr")
_COUNTED = {
    "appliance": "state <> 'removed'",
    "resource": "state <> 'removed'",
    "host": "state <> 'removed'",
    "image": "state <> 'removed'",
    "workflow": f"state IN {LIVE}",
}


def by_ref(db: Db, table: str, kind: str, ref: int | str, more: str = "") -> sqlite3.Row:
    """The row with this id or name; removed objects are found by id only.

    Args:
        more: columns beside those of the table, as SQL that begins with a comma.

    Raises:
        NotFound: there is none.
    """
    column = "id" if isinstance(ref, int) else "name"
    living = " AND state <> 'removed'" if column == "name" and table in _STATEFUL else ""
    row = db.row(f"SELECT *{more} FROM {table} WHERE {column} = ?{living}", (ref,))  # noqa: S608 - our own table names
    if row is None:
        name = shown(ref) if isinstance(ref, str) else str(ref)
        raise NotFound(f"there is no {kind} {name}", hint=f"qrm {kind} list")
    return row


def show(db: Db, table: str, kind: str, ref: int | str) -> dict[str, Any]:
    """All columns of a row as interfaces show them. Raises NotFound."""
    return shape(by_ref(db, table, kind, ref))


def page(db: Db, table: str, columns: Sequence[str], options: ListOptions, *, query: str = "") -> list[dict[str, Any]]:
    """One page of a table in the order of ids unless asked for another; removed objects are left out.

    Args:
        columns: what may be selected, compared and ordered by.
        query: a SELECT with these columns (empty: the table itself).

    Raises:
        InvalidInput: an unknown field, or ``after`` together with an order.
    """
    field, way = _order(options)
    for name in (*options.fields, *(options.where or {}), *([field] if options.order else [])):
        if name not in columns:
            raise InvalidInput(f"there is no field {shown(name)}", hint="known: " + ", ".join(columns))
    conditions = ["id > ?", *(f"{name} = ?" for name in options.where or {})]
    values: list[Any] = [options.after, *map(_plain, (options.where or {}).values())]
    if options.search:
        conditions.append(f"instr(lower({_haystack(columns)}), lower(?))")
        values.append(options.search)
    if table in _STATEFUL:
        conditions.append("state <> 'removed'")
    names = ", ".join(dict.fromkeys(("id", *(options.fields or columns))))
    order = ", ".join(dict.fromkeys(f"{name} {way}" for name in (field or "id", "id")))
    source = f"({query})" if query else table
    sql = f"SELECT {names} FROM {source} WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT ? OFFSET ?"  # noqa: S608
    return [shape(row) for row in db.rows(sql, [*values, options.limit, options.skip])]


def _order(options: ListOptions) -> tuple[str, str]:
    """Field (empty: none asked for) and direction."""
    if options.order and options.after:
        raise InvalidInput("after goes by ids only", hint="page an ordered list with skip", field="options.after")
    return options.order.removeprefix("-"), "DESC" if options.order.startswith("-") else "ASC"


def _haystack(columns: Sequence[str]) -> str:
    """What is searched, as SQL: the texts by which people know such an object."""
    return " || char(10) || ".join(name for name in _TOLD if name in columns) or "''"


def count_states(db: Db) -> dict[str, dict[str, int]]:
    """How many objects there are in each state, by kind; of workflows those that have not ended."""
    return {
        kind: {
            row["state"]: row["number"]
            for row in db.rows(
                f"SELECT state, count(*) AS number FROM {kind}s WHERE {living} GROUP BY state"  # noqa: S608
                " ORDER BY number DESC, state"
            )
        }
        for kind, living in _COUNTED.items()
    }


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    raise InvalidInput("where compares with text and numbers only")
