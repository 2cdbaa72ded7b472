"""Libvirtd dies, or takes connections and never answers, in the middle of operations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from qrmd.testing.datacentre import HOST, DataCentre
from qrmd.testing.journal import watch
from qrmd.testing.lab import hypervisor
from qrmd.testing.waiting import wait_until


@pytest.fixture(autouse=True)
def _mended(centre: DataCentre) -> Iterator[None]:
    """Whatever happens, libvirt is back for the next test, and the host is known to be."""
    yield
    hypervisor.thaw_libvirtd(centre.access)
    hypervisor.restart_libvirtd(centre.access)


def step_of(centre: DataCentre, workflow: int, action: str) -> dict[str, Any]:
    found = centre.daemon.call("workflow.get", workflow)
    return next(step for step in found["steps"] if step["action"] == action)


def wait_for_fault(centre: DataCentre, workflow: int, action: str) -> dict[str, Any]:
    """Until an attempt of the step has failed; the daemon answers others all the while."""

    def failed() -> dict[str, Any]:
        began = time.monotonic()
        centre.daemon.call("qrm.version")
        assert time.monotonic() - began < 2.0, "a silent host holds everybody"
        fault: dict[str, Any] = step_of(centre, workflow, action)["fault"]
        return fault

    return wait_until(failed, timeout=60, what=f"a fault of {action}")


def start_at(centre: DataCentre, action: str) -> tuple[int, int]:
    """A start whose step ``action`` has just begun: appliance and workflow."""
    appliance = centre.add_appliance(networks=())
    with centre.daemon.journal() as journal:
        before = journal.newest()
        centre.daemon.call("appliance.start", appliance)
        workflow = journal.find("appliance.start", before)
        watch(lambda: journal.step_state(workflow, action) not in {"", "pending"}, 30.0, action)
    return appliance, workflow


def check_end(centre: DataCentre, appliance: int, workflow: int) -> None:
    """Done or undone; what is there agrees; then it is given back."""
    found = centre.daemon.wait(workflow, 120)
    assert found["state"] in {"done", "undone"}, found
    running = {"domains", "guests", "seeds", "volumes"}
    assert set(centre.leftovers()) == (running if found["state"] == "done" else set())
    centre.give_back(appliance)
    assert centre.leftovers() == {}
    wait_until(lambda: centre.audit()["clean"], timeout=30, what="a clean audit")


@pytest.mark.parametrize("action", ["core.define_machine", "core.power_on"])
def test_libvirtd_killed_in_the_middle_of_a_start(centre: DataCentre, action: str) -> None:
    appliance, workflow = start_at(centre, action)
    hypervisor.kill_libvirtd(centre.access)
    if step_of(centre, workflow, action)["state"] != "done":
        wait_for_fault(centre, workflow, action)
    hypervisor.restart_libvirtd(centre.access)
    check_end(centre, appliance, workflow)


@pytest.mark.parametrize("action", ["core.define_machine", "core.power_on"])
def test_libvirtd_silent_during_a_start(centre: DataCentre, action: str) -> None:
    if action == "core.define_machine":
        hypervisor.freeze_libvirtd(centre.access)
    appliance, workflow = start_at(centre, action)
    hypervisor.freeze_libvirtd(centre.access)
    if step_of(centre, workflow, action)["state"] != "done":
        wait_for_fault(centre, workflow, action)
    hypervisor.thaw_libvirtd(centre.access)
    check_end(centre, appliance, workflow)


@pytest.mark.parametrize("fault", ["killed", "silent"])
def test_libvirtd_away_during_a_stop(centre: DataCentre, fault: str) -> None:
    appliance = centre.start_appliance(networks=())
    (hypervisor.kill_libvirtd if fault == "killed" else hypervisor.freeze_libvirtd)(centre.access)
    workflow = centre.daemon.call("appliance.stop", appliance, {"grace_seconds": 0})
    wait_for_fault(centre, workflow, "core.shut_down")
    assert centre.daemon.call("appliance.get", appliance)["state"] == "stopping"
    hypervisor.thaw_libvirtd(centre.access)
    hypervisor.restart_libvirtd(centre.access)
    assert centre.daemon.wait(workflow, 120)["state"] == "done"
    assert set(centre.leftovers()) == {"volumes"}
    centre.daemon.finish("appliance.remove", appliance)
    assert centre.leftovers() == {}
    assert centre.audit()["clean"]


@pytest.mark.parametrize("fault", ["killed", "silent"])
def test_libvirtd_away_during_a_restart(centre: DataCentre, fault: str) -> None:
    appliance = centre.start_appliance(networks=())
    there = centre.leftovers()
    (hypervisor.kill_libvirtd if fault == "killed" else hypervisor.freeze_libvirtd)(centre.access)
    workflow = centre.daemon.call("appliance.restart", appliance, {"grace_seconds": 0})
    wait_for_fault(centre, workflow, "core.shut_down")
    hypervisor.thaw_libvirtd(centre.access)
    hypervisor.restart_libvirtd(centre.access)
    assert centre.daemon.wait(workflow, 120)["state"] == "done"
    assert centre.daemon.call("appliance.get", appliance)["state"] == "active"
    assert {kind: len(found) for kind, found in centre.leftovers().items()} == {
        kind: len(found) for kind, found in there.items()
    }
    centre.give_back(appliance)
    assert centre.leftovers() == {}
    wait_until(lambda: centre.audit()["clean"], timeout=30, what="a clean audit")


def test_a_start_on_a_host_silent_for_good_is_stuck_by_name_until_the_host_is_back(centre: DataCentre) -> None:
    daemon = centre.daemon
    hypervisor.freeze_libvirtd(centre.access)
    appliance, workflow = start_at(centre, "core.define_machine")
    found = daemon.wait(workflow, 300)
    assert found["state"] == "stuck", found
    assert "define" in next(step["title"] for step in found["steps"] if step["state"] == "undoing")
    assert daemon.call("appliance.get", appliance)["state"] == "error"
    assert daemon.call("host.get", HOST)["state"] == "unreachable"
    unknown = {each["place"].partition(":")[0]: each for each in centre.audit()["unknown"]}
    assert any("domain" in each for each in unknown["host"]["owned"])
    hypervisor.thaw_libvirtd(centre.access)
    wait_until(lambda: daemon.call("host.get", HOST)["state"] == "up", timeout=60, what="the host")
    daemon.call("workflow.retry", workflow, {"reason": "the host is back"})
    assert daemon.wait(workflow)["state"] == "undone"
    daemon.finish("appliance.remove", appliance)
    assert centre.leftovers() == {}
    assert centre.audit()["clean"]
