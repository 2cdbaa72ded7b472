"""What events of the core do to meters: once each, at the time of the event, also when they come late."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from qrmd.api import Event, Severity, now_us
from qrmd_cloud import billing, decisions
from qrmd_cloud.money import MICRO
from qrmd_cloud.observer import Observer
from qrmd_cloud.states import RequestState
from qrmd_cloud.store import bills, ledger, meter, requests, servers
from qrmd_cloud.testing import HOUR, Town


class Story:
    """One active server and the events about its appliance."""

    def __init__(self, town: Town, began: int) -> None:
        self.town = town
        self.user = town.user()
        self.request = town.active(self.user, began)
        (self.server,) = town.do(servers.of_request, self.request)
        self.observer = Observer(SimpleNamespace(now=town.rules))  # type: ignore[arg-type]
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.last = 1000

    def tell(self, target: str, at: int, subject: str = "", again: bool = False) -> None:
        self.last += not again
        subject = subject or f"appliance:{self.server.appliance_id}"
        event = Event(self.last, at, "x.y", Severity.INFO, "system", "", subject, None, {"to": target})
        self.town.do(lambda db: self.observer.see(event, db, lambda *given: self.asked.append(given)))

    def billed(self, until: int) -> int:
        self.town.do(bills.settle, self.request, until, self.town.rules, whole=True)
        return self.town.do(ledger.billed, self.request)

    def intervals(self) -> tuple[billing.Interval, ...]:
        return billing.intervals(self.town.do(meter.marks, self.server.id))


@pytest.mark.parametrize("fault", ["error", "paused", "failing_over"])
def test_time_down_by_our_fault_is_not_billed(town: Town, fault: str) -> None:
    now = now_us()
    story = Story(town, now - 4 * HOUR)
    story.tell(fault, now - 3 * HOUR)
    assert town.do(servers.get, story.server.id).state == "faulty"
    story.tell("active", now - HOUR)
    assert town.do(servers.get, story.server.id).state == "active"
    assert story.billed(now) == 2 * 4 * MICRO


def test_billing_ends_when_the_stop_is_accepted(town: Town) -> None:
    now = now_us()
    story = Story(town, now - 2 * HOUR)
    story.tell("stopping", now - HOUR)
    story.tell("stopped", now)
    assert story.billed(now) == 4 * MICRO
    assert story.intervals()[-1].end == now - HOUR


def test_a_restart_is_billed_through(town: Town) -> None:
    now = now_us()
    story = Story(town, now - 2 * HOUR)
    for target in ("restarting", "active", "migrating", "active"):
        story.tell(target, now - HOUR)
    assert story.billed(now) == 2 * 4 * MICRO


def test_an_event_seen_again_marks_nothing(town: Town) -> None:
    now = now_us()
    story = Story(town, now - HOUR)
    story.tell("error", now)
    before = town.do(meter.marks, story.server.id)
    story.tell("error", now, again=True)
    assert town.do(meter.marks, story.server.id) == before


def test_an_event_that_comes_late_is_refunded(town: Town) -> None:
    now = now_us()
    story = Story(town, now - 4 * HOUR)
    assert story.billed(now) == 16 * MICRO
    story.tell("error", now - HOUR)
    assert town.do(ledger.billed, story.request) == 12 * MICRO
    assert town.do(ledger.balance, story.user) == 988 * MICRO


def test_an_undone_try_is_no_news_for_the_queue(town: Town) -> None:
    story = Story(town, now_us() - HOUR)
    waiting = town.order(story.user)
    town.approve(waiting)
    (server,) = town.do(servers.of_request, waiting)
    town.do(requests.move, waiting, RequestState.PROVISIONING)
    town.do(servers.note_appliance, server.id, 777, now_us())
    story.tell("removed", now_us(), "appliance:777")
    town.do(requests.move, waiting, RequestState.NO_RESOURCE)
    town.do(lambda db: servers.reset(db, servers.get(db, server.id), now_us(), "undone"))
    story.tell("removed", now_us(), "appliance:777")
    assert story.asked == []
    story.tell("stopped", now_us())
    story.tell("removed", now_us(), "appliance:5")
    story.tell("up", now_us(), "host:1")
    assert [verb for verb, _ in story.asked] == ["cloud.queue.advance"] * 3


def test_the_oldest_approved_has_its_turn_first_and_one_at_a_time(town: Town) -> None:
    user = town.user(ccus=10_000)
    idents = [town.order(user) for _ in range(3)]
    for ident in (idents[1], idents[2], idents[0]):
        town.approve(ident)
    first = town.do(requests.next_waiting, now_us(), HOUR)
    assert first is not None
    assert first.id == idents[1]
    town.do(requests.move, first.id, RequestState.PROVISIONING)
    town.do(requests.put, first.id, placing=1)
    assert town.do(requests.next_waiting, now_us(), HOUR) is None
    town.do(requests.put, first.id, placing=0)
    second = town.do(requests.next_waiting, now_us(), HOUR)
    assert second is not None
    assert second.id == idents[2]


def test_nobody_passes_an_older_one_that_asks_for_no_more(town: Town) -> None:
    user = town.user(ccus=10_000)
    older, equal, smaller = town.order(user), town.order(user), town.order(user, memory_mb=128)
    for ident in (older, equal, smaller):
        town.approve(ident)
    now = now_us()
    town.do(requests.move, older, RequestState.NO_RESOURCE)
    town.do(requests.put, older, tried_at=now, explanation={"message": "h1 is full"})
    assert town.do(requests.hopeless, now) == [(equal, older)]
    town.do(decisions.line_up, equal, older)
    lined = town.do(requests.get, equal)
    assert lined.state == "no_resource"
    assert "h1 is full" in lined.explanation["message"]
    assert town.do(ledger.hold_of, equal) == 0
    found = town.do(requests.next_waiting, now, HOUR)
    assert found is not None
    assert found.id == smaller
    town.do(requests.note_free, now_us() + 1)
    found = town.do(requests.next_waiting, now_us(), HOUR)
    assert found is not None
    assert found.id == older


def test_what_found_no_resource_waits_for_news_or_for_the_slow_timer(town: Town) -> None:
    ident, now = town.order(town.user()), now_us()
    town.approve(ident)
    town.do(requests.move, ident, RequestState.NO_RESOURCE)
    town.do(requests.put, ident, tried_at=now)
    assert town.do(requests.next_waiting, now + 1, HOUR) is None
    assert town.do(requests.next_waiting, now + HOUR, HOUR) is not None
    town.do(requests.note_free, now - 1)
    assert town.do(requests.next_waiting, now + 1, HOUR) is None
    town.do(requests.note_free, now + 1)
    assert town.do(requests.next_waiting, now + 1, HOUR) is not None
