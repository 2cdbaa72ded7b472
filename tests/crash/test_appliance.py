"""kill -9 before, during and after every step of an appliance's life, on real libvirt, storage and dnsmasq."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from qrmd.testing.datacentre import DataCentre
from qrmd.testing.journal import Journal
from qrmd.testing.strikes import Reached, options, settle, strike
from qrmd.testing.waiting import wait_until

ATTEMPTS = 6
"""A moment of a millisecond may be missed; then another appliance is taken."""


class Point(NamedTuple):
    """Where to strike: a step, and what is to be seen while it is in ``state``.

    ``evidence`` is a pattern of files below the centre's directories ("" for none): the deed, done or half done.
    """

    action: str
    state: str = "running"
    evidence: str = ""

    @property
    def name(self) -> str:
        return f"{self.action}-{self.state}" + ("-deed" if self.evidence else "")


def at(centre: DataCentre, point: Point) -> Reached:
    """Asks journal and files."""
    roots = {
        "volumes": centre.storage,
        "lab": centre.access.state_dir,
        "dnsmasq": centre.daemon.state_dir / "plugins/dnsmasq",
    }
    root, _, pattern = point.evidence.partition("/")
    before = set(roots[root].glob(pattern)) if pattern else set()

    def reached(journal: Journal, workflow: int) -> bool:
        if journal.step_state(workflow, point.action) != point.state:
            return False
        return not pattern or set(roots[root].glob(pattern)) != before

    return reached


START = [
    Point("core.provide_disk"),
    Point("core.provide_disk", "running", "volumes/.appliance-*.part"),
    Point("core.provide_disk", "running", "volumes/appliance-*"),
    Point("dnsmasq.reserve"),
    Point("dnsmasq.reserve", "running", "dnsmasq/*/network-*/hosts/*"),
    Point("core.define_machine"),
    Point("core.define_machine", "running", "lab/lib/qrmd/*/*.iso"),
    Point("core.define_machine", "running", "lab/etc/qemu/*.xml"),
    Point("core.power_on"),
    Point("core.power_on", "running", "lab/run/qemu/*.pid"),
    Point("core.await_answer", "waiting"),
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


def give_back(centre: DataCentre, appliance: int) -> None:
    """Stop (which undoes a start under way) and remove."""
    daemon = centre.daemon
    state = daemon.call("appliance.get", appliance)["state"]
    if state != "stopped":
        daemon.wait(daemon.call("appliance.stop", appliance, {"grace_seconds": 0}))
    daemon.finish("appliance.remove", appliance)


def check_nothing_left(centre: DataCentre) -> None:
    """Neither by the daemon's own audit nor by looking."""
    settle(centre.daemon)
    assert centre.audit()["clean"], centre.audit()
    assert centre.leftovers() == {}


def strike_appliance(centre: DataCentre, point: Point, networks: tuple[str, ...] = ("net",)) -> tuple[int, int]:
    """Start appliances until one was struck exactly there; returns it and its workflow."""
    for _ in range(ATTEMPTS):
        appliance = centre.add_appliance(networks=networks)
        workflow, said = strike(
            centre.daemon, "appliance.start", at(centre, point), "appliance.start", appliance, "", options()
        )
        if f"{point.action}={point.state}" in said:
            return appliance, workflow
        give_back(centre, appliance)
    raise AssertionError(f"no daemon died at {point}: {said}")


@pytest.mark.parametrize("point", START, ids=lambda point: point.name)
def test_a_start_goes_on_after_a_kill_and_can_be_taken_back(centre: DataCentre, point: Point) -> None:
    appliance, workflow = strike_appliance(centre, point)
    with centre.daemon.journal() as journal:
        wait_until(lambda: journal.step_state(workflow, "core.await_answer"), timeout=30, what="the last step")
    give_back(centre, appliance)
    check_nothing_left(centre)
