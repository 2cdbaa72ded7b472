"""kill -9 inside calls: on the way into a system call, and while libvirt holds one. And the order of the syncs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qrmd.testing.datacentre import IMAGE, DataCentre
from qrmd.testing.journal import watch
from qrmd.testing.lab import hypervisor
from qrmd.testing.needs import require
from qrmd.testing.strikes import Asking, Point, deadly, options, traced
from qrmd.testing.waiting import wait_until

require("strace")

HOLD = 0.4
"""Seconds for which a call must be held before we believe that it is."""

SYNCS = range(1, 6)
"""Reserve, freeze with the first intent, one per further step that acts, the end: what follows may be one or more."""
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


START = {
    "disk": re.compile(r'openat\(.*"\.appliance-\d+-disk0\.[^"]+\.part", .*O_CREAT'),
    "reservation": re.compile(r'openat\(.*/hosts/\.[0-9a-f-]+", .*O_CREAT'),
    "libvirt": re.compile(r"(write|sendmsg|sendto|writev)\(\d+<UNIX-STREAM.*<domain"),
}
STOP = {"reservation": re.compile(r'unlink(at)?\(.*/hosts/[0-9a-f-]+"')}
REMOVE = {"disk": re.compile(r'unlink(at)?\(.*"\.appliance-\d+-disk0\.owner"')}
CLONE = {"copy": re.compile(r'openat\(.*"\.image-\d+\.[^"]+\.part", .*O_CREAT')}
CALLS = "openat,write,writev,sendmsg,sendto,pwrite64,fdatasync,unlink,unlinkat,linkat"
SYNC = re.compile(r"fdatasync\(\d+<[^>]*qrmd\.sqlite-wal>\)\s*= 0|fdatasync resumed.*= 0")
WAL_WRITE = re.compile(r"pwrite64\(\d+<[^>]*qrmd\.sqlite-wal>")


@contextmanager
def seen(centre: DataCentre, log: Path, deeds: dict[str, re.Pattern[str]]) -> Iterator[None]:
    """Check the trace of what happens inside: before the first deed of each step its intent had been synced.

    Deeds are looked for in this order. At each, something was synced since the one before, and nothing that the
    journal had written was not.
    """
    with traced(centre.daemon, ["-yy", "-s", "200", f"--trace={CALLS}"], log):
        yield
    wanted, found = list(deeds), {}
    unsynced, syncs = 0, 0
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if SYNC.search(line):
            unsynced, syncs = 0, syncs + 1
        elif WAL_WRITE.search(line):
            unsynced += 1
        elif wanted and deeds[wanted[0]].search(line):
            found[wanted.pop(0)] = (syncs, unsynced)
    assert not wanted, f"not all deeds were seen: {found}"
    assert all(left == 0 for _, left in found.values()), f"(syncs before, writes not synced): {found}"
    before = [found[deed][0] for deed in deeds]
    assert before[0] > 0
    assert before == sorted(set(before)), f"each step's intent must have a sync of its own: {found}"


def test_intents_are_synced_before_the_deeds(centre: DataCentre, tmp_path: Path) -> None:
    daemon, appliance = centre.daemon, centre.add_appliance()
    with seen(centre, tmp_path / "start", START):
        daemon.finish("appliance.start", appliance)
    with seen(centre, tmp_path / "stop", STOP):
        daemon.finish("appliance.stop", appliance, {"grace_seconds": 0})
    with seen(centre, tmp_path / "remove", REMOVE):
        daemon.finish("appliance.remove", appliance)
    with seen(centre, tmp_path / "clone", CLONE):
        daemon.finish("image.clone", IMAGE, "copy")
    daemon.finish("image.remove", "copy")
