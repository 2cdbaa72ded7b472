"""Pages of rows for the lists of the interface."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from qrmd.api import Db, InvalidInput, ListOptions, load, names

T = TypeVar("T")
Shown = Mapping[str, Any]


def page(
    db: Db,
    cls: type[T],
    table: str,
    options: ListOptions,
    filters: Iterable[str],
    fixed: Mapping[str, Any] | None = None,
) -> list[T]:
    """One page of a table in order of ids, or of ``id`` or ``-id`` as ``order`` says.

    Args:
        filters: columns that ``where`` may name.
        fixed: columns that must be equal whatever the caller says (whose rows they may see).

    Raises:
        InvalidInput: ``where`` names another column or a value that is no scalar; another order, or a search.
    """
    if options.order not in {"", "id", "-id"} or options.search:
        raise InvalidInput("this list goes by ids only", hint="order: id or -id")
    way = "DESC" if options.order == "-id" else "ASC"
    where = _checked(dict(options.where or {}), tuple(filters))
    clauses = ["id > ?"] + [f"{name} = ?" for name in where] + [f"{name} = ?" for name in fixed or {}]
    sql = f"SELECT * FROM {table} WHERE {' AND '.join(clauses)} ORDER BY id {way} LIMIT ? OFFSET ?"  # noqa: S608 - own
    values = (options.after, *where.values(), *(fixed or {}).values(), options.limit, options.skip)
    return [load(cls, row) for row in db.rows(sql, values)]


def _checked(where: dict[str, Any], filters: tuple[str, ...]) -> dict[str, Any]:
    for name, value in where.items():
        if name not in filters:
            raise InvalidInput(f"where has no key {names.shown(name)}", hint="known: " + ", ".join(filters))
        if not isinstance(value, str | int):
            raise InvalidInput(f"where.{name} must be text or a number")
    return where


def select(shown: Shown, options: ListOptions) -> dict[str, Any]:
    """The fields that the caller wants.

    Raises:
        InvalidInput: a field that there is not.
    """
    for name in options.fields:
        if name not in shown:
            raise InvalidInput(f"there is no field {names.shown(name)}", hint="known: " + ", ".join(shown))
    return {name: shown[name] for name in options.fields} if options.fields else dict(shown)


def listed(rows: Iterable[T], show: Callable[[T], Shown], options: ListOptions) -> list[dict[str, Any]]:
    """Rows as the interface shows them."""
    return [select(show(row), options) for row in rows]
