"""Several verbs asked at once, as a page needs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList

from qrmd.errors import QrmdError
from qrmd.operations.call import Call
from qrmd.states import MACHINES

T = TypeVar("T")

MOST_COUNTED = 20_000
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


async def count_states(call: Call, noun: str) -> dict[str, int]:
    """How many objects there are in each state."""
    counted: Counter[str] = Counter()
    after = 0
    while sum(counted.values()) < MOST_COUNTED:
        rows = await call.ask(f"{noun}.list", {"fields": ["id", "state"], "limit": PAGE, "after": after})
        counted.update(row["state"] for row in rows)
        if len(rows) < PAGE:
            break
        after = rows[-1]["id"]
    return dict(counted.most_common())


async def names_of(call: Call, noun: str) -> dict[int, str]:
    """Name by id."""
    return {row["id"]: row["name"] for row in await call.ask(f"{noun}.list", {"fields": ["id", "name"]})}


async def rows_of(call: Call, noun: str, given: Mapping[str, Any], filters: Iterable[str] = ()) -> dict[str, Any]:
    """A page of a list: ``{"rows", "where", "after", "next"}``; ``next`` is None on the last page.

    Args:
        filters: fields that the query may ask for.
    """
    where = {name: str(given[name]) for name in filters if given.get(name)}
    after = _ident(given.get("after"))
    rows = await call.ask(f"{noun}.list", {"where": where, "limit": ROWS + 1, "after": after})
    more = len(rows) > ROWS
    states = [str(each) for each in MACHINES[noun][0] if each != "removed"] if noun in MACHINES else []
    return {
        "rows": rows[:ROWS],
        "where": where,
        "after": after,
        "next": rows[ROWS - 1]["id"] if more else None,
        "filters": {name: states if name == "state" else [] for name in filters},
    }


def _ident(value: Any) -> int:
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 16 else 0


async def events_about(call: Call, subject: str, limit: int = 15) -> list[dict[str, Any]]:
    """The latest events of an object."""
    rows: list[dict[str, Any]] = await call.ask(
        "event.list", {"where": {"subject": subject, "newest": True}, "limit": limit}
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
