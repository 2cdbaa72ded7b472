"""The engine: takes operations in four moves (reserve, plan, freeze, run) and survives everything."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred

from qrmd.clock import SECOND, now_us
from qrmd.errors import Conflict, NotFound, PreconditionFailed, QrmdError
from qrmd.model import Actor
from qrmd.states import StepState, WorkflowState
from qrmd.store.connection import Transaction
from qrmd.workflow import journal
from qrmd.workflow.debts import Debts
from qrmd.workflow.journal import Request
from qrmd.workflow.kinds import WorkflowKind
from qrmd.workflow.live import LiveStep, LiveWorkflow
from qrmd.workflow.parts import Parts
from qrmd.workflow.plan import Plan, arrange
from qrmd.workflow.runner import Runner

log = logging.getLogger(__name__)

ENDED = frozenset({WorkflowState.DONE, WorkflowState.UNDONE, WorkflowState.ABANDONED, WorkflowState.STUCK})


class _RehearsedError(Exception):
    """Carries the view out of a transaction that must not commit."""


class Engine:
    """Starts, drives, waits for and steers workflows.

    Args:
        parts: the surroundings.
        limit: workflows driven at the same time; more wait in order.
    """

    def __init__(self, parts: Parts, limit: int = 64) -> None:
        self._parts = parts
        self._runner = Runner(parts)
        self._limit = limit
        self._driving = 0
        self._ready: deque[LiveWorkflow] = deque()
        self._draining = False
        self.live: dict[int, LiveWorkflow] = {}
        self._by_subject: dict[str, LiveWorkflow] = {}
        self.debts = Debts(parts)

    # ------------------------------------------------------------ asking

    async def start(
        self,
        operation: str,
        subject_id: int,
        arguments: Mapping[str, Any],
        *,
        actor: Actor,
        reason: str = "",
        key: str | None = None,
        parent: int | None = None,
        secrets: Mapping[str, str] | None = None,
    ) -> int:
        """Moves 1 to 3; the workflow then runs by itself. Returns its id.

        Raises:
            PreconditionFailed: refused; nothing has changed.
        """
        kind = self._kind(operation)
        request = Request(kind, subject_id, arguments, actor, reason, key, parent, secrets or {})
        taken = await self._take_over(request)
        if taken is not None:
            return taken
        begun = await self._parts.store.write(journal.begin, request)
        if begun.existing:
            return begun.workflow_id
        live = LiveWorkflow(
            begun.workflow_id,
            kind,
            subject_id,
            arguments,
            actor.name,
            reason,
            WorkflowState.PLANNING,
            parent,
            sealed=begun.sealed,
        )
        await self._plan_and_freeze(live, begun.view)
        return live.id

    async def rehearse(self, operation: str, subject_id: int, arguments: Mapping[str, Any], actor: Actor) -> Plan:
        """The plan of an operation: move 1 in a savepoint that is rolled back, then move 2."""
        kind = self._kind(operation)
        request = Request(kind, subject_id, arguments, actor, "", None, None, {})
        try:
            await self._parts.store.write(_begin_and_roll_back, request)
        except _RehearsedError as rehearsed:
            return self._plan(kind, request.subject, rehearsed.args[0], arguments)
        raise AssertionError("a rehearsal always rolls back")

    async def wait(self, workflow_id: int, seconds: float) -> None:
        """Return when the workflow has ended or is stuck, or after so many seconds."""
        live = self.live.get(workflow_id)
        if live is None or live.state in ENDED:
            return
        waiter: Deferred[None] = Deferred()
        live.waiters.append(waiter)
        timer = self._parts.clock.callLater(seconds, _fire, waiter)
        await waiter
        if timer.active():
            timer.cancel()

    # ------------------------------------------------------------ steering

    async def cancel(self, workflow_id: int, actor: Actor, reason: str) -> None:
        """Undo a workflow from its next step boundary on.

        Raises:
            Conflict: it has ended, or its kind never compensates.
        """
        live = self._find(workflow_id)
        if not live.kind.compensates or live.state is not WorkflowState.RUNNING:
            raise Conflict(
                f"{live.kind.operation} is {live.state} and can't be cancelled", subject=f"workflow:{workflow_id}"
            )
        await self._parts.store.write_urgently(journal.ask_cancel, workflow_id, actor.name, reason)
        live.cancel = True
        self.wake(workflow_id)

    async def retry(self, workflow_id: int, actor: Actor, reason: str) -> None:
        """Try the stuck step again."""
        live = self._stuck(workflow_id)
        await self._unstick(live, actor, reason, "retried")

    async def skip(self, workflow_id: int, actor: Actor, reason: str) -> None:
        """Go on without the stuck step."""
        live = self._stuck(workflow_id)
        step = _stuck_step(live)
        await self._parts.store.write_urgently(journal.skip, step)
        step.state = StepState.SKIPPED
        await self._unstick(live, actor, reason, "skipped")

    async def abandon(self, workflow_id: int, actor: Actor, reason: str) -> None:
        """End a stuck workflow as it is."""
        live = self._stuck(workflow_id)
        await self._parts.store.write_urgently(journal.abandon, live, actor.name, reason)
        live.state = WorkflowState.ABANDONED
        self._ended(live)

    async def _unstick(self, live: LiveWorkflow, actor: Actor, reason: str, verb: str) -> None:
        await self._parts.store.write_urgently(journal.unstick, live, actor.name, reason, verb)
        for step in live.steps:
            step.deadline = step.wake_at = 0
            step.attempts = 0
        backward = any(step.state in {StepState.UNDOING, StepState.UNDONE} for step in live.steps)
        live.state = WorkflowState.UNDOING if backward else WorkflowState.RUNNING
        self._schedule(live)

    async def _take_over(self, request: Request) -> int | None:
        """Cancel a live workflow that this operation replaces; its id when nothing remains to be done."""
        if not request.kind.takes_over:
            return None
        holder = self._by_subject.get(request.subject)
        if holder is None or holder.kind.operation not in request.kind.takes_over:
            return None
        if holder.state is WorkflowState.RUNNING:
            await self.cancel(holder.id, request.actor, f"{request.kind.operation} takes over")
        while holder.state not in ENDED:
            await self.wait(holder.id, 60.0)
        undone_is_enough = holder.kind.journey.undone == request.kind.journey.done
        return holder.id if holder.state is WorkflowState.UNDONE and undone_is_enough else None

    # ------------------------------------------------------------ planning

    async def _plan_and_freeze(self, live: LiveWorkflow, view: Any) -> None:
        try:
            plan = self._plan(live.kind, live.subject, view, live.arguments)
            await self._parts.store.write(journal.freeze, live, plan.steps, plan.facts)
        except QrmdError as error:
            await self._parts.store.write_urgently(journal.refuse, live, error.as_dict())
            raise
        live.state = WorkflowState.RUNNING
        self._enter(live)
        self._schedule(live)

    def _plan(self, kind: WorkflowKind, subject: str, view: Any, arguments: Mapping[str, Any]) -> Plan:
        objections = self._parts.hooks.objections(kind.operation, subject, view, arguments)
        if objections:
            raise PreconditionFailed("; ".join(objections), subject=subject, objections=objections)
        steps = arrange(kind.plan(self._parts.hooks, view), mirrored=kind.mirrored)
        unknown = sorted({step.action for step in steps if step.action not in self._parts.actions})
        if unknown:
            raise PreconditionFailed(f"no plugin offers the action {', '.join(unknown)}", subject=subject)
        return Plan(kind.operation, subject, steps, kind.facts(view))

    # ------------------------------------------------------------ running

    async def recover(self) -> int:
        """Take up what a crash left: live workflows go on, half-planned ones plan again. Returns how many."""
        for live in await self._parts.store.read(journal.load_live, self._parts.kinds):
            if live.id in self.live:
                continue
            self._enter(live)
            if live.state is WorkflowState.PLANNING:
                await self._plan_again(live)
            elif live.state is not WorkflowState.STUCK:
                self._schedule(live)
        for live in await self._parts.store.read(journal.load_debtors, self._parts.kinds):
            self.debts.add(live)
        return len(self.live)

    async def _plan_again(self, live: LiveWorkflow) -> None:
        try:
            view = await self._parts.store.read(live.kind.view, live.subject_id, live.arguments, live.id)
            await self._plan_and_freeze(live, view)
        except QrmdError as error:
            log.warning("workflow %d was not planned again: %s", live.id, error)
            live.state = WorkflowState.UNDONE
            self._ended(live)

    def _enter(self, live: LiveWorkflow) -> None:
        self.live[live.id] = live
        self._by_subject[live.subject] = live

    def wake(self, workflow_id: int) -> None:
        """Look at a workflow now instead of at its wake-up time."""
        live = self.live.get(workflow_id)
        if live is not None and live.state not in ENDED:
            live.wake = True
            if not live.running:
                self._schedule(live)

    def wake_subject(self, subject: str) -> None:
        """Look now at the live workflow of a subject, if there is one: something happened to it."""
        live = self._by_subject.get(subject)
        if live is not None:
            self.wake(live.id)

    def drain(self) -> None:
        """Begin no further attempts; the rows are as after a crash."""
        self._draining = True

    @property
    def idle(self) -> bool:
        """Whether no attempt is under way."""
        return self._driving == 0

    def _schedule(self, live: LiveWorkflow) -> None:
        if live.running or self._draining:
            return
        live.running = True
        self._ready.append(live)
        self._drive_ready()

    def _drive_ready(self) -> None:
        while self._ready and self._driving < self._limit:
            live = self._ready.popleft()
            self._driving += 1
            Deferred.fromCoroutine(self._drive(live)).addErrback(self._broken, live)

    async def _drive(self, live: LiveWorkflow) -> None:
        pause: float | None = 0.0
        try:
            while pause is not None:
                live.wake = False
                pause = await self._runner.advance(live)
                if pause is not None and not live.wake:
                    break
        finally:
            live.running = False
            self._driving -= 1
            self._drive_ready()
        if live.state in ENDED:
            self._ended(live)
        elif pause is not None:
            self._parts.clock.callLater(pause, self._schedule, live)

    def _broken(self, failure: Any, live: LiveWorkflow) -> None:
        """The journal could not be written, or the engine itself failed: try again from the rows."""
        log.error("workflow %d: %s", live.id, failure.getTraceback())
        live.failures += 1
        self._parts.clock.callLater(min(60.0, 2.0**live.failures), self._schedule, live)

    def _ended(self, live: LiveWorkflow) -> None:
        if live.state is not WorkflowState.STUCK:
            self.live.pop(live.id, None)
            self._by_subject.pop(live.subject, None)
            if any(step.state is StepState.DEBT for step in live.steps):
                self.debts.add(live)
        waiters, live.waiters = live.waiters, []
        for waiter in waiters:
            _fire(waiter)
        if live.parent is not None:
            self.wake(live.parent)

    # ------------------------------------------------------------ finding

    def _kind(self, operation: str) -> WorkflowKind:
        try:
            return self._parts.kinds[operation]
        except KeyError:
            raise NotFound(f"there is no operation {operation}") from None

    def _find(self, workflow_id: int) -> LiveWorkflow:
        live = self.live.get(workflow_id)
        if live is None:
            raise Conflict("it has ended, or there is no such workflow", subject=f"workflow:{workflow_id}")
        return live

    def _stuck(self, workflow_id: int) -> LiveWorkflow:
        live = self._find(workflow_id)
        if live.state is not WorkflowState.STUCK:
            raise Conflict(f"it is {live.state}, not stuck", subject=f"workflow:{workflow_id}")
        return live


def _fire(waiter: Deferred[None]) -> None:
    if not waiter.called:
        waiter.callback(None)


def _stuck_step(live: LiveWorkflow) -> LiveStep:
    backward = any(step.state in {StepState.UNDOING, StepState.UNDONE} for step in live.steps)
    order = reversed(live.steps) if backward else iter(live.steps)
    return next(step for step in order if (step.touched if backward else not step.ended))


def _begin_and_roll_back(db: Transaction, request: Request) -> None:
    raise _RehearsedError(journal.begin(db, request).view)


def age(live: LiveWorkflow) -> float:
    """Seconds since the first attempt of its current step."""
    began = max((step.began_at for step in live.steps), default=0)
    return (now_us() - began) / SECOND if began else 0.0
