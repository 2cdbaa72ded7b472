"""One attempt of a step: act, watch the deadline, and say what came of it."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Coroutine, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from qrmd.clock import SECOND, now_us
from qrmd.errors import OutcomeUnknown, PluginFault, QrmdError, StepFailed
from qrmd.store.rows import dump
from qrmd.timers import Timer
from qrmd.workflow.action import Action, Again, Done, Outcome
from qrmd.workflow.context import StepContext
from qrmd.workflow.live import LiveStep, LiveWorkflow
from qrmd.workflow.parts import Parts

log = logging.getLogger(__name__)

LEAST = 0.05
"""Seconds that an attempt gets at least."""
LONGEST_FAULT = 500


class NeverEnded(StepFailed):
    """A call went on after its connection was killed: neither undo nor retry is safe."""


async def act(parts: Parts, live: LiveWorkflow, step: LiveStep, action: Action, *, undo: bool) -> Outcome:
    """Call ``do`` or ``undo`` once.

    Raises:
        QrmdError: what the action raised; anything else, and any other answer than an outcome, is a ``PluginFault``.
        OutcomeUnknown: the deadline cut it off, and its calls have ended.
        NeverEnded: the deadline cut it off, and a call is still going on.
    """
    ctx = StepContext(parts, live, step)
    try:
        work = action.undo(ctx, step.step.args) if undo else action.do(ctx, step.step.args)
        return _checked(parts, live, step, await _within(parts, ctx, work, _left(step), step))
    except QrmdError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a plugin raises is its fault, not the daemon's
        shown = redact(live, parts, "".join(traceback.format_exception(error)), limit=10_000)
        log.error("workflow %d: %s: %s", live.id, step.step.action, shown)  # noqa: TRY400 - its own, redacted traceback
        raise PluginFault(
            f"{step.step.action} raised {type(error).__name__}: {redact(live, parts, str(error))}",
            subject=f"plugin:{step.step.plugin}",
        ) from None


def _left(step: LiveStep) -> float:
    """Seconds until its deadline."""
    return max((step.deadline - now_us()) / SECOND, LEAST)


def _checked(parts: Parts, live: LiveWorkflow, step: LiveStep, outcome: Any) -> Outcome:
    """An outcome that can be kept: JSON, as it is read again after a restart, and no value of a secret in it.

    A wish to wait beyond the deadline is one to wait until then.
    """
    match outcome:
        case Done(result=result):
            if not result:
                return outcome
            kept = json.loads(dump(result))
            return Done(redact(live, parts, kept, limit=None) if live.sealed else kept)
        case Again(after=after, note=note):
            return Again(min(float(after), _left(step)), redact(live, parts, note))
        case _:
            raise TypeError(f"it returned {type(outcome).__name__}, neither Done nor Again")


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
        begun = {job.lane for job in self._ctx.jobs if not self._parts.lanes.withdraw(job) and not job.over}
        if not begun:
            self._running.cancel()
            return
        for lane in begun:
            self._parts.abort(lane)
        self._timer = self._parts.clock.callLater(self._parts.pacing.grace, self._running.cancel)


def _cut_off(parts: Parts, ctx: StepContext, step: LiveStep) -> StepFailed:
    going_on = [job for job in ctx.jobs if not job.over]
    if not going_on:
        return OutcomeUnknown("it did not end before its deadline", subject=step.step.title)
    for job in going_on:
        parts.lanes.abandon(job)
    return NeverEnded(
        "a call did not end, even after its connection was killed",
        subject=", ".join(sorted({job.lane for job in going_on})),
        hint="look at the host; then workflow.retry, or skip with a reason",
    )


def redact(live: LiveWorkflow, parts: Parts, value: Any, *, limit: int | None = LONGEST_FAULT) -> Any:
    """A JSON value as the journal and the log keep it: no value of a secret of this workflow is in it.

    Args:
        limit: longest text in characters.
    """
    values = [text for sealed in live.sealed.values() if (text := parts.vault.open(sealed))]
    return _without(values, value, limit)


def _without(secrets: list[str], value: Any, limit: int | None) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, "<secret>")
        return value[:limit]
    if isinstance(value, Mapping):
        return {str(_without(secrets, key, limit)): _without(secrets, each, limit) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without(secrets, each, limit) for each in value]
    return value
