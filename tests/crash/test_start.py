"""kill -9 before, during and after every step of a start and of its undo, on real libvirt, storage and dnsmasq."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from qrmd.cli.connection import CallFailed
from qrmd.testing.datacentre import DataCentre
from qrmd.testing.journal import Journal, watch
from qrmd.testing.strikes import (
    ATTEMPTS,
    Asking,
    Point,
    Reached,
    options,
    strike,
    strike_again,
    strike_workflow,
    uncovered,
)
from qrmd.testing.waiting import wait_until

START = [
    Point("core.provide_disk"),
    Point("core.provide_disk", "running", "volumes/.appliance-*.part"),
    Point("core.provide_disk", "running", "volumes/appliance-*"),
    Point("dnsmasq.reserve"),
    Point("dnsmasq.reserve", "running", "dnsmasq/*/network-*/names/*"),
    Point("dnsmasq.reserve", "running", "dnsmasq/*/network-*/hosts/*"),
    Point("core.define_machine"),
    Point("core.define_machine", "running", "lab/lib/qrmd/*/*.iso"),
    Point("core.define_machine", "running", "lab/etc/qemu/*.xml"),
    Point("core.power_on"),
    Point("core.power_on", "running", "lab/run/qemu/*.pid"),
    Point("core.await_answer", "waiting"),
    Point("core.await_answer", "waiting", "dnsmasq/*/network-*/leases"),
]
UNDO = [
    Point("core.await_answer", "undoing"),
    Point("core.power_on", "undoing"),
    Point("core.power_on", "undoing", "lab/run/qemu/*.pid"),
    Point("core.define_machine", "undoing"),
    Point("core.define_machine", "undoing", "lab/lib/qrmd/*/*.iso"),
    Point("dnsmasq.reserve", "undoing"),
    Point("dnsmasq.reserve", "undoing", "dnsmasq/*/network-*/hosts/*"),
    Point("core.provide_disk", "undoing"),
    Point("core.provide_disk", "undoing", "volumes/.appliance-*.owner"),
]
RUNNING = {"domains": 1, "guests": 1, "links": 1, "seeds": 2, "volumes": 2, "reservations": 2, "leases": 1}

named = pytest.mark.parametrize


def name(point: Point) -> str:
    return point.name


def over(journal: Journal, workflow: int) -> bool:
    """The last commit has just been made."""
    return journal.state(workflow) == "done"


def wait_for_guest(journal: Journal, workflow: int) -> None:
    """Until the last step waits for the guest, which takes seconds to boot."""
    state = journal.step_state
    wait_until(lambda: state(workflow, "core.await_answer") == "waiting", timeout=30, what="the last step")


def strike_start(centre: DataCentre, reached: Callable[[], Reached], hit: Callable[[str], bool]) -> tuple[int, int]:
    """Start appliances until one was struck exactly there; returns it and its workflow."""
    said = ""
    for _ in range(ATTEMPTS):
        appliance = centre.add_appliance()
        asked = ("appliance.start", appliance, "", options())
        workflow, said = strike(centre.daemon, "appliance.start", reached(), *asked)
        if hit(said):
            return appliance, workflow
        centre.give_back(appliance)
    raise AssertionError(f"the moment was missed {ATTEMPTS} times: {said}")


def test_each_step_of_a_start_has_its_moments(centre: DataCentre) -> None:
    """The plan says which steps there are: one that is new, and is not struck here, is found."""
    appliance = centre.add_appliance()
    plan = centre.daemon.call("appliance.start", appliance, "", {"dry_run": True})
    actions = [each["action"] for each in plan["steps"]]
    assert len(actions) >= 5
    assert uncovered(actions, START) == []
    assert uncovered(actions, UNDO, quiet={"core.await_answer"}) == []
    assert uncovered(["a.b"], START) == ["a.b: intent", "a.b: deed"]
    centre.daemon.finish("appliance.remove", appliance)


@named("point", START, ids=name)
def test_a_start_goes_on_after_a_kill_and_can_be_taken_back(centre: DataCentre, point: Point) -> None:
    appliance, workflow = strike_start(centre, lambda: point.reached(centre.roots), point.was_hit)
    with centre.daemon.journal() as journal:
        wait_for_guest(journal, workflow)
    centre.give_back(appliance)


@named("action", ["core.provide_disk", "core.power_on"])
def test_a_start_killed_twice_in_a_row_goes_on(centre: DataCentre, action: str) -> None:
    hit = False
    for _ in range(ATTEMPTS):
        if hit:
            return
        appliance = centre.add_appliance()
        workflow, hit = strike_twice(centre, appliance, Point(action))
        with centre.daemon.journal() as journal:
            wait_for_guest(journal, workflow)
        centre.give_back(appliance)
    assert hit, f"the moment was missed {ATTEMPTS} times"


def strike_twice(centre: DataCentre, appliance: int, point: Point) -> tuple[int, bool]:
    """The second time when the step is taken up anew. Returns the workflow, and whether both met it."""
    daemon = centre.daemon
    with daemon.journal() as journal:
        before = journal.newest()
        asking = Asking(daemon, "appliance.start", appliance, "", options())
        workflow = watch(lambda: journal.find("appliance.start", before), 30.0, "the start")
        first = strike_workflow(daemon, journal, workflow, point.reached({}))
    second = strike_again(daemon, workflow, point.action)
    daemon.start()
    with suppress(CallFailed):  # its second death may have met the call
        assert asking.answer() == workflow
    return workflow, point.was_hit(first) and point.was_hit(second)


@named("point", UNDO, ids=name)
def test_an_undo_goes_on_after_a_kill(centre: DataCentre, point: Point) -> None:
    daemon, said = centre.daemon, ""
    for _ in range(ATTEMPTS):
        appliance = centre.add_appliance()
        workflow = daemon.call("appliance.start", appliance)
        with daemon.journal() as journal:
            wait_for_guest(journal, workflow)
            reached = point.reached(centre.roots)
            asking = Asking(daemon, "workflow.cancel", workflow, options())
            said = strike_workflow(daemon, journal, workflow, reached)
        daemon.start()
        with suppress(CallFailed):  # asked again, it has ended
            asking.answer()
        assert daemon.wait(workflow)["state"] == "undone"
        daemon.finish("appliance.remove", appliance)
        if point.was_hit(said):
            return
    raise AssertionError(f"the moment was missed {ATTEMPTS} times: {said}")


def counts(centre: DataCentre) -> dict[str, int]:
    """How many of each kind there are outside."""
    return {kind: len(found) for kind, found in centre.leftovers().items()}


def test_a_start_killed_as_it_ends_has_one_guest_that_answers(centre: DataCentre) -> None:
    appliance, workflow = strike_start(centre, lambda: over, bool)
    assert centre.daemon.wait(workflow)["state"] == "done"
    assert counts(centre) == RUNNING
    assert centre.audit()["clean"]
    centre.give_back(appliance)


def test_a_planted_orphan_is_counted(centre: DataCentre) -> None:
    """The control: what these tests find nothing of, they would find."""
    appliance = centre.start_appliance(networks=())
    planted = next(path for path in centre.storage.glob("appliance-*"))
    for suffix, source in (("", planted), (".owner", planted.with_name(f".{planted.name}.owner"))):
        target = centre.storage / (f".orphan{suffix}" if suffix else "orphan")
        target.write_bytes(source.read_bytes())
    centre.give_back(appliance)
    assert centre.leftovers() == {"volumes": [str(centre.storage / name) for name in (".orphan.owner", "orphan")]}
    assert [each["external_id"] for each in centre.audit()["orphaned"]] == ["orphan"]
    centre.daemon.call("audit.leftovers", {"action": "remove", "reason": "planted"})
