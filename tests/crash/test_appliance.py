"""kill -9 before, during and after every step of an appliance's life, on real libvirt, storage and dnsmasq."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from qrmd.cli.connection import CallFailed
from qrmd.testing.datacentre import DataCentre
from qrmd.testing.journal import Journal
from qrmd.testing.strikes import Asking, Point, Reached, options, settle, strike, strike_workflow
from qrmd.testing.waiting import wait_until

ATTEMPTS = 6
"""A moment of a millisecond may be missed; then another appliance is taken."""

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
STOP = [
    Point("core.shut_down", "waiting"),
    Point("core.undefine_machine"),
    Point("core.undefine_machine", "running", "lab/lib/qrmd/*/*"),
    Point("dnsmasq.release"),
    Point("dnsmasq.release", "running", "dnsmasq/*/network-*/hosts/*"),
    Point("core.withdraw_disk"),
]
REMOVE = [
    Point("dnsmasq.release"),
    Point("core.remove_disk"),
    Point("core.remove_disk", "running", "volumes/.appliance-*"),
]

named = pytest.mark.parametrize


def name(point: Point) -> str:
    return point.name


def started(journal: Journal, workflow: int) -> bool:
    """Its row is there, and that is all."""
    return bool(journal.state(workflow))


def over(journal: Journal, workflow: int) -> bool:
    """The last commit has just been made."""
    return journal.state(workflow) == "done"


def wait_for_guest(journal: Journal, workflow: int) -> None:
    """Until the last step waits for the guest, which takes seconds to boot."""
    state = journal.step_state
    wait_until(lambda: state(workflow, "core.await_answer") == "waiting", timeout=30, what="the last step")


def check_nothing_left(centre: DataCentre) -> None:
    """Neither by the daemon's own audit nor by looking."""
    settle(centre.daemon)
    assert centre.audit()["clean"], centre.audit()
    assert centre.leftovers() == {}


def counts(centre: DataCentre) -> dict[str, int]:
    """How many of each kind there are outside."""
    return {kind: len(found) for kind, found in centre.leftovers().items()}


RUNNING = {"domains": 1, "guests": 1, "links": 1, "seeds": 2, "volumes": 2, "reservations": 2, "leases": 1}
STOPPED = {"volumes": 2}


def strike_start(centre: DataCentre, reached: Callable[[], Reached], hit: Callable[[str], bool]) -> tuple[int, int]:
    """Start appliances until one was struck exactly there; returns it and its workflow."""
    said = ""
    for _ in range(ATTEMPTS):
        appliance = centre.add_appliance()
        workflow, said = strike(
            centre.daemon, "appliance.start", reached(), "appliance.start", appliance, "", options()
        )
        if hit(said):
            return appliance, workflow
        centre.give_back(appliance)
    raise AssertionError(f"the moment was missed {ATTEMPTS} times: {said}")


def strike_life(centre: DataCentre, verb: str, appliance: int, reached: Reached) -> str:
    """Strike a stop or a removal; it must end as done. Returns what the journal of the dead daemon says."""
    asked = options(grace_seconds=0 if verb != "appliance.stop" else 1)
    workflow, said = strike(centre.daemon, verb, reached, verb, appliance, asked)
    found = centre.daemon.wait(workflow)
    assert found["state"] == "done", found
    return said


@named("point", START, ids=name)
def test_a_start_goes_on_after_a_kill_and_can_be_taken_back(centre: DataCentre, point: Point) -> None:
    appliance, workflow = strike_start(centre, lambda: point.reached(centre.roots), point.was_hit)
    with centre.daemon.journal() as journal:
        wait_for_guest(journal, workflow)
    centre.give_back(appliance)
    check_nothing_left(centre)


def test_a_start_killed_as_soon_as_it_is_known_is_planned_or_released(centre: DataCentre) -> None:
    appliance = centre.add_appliance(networks=())
    workflow, _ = strike(centre.daemon, "appliance.start", started, "appliance.start", appliance, "", options())
    assert centre.daemon.wait(workflow)["state"] in {"done", "undone"}
    centre.give_back(appliance)
    check_nothing_left(centre)


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
        check_nothing_left(centre)
        if point.was_hit(said):
            return
    raise AssertionError(f"the moment was missed {ATTEMPTS} times: {said}")


@named(("stop", "remove"), [(point, REMOVE[number % 3]) for number, point in enumerate(STOP)], ids=name)
def test_a_stop_and_a_removal_go_on_after_a_kill(centre: DataCentre, stop: Point, remove: Point) -> None:
    said: tuple[str, str] = ("", "")
    for _ in range(ATTEMPTS):
        appliance = centre.start_appliance()
        assert counts(centre) == RUNNING
        stopped = strike_life(centre, "appliance.stop", appliance, stop.reached(centre.roots))
        assert counts(centre) == STOPPED
        removed = strike_life(centre, "appliance.remove", appliance, remove.reached(centre.roots))
        check_nothing_left(centre)
        said = (stopped, removed)
        if stop.was_hit(stopped) and remove.was_hit(removed):
            return
    raise AssertionError(f"the moments were missed {ATTEMPTS} times: {said}")


@named("reached", [Point("core.power_on").reached({}), over], ids=["powering-on", "just-done"])
def test_a_start_killed_late_ends_with_one_guest_that_answers(centre: DataCentre, reached: Reached) -> None:
    appliance, workflow = strike_start(centre, lambda: reached, bool)
    assert centre.daemon.wait(workflow)["state"] == "done"
    assert counts(centre) == RUNNING
    assert centre.audit()["clean"]
    strike_life(centre, "appliance.stop", appliance, over)
    assert counts(centre) == STOPPED
    centre.daemon.finish("appliance.start", appliance)
    assert counts(centre) == RUNNING
    centre.daemon.finish("appliance.stop", appliance, {"grace_seconds": 0})
    strike_life(centre, "appliance.remove", appliance, over)
    check_nothing_left(centre)


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
    check_nothing_left(centre)
