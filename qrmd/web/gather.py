"""Several verbs asked at once, as a page needs them."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList

from qrmd.errors import QrmdError
from qrmd.operations.call import Call

T = TypeVar("T")

PAGE = 1000
ROWS = 100


async def all_of(awaitables: Iterable[Awaitable[Any]]) -> list[Any]:
    """Their results in order, waited for together. The first failure is raised once all have ended."""
    outcomes = await _settled(awaitables)
    for good, value in outcomes:
        if not good:
            raise value.value
    return [value for _, value in outcomes]


async def each_or_fault(awaitables: Iterable[Awaitable[T]]) -> list[T | QrmdError]:
    """Results in order; in place of one that failed, its error."""
    found: list[T | QrmdError] = []
    for good, value in await _settled(awaitables):
        if not good and not isinstance(value.value, QrmdError):
            raise value.value
        found.append(value if good else value.value)
    return found


async def _settled(awaitables: Iterable[Awaitable[Any]]) -> list[tuple[bool, Any]]:
    begun = [Deferred.fromCoroutine(_awaited(each)) for each in awaitables]
    outcomes: list[tuple[bool, Any]] = await DeferredList(begun, consumeErrors=True)
    return outcomes


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


async def names_of(call: Call, noun: str) -> dict[int, str]:
    """Name by id."""
    return {row["id"]: row["name"] for row in await call.ask(f"{noun}.list", {"fields": ["id", "name"]})}


async def rows_of(call: Call, noun: str, given: Mapping[str, Any], filters: Iterable[str] = ()) -> dict[str, Any]:
    """A page of a list, as the query asks: ``{"rows", "view"}``.

    ``view`` is what the macros ``ui.browser``, ``ui.th`` and ``ui.pager`` need: ``{"query": what was asked but the
    place, "search", "sort", "where", "filters", "states": how many there are in each, "total", "skip", "next"}``;
    ``total`` is None where it isn't known, ``next`` on the last page.

    Args:
        filters: fields that the query may ask for.
    """
    where = {name: str(given[name]) for name in filters if given.get(name)}
    search, sort, skip = str(given.get("q", ""))[:100], str(given.get("sort", "") or "name"), _number(given.get("skip"))
    asked = {"where": where, "search": search, "order": sort, "skip": skip, "limit": ROWS + 1}
    rows, states = await all_of((call.ask(f"{noun}.list", asked), call.ask("qrm.states")))
    counted: dict[str, int] = states.get(noun, {})
    known = sum(counted.values()) if counted else None
    view = {
        "query": {**where, **({"q": search} if search else {}), **({"sort": sort} if sort != "name" else {})},
        "search": search,
        "sort": sort,
        "where": where,
        "filters": [name for name in filters if name != "state"],
        "states": counted,
        "total": known if not where and not search else counted.get(where["state"]) if set(where) == {"state"}
        and not search else None,
        "skip": skip,
        "next": skip + ROWS if len(rows) > ROWS else None,
        "per_page": ROWS,
    }  # fmt: skip
    return {"rows": rows[:ROWS], "view": view}


def _number(value: Any) -> int:
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 16 else 0


async def every(call: Call, noun: str, fields: Iterable[str], most: int) -> list[dict[str, Any]]:
    """All objects of a kind up to a number, with these fields."""
    found: list[dict[str, Any]] = []
    after = 0
    while len(found) < most:
        rows = await call.ask(f"{noun}.list", {"fields": ["id", *fields], "limit": PAGE, "after": after})
        found += rows
        if len(rows) < PAGE:
            break
        after = rows[-1]["id"]
    return found[:most]


async def events_about(call: Call, subject: str, limit: int = 15) -> list[dict[str, Any]]:
    """The latest events of an object."""
    rows: list[dict[str, Any]] = await call.ask(
        "event.list", {"where": {"subject": subject}, "order": "-id", "limit": limit}
    )
    return rows


async def live_workflow(call: Call, subject: str) -> dict[str, Any] | None:
    """The workflow that an object is in now."""
    for state in ("running", "undoing", "stuck", "planning"):
        rows = await call.ask(
            "workflow.list",
            {"where": {"subject": subject, "state": state}, "fields": ["id", "operation", "state"], "limit": 1},
        )
        if rows:
            return dict(rows[0])
    return None
