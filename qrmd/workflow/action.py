"""What carries out a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ParamSpec, Protocol, TypeVar

from qrmd.errors import StepFailed

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done:
    """The step is done. ``result`` is kept in the journal; the slots it provides are keys of it."""

    result: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Again:
    """Not yet; call ``do`` again after so many seconds, or at the step's deadline if that is earlier.

    ``note`` is shown to people (``waiting for ssh``).
    """

    after: float
    note: str = ""


Outcome = Done | Again


class Context(Protocol):
    """What an action may use while it acts.

    Attributes:
        workflow_id: the workflow.
        step_id: the step's row.
        attempt: 1 at the first try; counts on after a crash.
        slots: what earlier steps published.
        subject: ``appliance:12``.
        elapsed: seconds since the first attempt of this step.
        key: unique for this step over all attempts; use it for idempotency outside (Message-ID, …).
    """

    workflow_id: int
    step_id: int
    attempt: int
    elapsed: float
    slots: Mapping[str, Any]
    subject: str
    key: str

    async def call(self, lane: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking function in the thread of ``lane`` (``host:1``, ``storage:2``)."""
        ...

    def secret(self, reference: str) -> str:
        """The value of ``secret:<id>``."""
        ...

    async def read(self, function: Callable[..., T], *args: Any) -> T:
        """``function(db, *args)`` in a reader thread."""
        ...

    async def write(self, function: Callable[..., T], *args: Any) -> T:
        """``function(db, *args)`` in the writer thread, committed when this returns."""
        ...

    async def operation(self, verb: str, arguments: Mapping[str, Any], *, number: int = 0) -> Any:
        """Ask for another operation under the key (this step, ``number``): a re-run finds the same one."""
        ...


class Action(Protocol):
    """A deed and its undo.

    ``do`` observes first and returns ``Done`` when it is already so: after a crash it is called again
    with an unknown outcome. ``undo`` takes back what ``do`` did or half did, and is fine when there is nothing.

    Attributes:
        name: ``<plugin>.<verb>``.
        timeout: seconds from the first attempt until the step has failed.
        retries: further attempts after a ``StepFailed``, with back-off, within the time-out.
    """

    name: str
    timeout: float
    retries: int

    async def do(self, ctx: Context, args: Mapping[str, Any]) -> Outcome:
        """Make it so."""
        ...

    async def undo(self, ctx: Context, args: Mapping[str, Any]) -> Outcome:
        """Make it not so. ``Again`` is allowed."""
        ...


class Observation:
    """Base of actions that change nothing, here or outside: no intent is written before them, nothing is undone."""

    async def undo(self, ctx: Context, args: Mapping[str, Any]) -> Outcome:  # noqa: ARG002 - an action's signature
        """Nothing was made."""
        return Done()


class Final:
    """Base of actions whose plans never compensate: what they did does not come back."""

    name: str

    async def undo(self, ctx: Context, args: Mapping[str, Any]) -> Outcome:  # noqa: ARG002 - an action's signature
        """Refused: it is never asked for by a plan that goes one way."""
        raise StepFailed(f"{self.name} is not undone", subject=ctx.subject)
