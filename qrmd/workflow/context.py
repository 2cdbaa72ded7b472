"""What an action gets to act with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from qrmd.clock import SECOND, now_us
from qrmd.errors import StepFailed
from qrmd.model import Actor, Role
from qrmd.threads import Job
from qrmd.workflow.live import LiveStep, LiveWorkflow

if TYPE_CHECKING:
    from qrmd.workflow.parts import Parts

P = ParamSpec("P")
T = TypeVar("T")


class StepContext:
    """``workflow.action.Context`` for one attempt of one step. ``jobs``: blocking calls under way."""

    def __init__(self, parts: Parts, live: LiveWorkflow, step: LiveStep) -> None:
        self._parts = parts
        self._live = live
        self.workflow_id = live.id
        self.step_id = step.id
        self.attempt = step.attempts
        self.elapsed = (now_us() - step.began_at) / SECOND if step.began_at else 0.0
        self.slots: Mapping[str, Any] = live.slots
        self.subject = live.subject
        self.key = f"step:{step.id}"
        self.jobs: set[Job] = set()

    async def call(self, lane: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking function in the thread of ``lane``."""
        job = self._parts.lanes.submit(lane, function, *args, **kwargs)
        self.jobs.add(job)
        try:
            result: T = await job.finished
        finally:
            if job.over:
                self.jobs.discard(job)
        return result

    def secret(self, reference: str) -> str:
        """The value of ``secret:<id>``.

        Raises:
            StepFailed: it is gone, or is not this workflow's.
        """
        _, _, ident = reference.partition(":")
        sealed = self._live.sealed.get(int(ident)) if ident.isdecimal() else None
        if sealed is None:
            raise StepFailed("a secret of this workflow is gone", subject=self.subject)
        return self._parts.vault.open(sealed)

    async def read(self, function: Callable[..., T], *args: Any) -> T:
        """``function(db, *args)`` in a reader thread."""
        return await self._parts.store.read(function, *args)

    async def write(self, function: Callable[..., T], *args: Any) -> T:
        """``function(db, *args)`` in the writer thread, committed when this returns."""
        return await self._parts.store.write_urgently(function, *args)

    async def operation(self, verb: str, arguments: Mapping[str, Any], *, number: int = 0) -> Any:
        """Ask for another operation under the key (this step, ``number``): a re-run finds the same one.

        ``arguments`` are the verb's parameters by name; its ``options`` get key and reason from here.
        """
        actor = Actor(self._live.actor, Role.ADMINISTRATOR)
        options = {"key": f"{self.key}:{number}", "reason": self._live.reason}
        return await self._parts.ask(actor, verb, arguments, options, self._live.id)
