"""What a write would answer, without being kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from qrmd.store.connection import Transaction
from qrmd.store.database import Store

P = ParamSpec("P")
T = TypeVar("T")


class _RehearsedError(Exception):
    """Carries an answer out of a transaction that must not commit."""

    def __init__(self, answer: Any) -> None:
        super().__init__("rehearsed")
        self.answer = answer


async def rehearse(
    store: Store, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    """``function(db, *args)`` in a transaction that is rolled back. Raises what it raises."""

    def run(db: Transaction) -> None:
        raise _RehearsedError(function(db, *args, **kwargs))

    try:
        await store.write(run)
    except _RehearsedError as rehearsed:
        answer: T = rehearsed.answer
        return answer
    raise AssertionError("a rehearsal always rolls back")
