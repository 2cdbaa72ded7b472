"""Finding one row by id or name, and pages of many."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from qrmd.errors import InvalidInput, NotFound
from qrmd.names import shown
from qrmd.operations.schema import ListOptions
from qrmd.store.connection import Db

_STATEFUL = {"hosts", "images", "appliances"}


def by_ref(db: Db, table: str, kind: str, ref: int | str) -> sqlite3.Row:
    """The row with this id or name; removed objects are found by id only.

    Raises:
        NotFound: there is none.
    """
    column = "id" if isinstance(ref, int) else "name"
    living = " AND state <> 'removed'" if column == "name" and table in _STATEFUL else ""
    row = db.row(f"SELECT * FROM {table} WHERE {column} = ?{living}", (ref,))  # noqa: S608 - our own table names
    if row is None:
        name = shown(ref) if isinstance(ref, str) else str(ref)
        raise NotFound(f"there is no {kind} {name}", hint=f"qrm {kind} list")
    return row


def page(
    db: Db, query: str, columns: Sequence[str], options: ListOptions, *, key: str = "id", condition: str = ""
) -> list[sqlite3.Row]:
    """One page of ``query`` (a table or a parenthesised SELECT), in the order of ids.

    Args:
        columns: what may be selected and compared.
        condition: SQL of ours that always applies.

    Raises:
        InvalidInput: an unknown field.
    """
    for field in (*options.fields, *(options.where or {})):
        if field not in columns:
            raise InvalidInput(f"there is no field {shown(field)}", hint="known: " + ", ".join(columns))
    chosen = options.fields or tuple(columns)
    conditions = [f"{key} > ?", *(f"{field} = ?" for field in options.where or {})]
    if condition:
        conditions.append(condition)
    values: list[Any] = [options.after, *map(_plain, (options.where or {}).values()), options.limit]
    names = ", ".join(dict.fromkeys((key, *chosen)))
    return db.rows(
        f"SELECT {names} FROM {query} WHERE {' AND '.join(conditions)} ORDER BY {key} LIMIT ?",  # noqa: S608
        values,
    )


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    raise InvalidInput("where compares with text and numbers only")
