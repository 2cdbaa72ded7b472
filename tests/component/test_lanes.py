"""Lanes: threads that come and go, calls that are withdrawn, abandoned and capped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import pytest
from twisted.internet.defer import Deferred

from qrmd.errors import Unavailable
from qrmd.testing.loop import Loop
from qrmd.threads import ABANDONED_LIMIT, Job, Lanes


@pytest.fixture
def lanes(loop: Loop) -> Iterator[Lanes]:
    made = Lanes(loop.deliver, idle=0.05)
    yield made
    made.stop()


async def ask(lanes: Lanes, lane: str, value: int) -> int:
    return await lanes.call(lane, int, value)


def begun(job: Job) -> bool:
    return job.began > 0


def fired(waiting: Deferred[int]) -> bool:
    return bool(waiting.called)


def test_an_idle_lane_gives_its_thread_back_and_works_again(lanes: Lanes, loop: Loop) -> None:
    for number in range(100):
        assert loop.run(ask(lanes, f"host:{number}", number)) == number
    loop.run_until(lambda: lanes.threads == 0)
    assert loop.run(ask(lanes, "host:1", 7)) == 7


def test_a_queued_call_is_withdrawn_and_never_runs(lanes: Lanes, loop: Loop) -> None:
    gate, ran = threading.Event(), threading.Event()
    hung = lanes.submit("x", gate.wait, 10)
    loop.run_until(lambda: hung.began > 0)
    queued = lanes.submit("x", ran.set)
    queued.finished.addErrback(lambda _failure: None)
    queued.finished.cancel()
    assert not lanes.withdraw(hung)
    gate.set()
    loop.run_until(lambda: hung.finished.called)
    assert loop.run(ask(lanes, "x", 1)) == 1
    assert not ran.is_set()


def test_abandoned_calls_free_their_lane_and_are_capped(lanes: Lanes, loop: Loop) -> None:
    gate = threading.Event()
    for number in range(ABANDONED_LIMIT):
        job = lanes.submit("x", gate.wait, 30)
        loop.run_until(partial(begun, job))
        waiting = lanes.call("x", int, number)
        lanes.abandon(job)
        loop.run_until(partial(fired, waiting))
    assert lanes.abandoned == ABANDONED_LIMIT
    with pytest.raises(Unavailable, match="never ended"):
        lanes.call("y", int, 1)
    gate.set()
    loop.run_until(lambda: lanes.abandoned == 0)
    assert loop.run(ask(lanes, "x", 1)) == 1
