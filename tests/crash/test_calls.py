"""kill -9 inside calls: on the way into a system call, and while libvirt holds one. And the order of the syncs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qrmd.testing.datacentre import DataCentre
from qrmd.testing.journal import watch
from qrmd.testing.lab import hypervisor
from qrmd.testing.needs import require
from qrmd.testing.strikes import Asking, Point, deadly, options, settle, traced
from qrmd.testing.waiting import wait_until

require("strace")

HOLD = 0.4
"""Seconds for which a call must be held before we believe that it is."""

SYNCS = range(1, 8)
LINKS = range(1, 3)
RENAMES = range(1, 3)


def die_in(centre: DataCentre, log: Path, call: str, number: int, method: str, *arguments: object) -> int:
    """Ask while a system call is deadly; start again. Returns the workflow, 0 when none was begun."""
    daemon = centre.daemon
    with daemon.journal() as journal:
        before = journal.newest()
    with deadly(daemon, call, number, log):
        asking = Asking(daemon, method, *arguments)
        daemon.wait_killed()
    daemon.start()
    asking.answer()
    with daemon.journal() as journal:
        return journal.find(method, before)


def check_life(centre: DataCentre, appliance: int, workflow: int) -> None:
    """It goes on to its end, can be given back, and leaves nothing."""
    assert centre.daemon.wait(workflow)["state"] == "done"
    assert centre.audit()["clean"]
    centre.give_back(appliance)
    settle(centre.daemon)
    assert centre.audit()["clean"]
    assert centre.leftovers() == {}


@pytest.mark.parametrize(
    ("call", "number"),
    [
        *(("fdatasync", number) for number in SYNCS),  # of the journal: each commit is the last one
        *(("linkat", number) for number in LINKS),  # of the storage: content and owner tag get their names
        *(("/^rename", number) for number in RENAMES),  # of dnsmasq's files
    ],
)
def test_a_start_survives_death_inside_a_call(centre: DataCentre, tmp_path: Path, call: str, number: int) -> None:
    appliance = centre.add_appliance(networks=("net",) if call == "/^rename" else ())
    workflow = die_in(centre, tmp_path / "calls", call, number, "appliance.start", appliance, "", options())
    check_life(centre, appliance, workflow)


@pytest.mark.parametrize("number", range(1, 4))
def test_a_removal_survives_death_inside_a_call(centre: DataCentre, tmp_path: Path, number: int) -> None:
    appliance = centre.start_appliance(networks=())
    centre.daemon.finish("appliance.stop", appliance, {"grace_seconds": 0})
    workflow = die_in(centre, tmp_path / "calls", "/^unlink", number, "appliance.remove", appliance, options())
    assert centre.daemon.wait(workflow)["state"] == "done"
    assert centre.audit()["clean"]
    assert centre.leftovers() == {}


HELD = [Point("core.define_machine"), Point("core.power_on")]


@pytest.mark.parametrize("point", HELD, ids=lambda point: point.name)
def test_a_start_killed_while_libvirt_holds_its_call(centre: DataCentre, point: Point) -> None:
    """Libvirt gets to the call when the daemon that made it is dead, and beside the one that came after."""
    daemon, access = centre.daemon, centre.access
    appliance = centre.add_appliance(networks=())
    with daemon.journal() as journal:
        before = journal.newest()
        asking = Asking(daemon, "appliance.start", appliance, "", options())
        workflow = watch(lambda: journal.find("appliance.start", before), 30.0, "the start")
        watch(lambda: journal.step_state(workflow, point.action) == "running", 30.0, point.name)
        hypervisor.freeze_libvirtd(access)
        try:
            with pytest.raises(TimeoutError):
                wait_until(lambda: journal.step_state(workflow, point.action) != "running", timeout=HOLD)
            daemon.kill()
        finally:
            hypervisor.thaw_libvirtd(access)
    daemon.start()
    asking.answer()
    check_life(centre, appliance, workflow)


@pytest.mark.parametrize("thaw_first", [True, False], ids=["answers-before", "answers-after"])
def test_a_stop_killed_while_libvirt_holds_its_call(centre: DataCentre, *, thaw_first: bool) -> None:
    daemon, access = centre.daemon, centre.access
    appliance = centre.start_appliance(networks=())
    hypervisor.freeze_libvirtd(access)
    try:
        with daemon.journal() as journal:
            workflow = daemon.call("appliance.stop", appliance, {"grace_seconds": 0})
            state = journal.step_state
            watch(lambda: state(workflow, "core.shut_down") == "running", 30.0, "the stop")
            with pytest.raises(TimeoutError):
                wait_until(lambda: state(workflow, "core.shut_down") != "running", timeout=HOLD)
        daemon.kill()
        if thaw_first:
            hypervisor.thaw_libvirtd(access)
        daemon.start()
    finally:
        hypervisor.thaw_libvirtd(access)
    assert daemon.wait(workflow)["state"] == "done"
    daemon.finish("appliance.remove", appliance)
    assert centre.audit()["clean"]
    assert centre.leftovers() == {}


DEEDS = {
    "disk": re.compile(r'openat\(.*"\.appliance-\d+-disk0\.[^"]+\.part", .*O_CREAT'),
    "reservation": re.compile(r'openat\(.*/hosts/\.[0-9a-f-]+", .*O_CREAT'),
    "libvirt": re.compile(r"(write|sendmsg|sendto|writev)\(\d+<UNIX-STREAM"),
}
SYNC = re.compile(r"fdatasync\(\d+<[^>]*qrmd\.sqlite-wal>\)\s*= 0|fdatasync resumed.*= 0")
WAL_WRITE = re.compile(r"pwrite64\(\d+<[^>]*qrmd\.sqlite-wal>")


def test_the_intent_is_synced_before_the_deed(centre: DataCentre, tmp_path: Path) -> None:
    """The trace shows, for the first deed of each step, that all the journal wrote before it had been synced."""
    appliance = centre.add_appliance()
    log = tmp_path / "calls"
    tracer = ["-yy", "-s", "200", "--trace=openat,write,writev,sendmsg,sendto,pwrite64,fdatasync"]
    with traced(centre.daemon, tracer, log), centre.daemon.journal() as journal:
        workflow = centre.daemon.call("appliance.start", appliance)
        state = journal.step_state
        wait_until(lambda: state(workflow, "core.await_answer") == "waiting", timeout=60, what="the last step")
    centre.give_back(appliance)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    unsynced, syncs, found = 0, 0, {}
    for line in lines:
        if SYNC.search(line):
            unsynced, syncs = 0, syncs + 1
        elif WAL_WRITE.search(line):
            unsynced += 1
        else:
            for deed, pattern in DEEDS.items():
                if deed not in found and pattern.search(line) and (deed != "libvirt" or "reservation" in found):
                    found[deed] = (syncs, unsynced)
    assert set(found) == set(DEEDS), f"not all deeds were seen: {found}"
    assert all(left == 0 for _, left in found.values()), f"(syncs before, writes not synced): {found}"
    before = [found[deed][0] for deed in DEEDS]
    assert before == sorted(set(before)), f"each step's intent must have a sync of its own: {found}"
