"""Pages of small tables: selection of rows by equality, of fields by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from qrmd.errors import InvalidInput
from qrmd.names import shown
from qrmd.operations.call import Call
from qrmd.operations.schema import ListOptions
from qrmd.store.connection import Db

Fetch = Callable[[Db, int, int], Iterable[dict[str, Any]]]


async def page_of(call: Call, options: ListOptions, fetch: Fetch) -> list[dict[str, Any]]:
    """A page of what ``fetch(db, after, limit)`` gives in the order of ``id``, in one snapshot.

    Raises:
        InvalidInput: a field that the rows don't have, or a search.
    """
    options.refuse_search()
    return await call.read(_collect, options, fetch)


def _collect(db: Db, options: ListOptions, fetch: Fetch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = options.after
    while len(found) < options.limit:
        page = list(fetch(db, after, options.limit))
        found += [row for row in page if _fits(row, options.where or {})]
        if len(page) < options.limit:
            break
        after = page[-1]["id"]
    return [select(row, options.fields) for row in found[: options.limit]]


def select(row: dict[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    """The named fields of a row (none named: all)."""
    if not fields:
        return row
    _known(row, fields)
    return {name: row[name] for name in fields}


def _fits(row: dict[str, Any], where: dict[str, Any]) -> bool:
    _known(row, tuple(where))
    return all(row[name] == value for name, value in where.items())


def _known(row: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if name not in row:
            raise InvalidInput(f"there is no field {shown(name)}", hint="known: " + ", ".join(row))
