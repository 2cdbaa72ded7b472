"""Driving live workflows: who has its turn when, bounded in number; none is driven twice at a time."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from qrmd.errors import QrmdError, StepFailed, Unavailable
from qrmd.states import StepState, WorkflowState
from qrmd.workflow.debts import Debts
from qrmd.workflow.live import LiveWorkflow
from qrmd.workflow.parts import Parts
from qrmd.workflow.runner import Runner

log = logging.getLogger(__name__)

ENDED = frozenset({WorkflowState.DONE, WorkflowState.UNDONE, WorkflowState.ABANDONED, WorkflowState.STUCK})


class Driver:
    """Holds the live workflows and gives each its turns.

    Args:
        limit: workflows driven at the same time; more wait in order.
    """

    def __init__(self, parts: Parts, debts: Debts, limit: int) -> None:
        self._parts = parts
        self._runner = Runner(parts)
        self._debts = debts
        self._limit = limit
        self._driving = 0
        self._ready: deque[LiveWorkflow] = deque()
        self.live: dict[int, LiveWorkflow] = {}
        self.by_subject: dict[str, LiveWorkflow] = {}

    def enter(self, live: LiveWorkflow) -> None:
        """Know a live workflow."""
        self.live[live.id] = live
        self.by_subject[live.subject] = live

    # ------------------------------------------------------------ turns

    def schedule(self, live: LiveWorkflow) -> None:
        """Its turn comes as soon as there is room."""
        if live.timer is not None:
            if live.timer.active():
                live.timer.cancel()
            live.timer = None
        if live.running or self._runner.draining or live.state in ENDED:
            return
        live.running = True
        self._ready.append(live)
        self._drive_ready()

    def wake(self, live: LiveWorkflow) -> None:
        """Look at it now instead of at its wake-up time; a pause after a failure is kept."""
        if live.state in ENDED or live.state is WorkflowState.PLANNING:
            return
        live.wake = True
        for step in live.steps:
            if step.state is StepState.WAITING:
                step.wake_at = 0
        self.schedule(live)

    def drain(self) -> None:
        """Begin no further attempts; the rows are as after a crash."""
        self._runner.draining = True
        for live in self.live.values():
            if live.timer is not None and live.timer.active():
                live.timer.cancel()

    @property
    def idle(self) -> bool:
        """Whether no attempt is under way."""
        return self._driving == 0

    def take_turn(self, live: LiveWorkflow) -> bool:
        """Its turn is now, if there is room: ``drive`` or ``return_turn`` must follow."""
        if live.running or self._ready or self._driving >= self._limit or self._runner.draining:
            return False
        live.running = True
        self._driving += 1
        return True

    def return_turn(self, live: LiveWorkflow) -> None:
        """It does not need its turn: others come."""
        live.running = False
        self._driving -= 1
        self._drive_ready()

    def drive(self, live: LiveWorkflow) -> None:
        """It has its turn."""
        Deferred.fromCoroutine(self._drive(live)).addErrback(self._broken, live)

    def _drive_ready(self) -> None:
        while self._ready and self._driving < self._limit and not self._runner.draining:
            self._driving += 1
            self.drive(self._ready.popleft())

    async def _drive(self, live: LiveWorkflow) -> None:
        pause: float | None = 0.0
        try:
            while pause is not None:
                live.wake = False
                pause = await self._runner.advance(live)
                if pause is not None and not live.wake:
                    break
                if self._runner.draining:
                    break
        finally:
            self.return_turn(live)
        if live.state in ENDED:
            self.end(live)
        elif pause is not None:
            self._later(pause, live)

    def _later(self, pause: float, live: LiveWorkflow) -> None:
        if not self._runner.draining:
            live.timer = self._parts.clock.callLater(pause, self.schedule, live)

    # ------------------------------------------------------------ ends

    def end(self, live: LiveWorkflow) -> None:
        """It has ended or is stuck: tell who waits for it."""
        if live.state is not WorkflowState.STUCK:
            self.live.pop(live.id, None)
            if self.by_subject.get(live.subject) is live:
                del self.by_subject[live.subject]
            if live.owing:
                self._debts.add(live)
        waiters, live.waiters = live.waiters, []
        for waiter in waiters:
            waiter.callback(None)
        parent = self.live.get(live.parent) if live.parent is not None else None
        if parent is not None:
            self.wake(parent)

    def _broken(self, failure: Failure, live: LiveWorkflow) -> None:
        """The journal could not be written, or something that is ours failed: try again, then ask a human."""
        error = failure.value
        if isinstance(error, Unavailable):
            log.error("workflow %d: its journal can't be written: %s", live.id, error)
            self._later(self._parts.pacing.pause(live.failures + 1), live)
            live.failures = min(live.failures + 1, self._parts.pacing.failures - 1)
            return
        log.error("workflow %d: %s", live.id, failure.getTraceback())
        live.failures += 1
        if live.failures < self._parts.pacing.failures:
            self._later(self._parts.pacing.pause(live.failures), live)
            return
        Deferred.fromCoroutine(self._give_up(live, error)).addErrback(self._broken, live)

    async def _give_up(self, live: LiveWorkflow, error: BaseException | None) -> None:
        fault = error if isinstance(error, QrmdError) else StepFailed(f"{type(error).__name__}: {error}")
        shown = StepFailed(
            f"the workflow itself failed: {fault}", subject=live.subject, hint="see the log; then workflow.retry"
        )
        live.failures = 0
        await self._runner.stick(live, live.current, shown.as_dict())
        self.end(live)

    # ------------------------------------------------------------ waiting

    async def wait(self, live: LiveWorkflow, seconds: float) -> None:
        """Return when it has ended or is stuck, or after so many seconds."""
        if live.state in ENDED:
            return
        waiter: Deferred[None] = Deferred()
        live.waiters.append(waiter)

        def expire(_waiter: Any = None) -> None:
            if waiter in live.waiters:
                live.waiters.remove(waiter)
                waiter.callback(None)

        timer = self._parts.clock.callLater(seconds, expire)
        await waiter
        if timer.active():
            timer.cancel()
