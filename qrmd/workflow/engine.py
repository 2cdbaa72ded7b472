"""The engine: takes operations in four moves (reserve, plan, freeze, run) and survives everything."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from qrmd.clock import SECOND, now_us
from qrmd.errors import Busy, NotFound, PluginFault, PreconditionFailed, QrmdError
from qrmd.model import Actor
from qrmd.states import StepState, WorkflowState
from qrmd.store import journal, keys, workflows
from qrmd.store.connection import Transaction
from qrmd.store.rehearsal import rehearse
from qrmd.store.transitions import move, state_of
from qrmd.workflow.debts import Debts
from qrmd.workflow.driver import ENDED, Driver
from qrmd.workflow.fences import Fences
from qrmd.workflow.kinds import WorkflowKind
from qrmd.workflow.live import LiveWorkflow
from qrmd.workflow.parts import Parts
from qrmd.workflow.plan import Plan, arrange
from qrmd.workflow.request import Begun, Request
from qrmd.workflow.steering import Steering, Turn, stuck_undoing

log = logging.getLogger(__name__)


class Engine:
    """Starts, drives, waits for and steers workflows.

    Args:
        parts: the surroundings.
        limit: workflows driven at the same time; more wait in order.
    """

    def __init__(self, parts: Parts, limit: int = 64) -> None:
        self._parts = parts
        self.debts = Debts(parts)
        self.fences = Fences(parts)
        self._driver = Driver(parts, self.debts, limit)
        self._steering = Steering(parts, self._driver)

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
        create: Callable[[Transaction], int] | None = None,
    ) -> int:
        """Moves 1 to 3; the workflow then runs by itself. Returns its id.

        Args:
            create: makes the subject in the same transaction (``subject_id`` is ignored then).

        Raises:
            PreconditionFailed: refused; nothing has changed.
        """
        kind = self._kind(operation)
        request = Request(kind, subject_id, arguments, actor, reason, key, parent, secrets or {}, create)
        taken = await self._take_over(request)
        if taken is not None:
            return taken
        begun = await self._parts.store.write(workflows.begin, request)
        if begun.existing:
            return begun.workflow_id
        live = LiveWorkflow(
            begun.workflow_id,
            kind,
            begun.subject_id,
            arguments,
            actor.name,
            reason,
            WorkflowState.PLANNING,
            parent,
            sealed=begun.sealed,
        )
        self._driver.enter(live)
        await self._plan_and_freeze(live, begun.view)
        return live.id

    async def rehearse(
        self,
        operation: str,
        subject_id: int,
        arguments: Mapping[str, Any],
        actor: Actor,
        create: Callable[[Transaction], int] | None = None,
    ) -> Plan:
        """The plan of an operation: move 1 in a savepoint that is rolled back, then move 2.

        The fact ``cancels`` names the live workflow that it would take over.
        """
        kind = self._kind(operation)
        request = Request(kind, subject_id, arguments, actor, create=create)
        holder = self._replaced_by(request)
        if holder is not None and _undone_is_enough(holder, request):
            return Plan(operation, request.subject, (), {"cancels": holder.id})
        begun = await rehearse(self._parts.store, _begin_instead, request, holder)
        plan = self._plan(kind, f"{kind.subject_kind}:{begun.subject_id}", begun.view, arguments)
        return plan if holder is None else replace(plan, facts={**plan.facts, "cancels": holder.id})

    async def rehearse_new(
        self, operation: str, creates: Sequence[Callable[[Transaction], int]], actor: Actor
    ) -> list[Plan]:
        """The plans of an operation on so many new subjects, each beside the reservations of those before it."""
        kind = self._kind(operation)
        requests = [Request(kind, 0, {}, actor, create=create) for create in creates]
        begun = await rehearse(self._parts.store, _begin_all, requests)
        return [self._plan(kind, f"{kind.subject_kind}:{each.subject_id}", each.view, {}) for each in begun]

    async def wait(self, workflow_id: int, seconds: float) -> None:
        """Return when the workflow has ended or is stuck, or after so many seconds."""
        live = self._driver.live.get(workflow_id)
        if live is not None:
            await self._driver.wait(live, seconds)

    # ------------------------------------------------------------ steering

    async def steer(
        self,
        turn: Turn,
        workflow_id: int,
        actor: Actor,
        reason: str,
        also: Callable[[Transaction], object] | None = None,
    ) -> None:
        """Cancel, retry, skip or abandon. ``also`` is called in the same transaction.

        Raises:
            Conflict: it is not in a state in which that is possible; nothing has changed.
        """
        await self._steering.take(turn, workflow_id, actor, reason, also)

    def preview(self, turn: Turn, workflow_id: int) -> dict[str, Any]:
        """What ``steer`` would do. Raises Conflict as it does."""
        return self._steering.preview(turn, workflow_id)

    def _replaced_by(self, request: Request) -> LiveWorkflow | None:
        """The live workflow that a request takes over."""
        holder = self._driver.by_subject.get(request.subject)
        if holder is None or request.create or holder.kind.operation not in request.kind.takes_over:
            return None
        return None if holder.state is WorkflowState.PLANNING or stuck_undoing(holder) else holder

    async def _take_over(self, request: Request) -> int | None:
        """Cancel a live workflow that this operation replaces; its id when nothing remains to be done."""
        holder = self._replaced_by(request)
        if holder is None:
            return None
        if request.key is not None:
            known = await self._parts.store.read(workflows.known_by_key, request)
            if known is not None:
                return known.workflow_id
        enough = _undone_is_enough(holder, request)
        if holder.state is not WorkflowState.UNDOING and not holder.cancel:
            also = _standing_for(request, holder.id) if enough else None
            reason = request.reason or f"{request.kind.operation} takes over"
            await self._steering.take(Turn.CANCEL, holder.id, request.actor, reason, also)
        elif enough and request.key is not None:
            await self._parts.store.write(_standing_for(request, holder.id))
        if enough:
            return holder.id
        await self._driver.wait(holder, self._parts.pacing.longest_pause)
        if holder.state not in ENDED:
            raise Busy(f"{holder.kind.operation} is {holder.state}", subject=holder.subject, workflow=holder.id)
        return None

    # ------------------------------------------------------------ planning

    async def _plan_and_freeze(self, live: LiveWorkflow, view: Any) -> None:
        """Moves 2 and 3, or everything of move 1 is released.

        When its turn is now, the intent of the first step is written with the plan.
        """
        deadline = 0
        try:
            plan = self._plan(live.kind, live.subject, view, live.arguments)
            void = self.debts.against(live)
            if plan.steps and not void and not live.kind.mirrored and self._driver.take_turn(live):
                deadline = now_us() + int(self._parts.actions[plan.steps[0].action].timeout * SECOND)
            await self._parts.store.write(workflows.freeze, live, plan.steps, plan.facts, void, deadline)
        except Exception as error:  # noqa: BLE001 - whatever it is, the reservations must go
            if deadline:
                self._driver.return_turn(live)
            fault = error if isinstance(error, QrmdError) else _own_fault(live, error)
            await self._refuse(live, fault)
            raise fault from None
        live.state = WorkflowState.RUNNING
        if deadline:
            live.intended = live.steps[0]
            self._driver.drive(live)
            return
        if void:
            await self.debts.forget(void)
        self._driver.schedule(live)

    async def _refuse(self, live: LiveWorkflow, fault: QrmdError) -> None:
        try:
            await self._parts.store.write_urgently(journal.refuse, live, fault.as_dict())
        except QrmdError as error:
            log.error("workflow %d: its reservations can't be released yet: %s", live.id, error)  # noqa: TRY400
            pause = self._parts.pacing.longest_pause
            self._parts.clock.callLater(pause, lambda: _quietly(self._refuse(live, fault)))
            return
        live.state = WorkflowState.UNDONE
        self._driver.end(live)

    def _plan(self, kind: WorkflowKind, subject: str, view: Any, arguments: Mapping[str, Any]) -> Plan:
        objections = self._parts.hooks.objections(kind.operation, subject, view, arguments)
        if objections:
            raise PreconditionFailed("; ".join(objections), subject=subject, objections=objections)
        steps = arrange(kind.plan(self._parts.hooks, view), mirrored=kind.mirrored)
        unknown = sorted({step.action for step in steps if step.action not in self._parts.actions})
        if unknown:
            raise PreconditionFailed(f"no plugin offers the action {', '.join(unknown)}", subject=subject)
        return Plan(kind.operation, subject, steps, kind.facts(view), kind.compensates)

    # ------------------------------------------------------------ running

    async def recover(self) -> int:
        """Take up what a crash left: live workflows go on, half-planned ones plan again. Returns how many."""
        for live in await self._parts.store.read(workflows.load_live, self._parts.kinds):
            if live.id in self._driver.live:
                continue
            self._driver.enter(live)
            self._allow_for_absence(live)
            if live.state is WorkflowState.PLANNING:
                await self._plan_again(live)
            else:
                self._driver.schedule(live)
        for live in await self._parts.store.read(workflows.load_debtors, self._parts.kinds):
            self.debts.add(live)
        return len(self._driver.live)

    def _allow_for_absence(self, live: LiveWorkflow) -> None:
        """While the daemon was away nothing could be done: a step under way gets some time, an undo all of it."""
        least = now_us() + int(self._parts.pacing.recovery * SECOND)
        for step in live.steps:
            if step.state is StepState.UNDOING:
                step.deadline = 0
            elif step.deadline:
                step.deadline = max(step.deadline, least)

    async def _plan_again(self, live: LiveWorkflow) -> None:
        try:
            view = await self._parts.store.read(live.kind.view, live.subject_id, live.arguments, live.id)
        except Exception as error:  # noqa: BLE001 - whatever it is, the reservations must go and the daemon must start
            await self._refuse(live, error if isinstance(error, QrmdError) else _own_fault(live, error))
            return
        try:
            await self._plan_and_freeze(live, view)
        except QrmdError as error:
            log.warning("workflow %d was not planned again: %s", live.id, error)

    def wake(self, workflow_id: int) -> None:
        """Look at a workflow now instead of at its wake-up time."""
        live = self._driver.live.get(workflow_id)
        if live is not None:
            self._driver.wake(live)

    def wake_subject(self, subject: str) -> bool:
        """Look now at the live workflow of a subject: something happened to it. False: there is none."""
        live = self._driver.by_subject.get(subject)
        if live is None:
            return False
        self._driver.wake(live)
        return True

    def drain(self) -> None:
        """Begin no further attempts; the rows are as after a crash."""
        self._driver.drain()
        self.debts.drain()

    @property
    def idle(self) -> bool:
        """Whether no attempt is under way."""
        return self._driver.idle

    @property
    def live(self) -> Mapping[int, LiveWorkflow]:
        """The live workflows by id."""
        return self._driver.live

    def _kind(self, operation: str) -> WorkflowKind:
        try:
            return self._parts.kinds[operation]
        except KeyError:
            raise NotFound(f"there is no operation {operation}") from None


def _undone_is_enough(holder: LiveWorkflow, request: Request) -> bool:
    return holder.kind.compensates and holder.kind.journey.undone == request.kind.journey.done


def _standing_for(request: Request, workflow_id: int) -> Callable[[Transaction], object]:
    """Writes that this workflow is the answer to the request's key."""

    def write(db: Transaction) -> None:
        if request.key is not None:
            keys.keep(db, workflows.ENGINE, request.kind.operation, request.key, workflow_id)

    return write


def _own_fault(live: LiveWorkflow, error: Exception) -> PluginFault:
    log.error("workflow %d could not be planned", live.id, exc_info=error)
    return PluginFault(
        f"{live.kind.operation} could not be planned: {type(error).__name__}: {error}",
        subject=live.subject,
        hint="see the log",
    )


def _quietly(work: Any) -> None:
    def tell(failure: Failure) -> None:
        log.error("%s", failure.getTraceback())

    Deferred.fromCoroutine(work).addErrback(tell)


def _begin_instead(db: Transaction, request: Request, replaced: LiveWorkflow | None) -> Begun:
    if replaced is not None:
        for state in (WorkflowState.UNDOING, WorkflowState.UNDONE):
            if state_of(db, "workflow", replaced.id) != state:
                move(db, "workflow", replaced.id, state)
    return workflows.begin(db, request)


def _begin_all(db: Transaction, requests: Sequence[Request]) -> list[Begun]:
    return [workflows.begin(db, each) for each in requests]
