"""kill -9 before, during and after every step of a stop, a restart and a removal, on the real components."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from qrmd.testing.datacentre import DataCentre
from qrmd.testing.journal import Journal
from qrmd.testing.lab.processes import is_alive, send, track
from qrmd.testing.strikes import ATTEMPTS, Asking, Point, options, strike, strike_again, uncovered
from qrmd.testing.waiting import wait_until

POWER = [
    Point("core.shut_down", "waiting"),
    Point("core.shut_down", "waiting", "lab/run/qemu/*.pid"),
]
STOP = [
    *POWER,
    Point("core.undefine_machine"),
    Point("core.undefine_machine", "running", "lab/lib/qrmd/*/*"),
    Point("core.undefine_machine", "running", "lab/etc/qemu/*.xml"),
    Point("core.withdraw_disk"),
]
RELEASE = [
    Point("dnsmasq.release"),
    Point("dnsmasq.release", "running", "dnsmasq/*/network-*/hosts/*"),
    Point("dnsmasq.release", "waiting", "dnsmasq/*/network-*/leases"),
]
REMOVE = [
    Point("dnsmasq.release"),
    Point("core.remove_disk"),
    Point("core.remove_disk", "running", "volumes/.appliance-*"),
    Point("core.remove_disk", "running", "volumes/appliance-*"),
]
RESTART = [
    *POWER,
    Point("core.provide_disk"),
    Point("core.define_again"),
    Point("core.power_again"),
    Point("core.power_again", "running", "lab/run/qemu/*.pid"),
    Point("core.await_answer", "waiting"),
]
STOPPED = {"volumes": 2}

named = pytest.mark.parametrize


def name(point: Point) -> str:
    return point.name if point.action else "just-done"


def counts(centre: DataCentre) -> dict[str, int]:
    """How many of each kind there are outside."""
    return {kind: len(found) for kind, found in centre.leftovers().items()}


def over(journal: Journal, workflow: int) -> bool:
    return journal.state(workflow) == "done"


END = Point("")


def strike_until(centre: DataCentre, verb: str, prepare: Callable[[], int], point: Point) -> int:
    """Strike what a verb begins on prepared appliances until it was struck there; it must end as done.

    Returns the appliance that was struck. ``END``: when all is done.
    """
    said = ""
    for _ in range(ATTEMPTS):
        appliance = prepare()
        grace = {} if verb == "appliance.remove" else {"grace_seconds": int(point in POWER)}
        asked = options(**grace)
        reached = over if point is END else point.reached(centre.roots)
        workflow, said = strike(centre.daemon, verb, reached, verb, appliance, asked)
        found = centre.daemon.wait(workflow)
        assert found["state"] == "done", found
        if point is END or point.was_hit(said):
            return appliance
        if verb == "appliance.stop":
            centre.give_back(appliance)
    raise AssertionError(f"the moment was missed {ATTEMPTS} times: {said}")


def plain(centre: DataCentre) -> Callable[[], int]:
    """Starts appliances without a network card, so that nobody waits for a guest to boot."""
    return lambda: centre.start_appliance(networks=())


def test_each_step_has_its_moments(centre: DataCentre) -> None:
    """The plans say which steps there are. A directory has nothing to withdraw, a stop leaves nothing to release."""
    daemon, appliance = centre.daemon, centre.start_appliance()

    def actions(verb: str) -> list[str]:
        plan = daemon.call(verb, appliance, {"dry_run": True})
        return [each["action"] for each in plan["steps"]]

    assert uncovered(actions("appliance.stop"), STOP + RELEASE, quiet={"core.withdraw_disk"}) == []
    seen_only = {"core.await_answer", "core.provide_disk", "core.define_again"}  # nothing is done while all is there
    assert uncovered(actions("appliance.restart"), RESTART, quiet=seen_only) == []
    check_restart(centre, appliance, RESTART[-1])
    daemon.finish("appliance.stop", appliance, {"grace_seconds": 0})
    assert uncovered(actions("appliance.remove"), REMOVE, quiet={"dnsmasq.release"}) == []
    centre.give_back(appliance)


def check_restart(centre: DataCentre, appliance: int, point: Point) -> None:
    """Struck there it has one guest at the same address in the end."""
    shown, there = centre.daemon.call("appliance.get", appliance), counts(centre)
    strike_until(centre, "appliance.restart", lambda: appliance, point)
    assert counts(centre) == there
    again = centre.daemon.call("appliance.get", appliance)
    assert (again["state"], again["nics"]) == ("active", shown["nics"])


def test_a_restart_goes_on_after_a_kill(centre: DataCentre) -> None:
    """One appliance without a network card, restarted again and again."""
    appliance = centre.start_appliance(networks=())
    for point in [*RESTART[:-1], END]:
        check_restart(centre, appliance, point)
    centre.give_back(appliance)


@named("point", [*STOP, END], ids=name)
def test_a_stop_goes_on_after_a_kill(centre: DataCentre, point: Point) -> None:
    stopped = strike_until(centre, "appliance.stop", plain(centre), point)
    assert counts(centre) == STOPPED
    centre.daemon.finish("appliance.start", stopped)
    centre.give_back(stopped)


@named("point", RELEASE, ids=name)
def test_a_release_goes_on_after_a_kill_and_so_does_the_removal(centre: DataCentre, point: Point) -> None:
    stopped = strike_until(centre, "appliance.stop", centre.start_appliance, point)
    assert counts(centre) == STOPPED
    again = Point("dnsmasq.release").reached({})
    workflow, _ = strike(centre.daemon, "appliance.remove", again, "appliance.remove", stopped, options())
    assert centre.daemon.wait(workflow)["state"] == "done"
    assert centre.leftovers() == {}


def test_a_lease_whose_release_was_sent_and_never_taken_is_released_again(centre: DataCentre) -> None:
    """dnsmasq stands still, so that what we sent lies unread when the daemon dies, and dnsmasq with it."""
    daemon, appliance = centre.daemon, centre.start_appliance()
    (file,) = centre.roots["dnsmasq"].glob("*/network-*/pid")
    server = track(int(file.read_text()))
    assert server is not None
    with daemon.journal() as journal:
        before = journal.newest()
        asking = Asking(daemon, "appliance.stop", appliance, options(grace_seconds=1))
        wait_until(lambda: journal.find("appliance.stop", before), timeout=30, what="the stop")
        workflow = journal.find("appliance.stop", before)
        send(server, signal.SIGSTOP)
        notes = journal.steps
        wait_until(
            lambda: any("the lease of" in each.note for each in notes(workflow) if each.action == "dnsmasq.release"),
            timeout=60,
            what="the release to be sent",
        )
    assert {"leases"} <= set(counts(centre))
    daemon.kill()
    wait_until(lambda: not is_alive(server), timeout=20, what="the end of dnsmasq")
    daemon.start()
    assert asking.answer() == workflow
    assert daemon.wait(workflow)["state"] == "done"
    assert counts(centre) == STOPPED
    centre.give_back(appliance)


@named("point", [*REMOVE[1:], END], ids=name)
def test_a_removal_goes_on_after_a_kill(centre: DataCentre, point: Point) -> None:
    def stopped() -> int:
        appliance = centre.start_appliance(networks=())
        centre.daemon.finish("appliance.stop", appliance, {"grace_seconds": 0})
        return appliance

    strike_until(centre, "appliance.remove", stopped, point)
    assert centre.leftovers() == {}


def test_a_stop_killed_twice_in_a_row_goes_on(centre: DataCentre) -> None:
    daemon, appliance = centre.daemon, centre.start_appliance(networks=())
    workflow = daemon.call("appliance.stop", appliance, {"grace_seconds": 1})
    with daemon.journal() as journal:
        wait_until(lambda: journal.step_state(workflow, "core.shut_down") == "waiting", timeout=30, what="the stop")
    daemon.kill()
    strike_again(daemon, workflow, "core.undefine_machine")
    daemon.start()
    assert daemon.wait(workflow)["state"] == "done"
    assert counts(centre) == STOPPED
    centre.give_back(appliance)
