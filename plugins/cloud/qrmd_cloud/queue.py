"""Verbs that start the plugin's workflows: for the schedule, the observer and administrators."""

from __future__ import annotations

from typing import Annotated, Any

from qrmd.api import (
    ADMINISTER,
    SECOND,
    Call,
    Conflict,
    Length,
    Options,
    PreconditionFailed,
    Range,
    Services,
    now_us,
    verb,
)
from qrmd_cloud import decisions
from qrmd_cloud.model import Request
from qrmd_cloud.rules import RuleBook
from qrmd_cloud.store import requests

Id = Annotated[int, Range(1, 2**53)]
_NO_OPTIONS = Options()
AT_MOST = 1000
"""Requests that one pass of the queue looks at."""


class Queue:
    """``cloud.provision``, ``cloud.deprovision``, ``cloud.mail``, ``cloud.queue.advance``."""

    def __init__(self, services: Services, rules: RuleBook) -> None:
        self._services = services
        self._rules = rules

    @verb("cloud.provision", roles=ADMINISTER, changes=True)
    async def provision(self, call: Call, request: Id, options: Options = _NO_OPTIONS) -> Any:
        """Provision an approved request now, out of its turn. Returns the workflow's id."""
        return await call.start("cloud.provision", request, {}, options)

    @verb("cloud.deprovision", roles=ADMINISTER, changes=True)
    async def deprovision(
        self, call: Call, request: Id, why: Annotated[str, Length(500)] = "", options: Options = _NO_OPTIONS
    ) -> Any:
        """De-provision an active request; ``why`` goes into the mail. Returns the workflow's id."""
        return await call.start("cloud.deprovision", request, {"why": why}, options)

    @verb("cloud.mail", roles=ADMINISTER, changes=True)
    async def mail(self, call: Call, mail: Id, options: Options = _NO_OPTIONS) -> Any:
        """Send a queued mail. Returns the workflow's id."""
        return await call.start("cloud.mail", mail, {}, options)

    @verb("cloud.queue.advance", roles=ADMINISTER, changes=True)
    async def advance(self, call: Call, options: Options = _NO_OPTIONS) -> dict[str, Any]:
        """Give the oldest waiting request whose turn it is a try. Returns ``{"workflow"}``, 0 when nobody waits.

        One at a time looks for its place: the next has its turn when that one found it, or did not.
        """
        if options.dry_run:
            waiting = await call.read(requests.next_waiting, now_us(), self._retry_us)
            return {"dry_run": True, "request": waiting.id if waiting else 0}
        for ident, before in await call.read(requests.hopeless, now_us()):
            await self._services.write(decisions.line_up, ident, before)
        for _ in range(AT_MOST):
            waiting = await call.read(requests.next_waiting, now_us(), self._retry_us)
            if waiting is None:
                break
            workflow = await self._try(call, waiting)
            if workflow:
                return {"workflow": workflow, "request": waiting.id}
        return {"workflow": 0}

    @property
    def _retry_us(self) -> int:
        return self._rules.now.retry_seconds * SECOND

    async def _try(self, call: Call, request: Request) -> int:
        key = f"provision:{request.id}:{request.attempts}"
        try:
            started = await call.start("cloud.provision", request.id, {}, Options(key=key))
        except Conflict:
            return request.workflow_id or -1  # somebody else was faster; their end wakes the queue
        except PreconditionFailed as error:
            await self._services.write(decisions.tried, request.id, error.as_dict())
            return 0
        return int(started) if isinstance(started, int) else 0
