"""A real host that is lost and declared off: what is owed there, what is refused meanwhile, and how it comes back."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qrmd.process import run
from qrmd.testing.daemon import ENDED
from qrmd.testing.datacentre import HOST, DataCentre
from qrmd.testing.lab import LabAccess, hypervisor
from qrmd.testing.lab.processes import Tracked, describe, find, is_alive, send
from qrmd.testing.waiting import wait_until

SURE = {"reason": "I have pulled its plug"}
AT_HOST = ("domains", "guests", "links", "seeds")
NOW = {"grace_seconds": 0}
REASONS = ("its machine ended without an order", "its machine is not known to its host any more")


@pytest.fixture(autouse=True)
def _mended(centre: DataCentre) -> Iterator[None]:
    """Whatever happens, libvirt is back for the next test."""
    yield
    power_up(centre.access)


def guests(access: LabAccess) -> list[Tracked]:
    """Its QEMU processes."""
    return [each for each in find(access.name) if "qemu-system" in describe(each)]


def cut_power(access: LabAccess) -> None:
    """The hypervisor and all its guests are gone at once."""
    hypervisor.kill_libvirtd(access)
    killed = guests(access)
    for each in killed:
        send(each, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, killed)), timeout=30, what="the end of the guests")


def power_up(access: LabAccess) -> None:
    hypervisor.thaw_libvirtd(access)
    hypervisor.restart_libvirtd(access)


def state(centre: DataCentre, noun: str, ref: int | str) -> str:
    return str(centre.daemon.call(f"{noun}.get", ref)["state"])


def declare(centre: DataCentre, appliance: int) -> None:
    """The host is declared off, and with it what ran there."""
    assert centre.daemon.call("host.declare_fenced", HOST, SURE)["state"] == "fenced"
    assert (state(centre, "host", HOST), state(centre, "appliance", appliance)) == ("fenced", "error")


def owed(centre: DataCentre) -> list[str]:
    return [each["title"].partition(" ")[0] for each in centre.daemon.call("host.get", HOST)["owed"]]


def check_refusals(centre: DataCentre, appliance: int) -> None:
    """Nothing is started on a fenced host: neither what is there, nor anything new."""
    for asked in (("appliance.start", appliance), ("appliance.restart", appliance, NOW)):
        refused = centre.daemon.fault(*asked)
        assert refused.code == 409
        assert f"its machine is on host {HOST}, which is fenced" in str(refused)
        assert "stop it" in str(refused)
    other = centre.add_appliance(networks=())
    assert "hosts fits" in str(centre.daemon.fault("appliance.start", other))
    centre.daemon.finish("appliance.remove", other)


@pytest.fixture
def local(centre: DataCentre, tmp_path: Path) -> Iterator[Path]:
    """The directory of a storage that only the host reaches, with an image ``near`` on it."""
    path = tmp_path / "local"
    path.mkdir()
    daemon = centre.daemon
    daemon.call("storage.add", {"name": "local", "location": str(path), "host": HOST})
    daemon.finish("image.import", {"name": "near", "storage": "local", "path": str(centre.access.micro_image)})
    yield path
    daemon.finish("image.remove", "near")
    assert list(path.iterdir()) == []
    daemon.call("storage.remove", "local")


def test_what_ran_on_a_silent_host_is_taken_away_when_it_is_admitted(centre: DataCentre, local: Path) -> None:
    """The worst case: it was never off. Its guest ran on, and is ended before the host counts again."""
    daemon, files = centre.daemon, set(local.iterdir())
    appliance = centre.start_appliance(image="near")
    ran, [guest] = centre.leftovers(), guests(centre.access)
    volumes = set(local.iterdir()) - files
    assert set(ran) == {*AT_HOST, "reservations", "leases"}
    assert volumes
    hypervisor.freeze_libvirtd(centre.access)
    declare(centre, appliance)
    check_refusals(centre, appliance)
    removed = daemon.finish("appliance.remove", appliance, NOW)
    states = {each["action"]: each["state"] for each in removed["steps"]}
    at_host = ("core.shut_down", "core.undefine_machine", "core.withdraw_disk", "core.remove_disk")
    assert [states.pop(each) for each in at_host] == ["owed"] * 4
    assert set(states.values()) == {"done"}, "addresses are given back by ourselves"
    assert owed(centre) == ["shut", "forget", "withdraw", "remove"]
    assert "host" in {each["place"].partition(":")[0] for each in centre.audit()["unknown"]}
    refused = daemon.fault("host.admit", HOST)
    assert state(centre, "host", HOST) == "fenced", refused

    hypervisor.thaw_libvirtd(centre.access)
    assert {kind: centre.leftovers().get(kind) for kind in AT_HOST} == {kind: ran[kind] for kind in AT_HOST}
    assert is_alive(guest)
    assert set(local.iterdir()) == files | volumes, "nothing was touched"
    admitted = daemon.call("host.admit", HOST, {"reason": "it was the cable"})
    assert [each.partition(" ")[0] for each in admitted["paid"]] == ["shut", "forget", "withdraw", "remove"]
    assert (state(centre, "host", HOST), owed(centre)) == ("up", [])
    assert not is_alive(guest)
    assert set(local.iterdir()) == files
    wait_until(lambda: centre.leftovers() == {}, timeout=30, what="the end of the lease")
    assert daemon.call("workflow.debts") == []
    assert centre.audit()["clean"]


@pytest.fixture
def second(centre: DataCentre, make_centre: Callable[..., DataCentre]) -> Iterator[LabAccess]:
    """Another host ``node-2``, in a lab of its own; it takes no machines yet."""
    access = make_centre().access
    centre.daemon.call("host.add", {"name": "node-2", "uri": access.libvirt_uri, "type": "kvm-vm"})
    centre.daemon.call("host.maintenance", "node-2")
    yield access
    centre.daemon.call("host.remove", "node-2")


def test_a_server_of_a_host_without_power_runs_elsewhere_and_stays_there(centre: DataCentre, second: LabAccess) -> None:
    daemon, appliance = centre.daemon, centre.start_appliance(networks=())
    cut_power(centre.access)
    declare(centre, appliance)
    check_refusals(centre, appliance)
    daemon.finish("appliance.stop", appliance, NOW)
    assert owed(centre) == ["shut", "forget"]
    daemon.call("host.maintenance", "node-2", {"enabled": False})
    daemon.finish("appliance.start", appliance)
    [guest] = guests(second)

    power_up(centre.access)
    assert len(centre.leftovers()["domains"]) == 1, "the host still knows its old machine"
    assert len(daemon.call("host.admit", HOST)["paid"]) == 2
    assert set(centre.leftovers()) == {"volumes"}
    assert (state(centre, "host", HOST), state(centre, "appliance", appliance)) == ("up", "active")
    assert guests(centre.access) == []
    assert guests(second) == [guest], "the one there is was not touched"
    assert centre.audit()["clean"]
    centre.give_back(appliance)
    assert guests(second) == []
    assert centre.leftovers() == {}
    assert centre.audit()["clean"]


def test_a_host_that_is_scrapped_owes_nothing_and_is_found_full_when_it_comes_again(centre: DataCentre) -> None:
    daemon, appliance = centre.daemon, centre.start_appliance(networks=())
    cut_power(centre.access)
    declare(centre, appliance)
    assert "still on it" in str(daemon.fault("host.scrap", HOST))
    daemon.finish("appliance.remove", appliance, NOW)
    assert daemon.call("host.scrap", HOST, {"dry_run": True})["result"] == 2
    assert daemon.call("host.scrap", HOST, {"reason": "burnt"}) == 2
    assert daemon.call("host.list") == []
    assert daemon.call("workflow.debts") == []
    assert centre.audit()["clean"], "what was there is forgotten with it"

    power_up(centre.access)
    daemon.restart()
    assert set(centre.leftovers()) == {"domains", "seeds"}, "nobody goes there any more"
    daemon.call("host.add", {"name": HOST, "uri": centre.access.libvirt_uri, "type": "kvm-vm"})
    assert {each["kind"] for each in centre.audit()["orphaned"]} == {"domain", "seed", "console"}
    daemon.call("audit.leftovers", {"action": "remove", "reason": "it was repaired"})
    assert centre.leftovers() == {}
    assert centre.audit()["clean"]


def lose(centre: DataCentre, way: str) -> None:
    """Its one machine ends, and nobody has ordered it."""
    if way == "killed":
        [guest] = guests(centre.access)
        send(guest, signal.SIGKILL)
        return
    [domain] = centre.leftovers()["domains"]
    for verb in ("destroy", "undefine"):
        virsh(centre, verb, domain)


def virsh(centre: DataCentre, *words: str) -> str:
    return run(["virsh", "--connect", centre.access.libvirt_uri, *words], timeout=60).stdout


def finish(centre: DataCentre, *asked: Any) -> None:
    """A workflow that is done, and all the while there was never more than one guest."""
    workflow = centre.daemon.call(*asked)

    def over() -> bool:
        assert len(guests(centre.access)) <= 1
        return str(centre.daemon.call("workflow.get", workflow)["state"]) in ENDED

    wait_until(over, timeout=120, what=asked[0])
    assert centre.daemon.wait(workflow)["state"] == "done"


@pytest.mark.parametrize("then", ["restart", "stop and start", "remove"])
@pytest.mark.parametrize("way", ["killed", "undefined"])
def test_a_machine_that_ended_without_an_order(centre: DataCentre, way: str, then: str) -> None:
    daemon, appliance = centre.daemon, centre.start_appliance(networks=())
    there = centre.leftovers()
    lose(centre, way)
    wait_until(lambda: state(centre, "appliance", appliance) == "error", timeout=60, what="the monitor")
    event = daemon.call("event.list", {"where": {"subject": f"appliance:{appliance}"}, "order": "-id", "limit": 1})[0]
    assert event["kind"] == "appliance.failed"
    assert event["reason"] in REASONS
    assert "guests" not in centre.leftovers()

    if then == "stop and start":
        finish(centre, "appliance.stop", appliance, NOW)
        assert (state(centre, "appliance", appliance), set(centre.leftovers())) == ("stopped", {"volumes"})
        finish(centre, "appliance.start", appliance)
    if then == "restart":
        finish(centre, "appliance.restart", appliance, NOW)
        assert centre.leftovers()["domains"] == there["domains"], "it is the same machine"
    if then != "remove":
        assert state(centre, "appliance", appliance) == "active"
        assert {kind: len(found) for kind, found in centre.leftovers().items()} == {
            kind: len(found) for kind, found in there.items()
        }
        assert centre.audit()["clean"]
        finish(centre, "appliance.stop", appliance, NOW)
    finish(centre, "appliance.remove", appliance, NOW)
    assert centre.leftovers() == {}
    assert centre.audit()["clean"]
