"""One attempt of a step: act, watch the deadline, and say what came of it."""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from qrmd.clock import SECOND, now_us
from qrmd.errors import OutcomeUnknown, PluginFault, QrmdError, StepFailed
from qrmd.timers import Timer
from qrmd.workflow.action import Action, Outcome
from qrmd.workflow.context import StepContext
from qrmd.workflow.live import LiveStep, LiveWorkflow
from qrmd.workflow.parts import Parts

log = logging.getLogger(__name__)

GRACE = 30.0
"""Seconds that a call gets to end after its connection was killed."""


class NeverEnded(StepFailed):
    """A call went on after its connection was killed: neither undo nor retry is safe."""


async def act(parts: Parts, live: LiveWorkflow, step: LiveStep, action: Action, *, undo: bool) -> Outcome:
    """Call ``do`` or ``undo`` once.

    Raises:
        QrmdError: what the action raised; anything else becomes ``PluginFault``.
        OutcomeUnknown: the deadline cut it off, and its calls have ended.
        NeverEnded: the deadline cut it off, and a call is still going on.
    """
    ctx = StepContext(parts, live, step)
    args = step.step.args
    work = action.undo(ctx, args) if undo else action.do(ctx, args)
    left = max((step.deadline - now_us()) / SECOND, 0.05)
    try:
        return await _within(parts, ctx, work, left, step)
    except QrmdError:
        raise
    except Exception as error:
        log.exception("workflow %d: %s", live.id, step.step.action)
        raise PluginFault(
            f"{step.step.action} raised {type(error).__name__}: {_redacted(live, parts, str(error))}",
            subject=f"plugin:{step.step.plugin}",
        ) from None


async def _within(
    parts: Parts, ctx: StepContext, work: Coroutine[Any, Any, Outcome], seconds: float, step: LiveStep
) -> Outcome:
    """Await ``work`` for so long; then make what hangs end, and report an unknown outcome."""
    running: Deferred[Outcome] = Deferred.fromCoroutine(work)
    if running.called:
        return await running
    deadline = _Deadline(parts, ctx, running, seconds)
    try:
        return await running
    except CancelledError:
        raise _cut_off(parts, ctx, step) from None
    except QrmdError as error:
        if deadline.expired and not isinstance(error, OutcomeUnknown):
            raise OutcomeUnknown(f"cut off at its deadline: {error.message}", subject=error.subject) from error
        raise
    finally:
        deadline.end()


class _Deadline:
    """First kills the connections of calls under way; what goes on after that is given up."""

    def __init__(self, parts: Parts, ctx: StepContext, running: Deferred[Outcome], seconds: float) -> None:
        self.expired = False
        self._parts = parts
        self._ctx = ctx
        self._running = running
        self._timer: Timer = parts.clock.callLater(seconds, self._expire)

    def end(self) -> None:
        """The work has ended."""
        if self._timer.active():
            self._timer.cancel()

    def _expire(self) -> None:
        self.expired = True
        if not self._ctx.lanes:
            self._running.cancel()
            return
        for lane in set(self._ctx.lanes):
            self._parts.abort(lane)
        self._timer = self._parts.clock.callLater(GRACE, self._running.cancel)


def _cut_off(parts: Parts, ctx: StepContext, step: LiveStep) -> StepFailed:
    if not ctx.lanes:
        return OutcomeUnknown("it did not end before its deadline", subject=step.step.title)
    for lane in ctx.lanes:
        parts.lanes.abandon(lane)
    return NeverEnded(
        "a call did not end, even after its connection was killed",
        subject=", ".join(ctx.lanes),
        hint="look at the host; then workflow.retry, or skip with a reason",
    )


def _redacted(live: LiveWorkflow, parts: Parts, text: str) -> str:
    for sealed in live.sealed.values():
        text = text.replace(parts.vault.open(sealed), "<secret>")
    return text[:500]


def redact(live: LiveWorkflow, parts: Parts, fault: Mapping[str, Any]) -> dict[str, Any]:
    """A fault as the journal keeps it: no value of a secret of this workflow is in it."""
    return {key: _redacted(live, parts, value) if isinstance(value, str) else value for key, value in fault.items()}


def back_off(attempts: int) -> float:
    """Seconds until the next attempt: 0.5, 1, 2, … 60."""
    return float(min(60.0, 0.5 * 2 ** min(max(attempts - 1, 0), 10)))
