"""What an operation that runs as a workflow consists of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qrmd.store.connection import Db, Transaction
from qrmd.workflow.plan import Step

if TYPE_CHECKING:
    from qrmd.hooks.calls import Hooks

Arguments = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Journey:
    """The states of the subject on its way: ``source → during → done | undone | stuck``.

    ``source`` may name several. A state that is None is left as it is. With ``owing`` it arrives there while a step
    is still owed, and is ``done`` when the last debt is paid.
    """

    source: tuple[str, ...]
    during: str | None
    done: str | None
    undone: str | None
    stuck: str | None
    owing: str | None = None


def _nothing(_db: Transaction, _id: int, _arguments: Arguments, _workflow: int) -> None:
    return None


def _no_facts(_view: object) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class WorkflowKind:
    """An operation in four moves (DESIGN: reserve, plan, freeze, run).

    Attributes:
        operation: ``appliance.start``; also the verb's name.
        subject_kind: ``appliance``: kind of the state machine and prefix of the subject.
        journey: what happens to the subject's state.
        compensates: True: a failed step undoes all; False: failures are collected, steps are retried, then stuck.
        mirrored: phases run backwards.
        takes_over: operations whose live workflow on the same subject this one cancels and waits for.
        reserve: move 1, in one transaction: checks and reservations as rows (``workflow`` holds them).
            Raises PreconditionFailed. Its result is given to nobody.
        view: what the planners see, read in the same transaction after ``reserve``.
        plan: move 2, pure, on the reactor thread: ``plan(hooks, view) -> steps``.
        facts: what the reservations chose, for people.
        complete: in the transaction that ends the workflow as done.
        release: in the transaction that ends it as undone, and when a plan is refused.
    """

    operation: str
    subject_kind: str
    journey: Journey
    view: Callable[[Db, int, Arguments, int], Any]
    plan: Callable[[Hooks, Any], Sequence[Step]]
    reserve: Callable[[Transaction, int, Arguments, int], None] = _nothing
    complete: Callable[[Transaction, int, Arguments, int], None] = _nothing
    release: Callable[[Transaction, int, Arguments, int], None] = _nothing
    facts: Callable[[Any], dict[str, Any]] = _no_facts
    compensates: bool = True
    mirrored: bool = False
    takes_over: tuple[str, ...] = ()
    done_event: str = ""
    tags: frozenset[str] = field(default_factory=frozenset)
