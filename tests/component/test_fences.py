"""Fenced hosts: what can't be taken away there counts as done, is owed, and is done before the host is admitted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qrmd.cli.connection import CallFailed
from qrmd.testing.daemon import Daemon, Setting
from qrmd.testing.sites import password_of, populate
from qrmd.testing.waiting import wait_until

SURE = {"reason": "I have pulled its plug"}
ALL = ("check", "load", "define", "undefine", "power_on", "shutdown", "power_off", "find", "machines")


@pytest.fixture
def daemon(faulty_daemon: Daemon) -> Daemon:
    """With a second host."""
    faulty_daemon.call("host.add", {"name": "node-2", "uri": "simulated://node-2", "type": "simulated-vm"})
    return faulty_daemon


def break_verbs(faults: Path, *verbs: str, host: str = "node-1") -> None:
    faults.write_text(json.dumps([{"verb": each, "effect": "fail", "host": host} for each in verbs]), encoding="utf-8")


def state(daemon: Daemon, noun: str = "host", name: str = "node-1") -> str:
    return str(daemon.call(f"{noun}.get", name)["state"])


def owned_on(daemon: Daemon, place: str = "host:1") -> list[str]:
    with daemon.journal() as journal:
        return [
            row["kind"] for row in journal.db.rows("SELECT kind FROM owned WHERE place = ? ORDER BY kind", (place,))
        ]


def fence(daemon: Daemon, faults: Path, *verbs: str) -> dict[str, Any]:
    """The host of web-1 is silent and declared off."""
    break_verbs(faults, *(verbs or ALL))
    found: dict[str, Any] = daemon.call("host.declare_fenced", "node-1", SURE)
    assert state(daemon) == "fenced"
    return found


def test_a_stop_on_a_fenced_host_is_done_and_paid_before_the_host_is_up(daemon: Daemon, faults: Path) -> None:
    assert daemon.call("appliance.get", "web-1")["host_id"] == 1
    fence(daemon, faults)
    assert state(daemon, "appliance", "web-1") == "error"
    for asked in (("appliance.start", "web-1"), ("appliance.restart", "web-1", {"grace_seconds": 0})):
        refused = daemon.fault(*asked)
        assert refused.code == 409
        assert "its machine is on host node-1, which is fenced" in str(refused)
        assert "stop it" in str(refused)
    assert "fenced" in str(daemon.fault("appliance.restart", "web-1", {"dry_run": True}))
    assert state(daemon, "appliance", "web-1") == "error"

    stopped = daemon.finish("appliance.stop", "web-1")
    assert {each["action"]: each["state"] for each in stopped["steps"]} == {
        "core.shut_down": "owed",
        "core.undefine_machine": "owed",
        "core.withdraw_disk": "done",
    }
    assert owned_on(daemon) == ["console", "domain", "seed"]
    assert [each["state"] for each in daemon.call("workflow.debts")] == ["owed", "owed"]
    of = {"workflow_id": stopped["id"], "operation": "appliance.stop", "subject": "appliance:1", "state": "owed"}
    assert daemon.call("host.get", "node-1")["owed"] == [
        {**of, "title": "shut web-1 down on node-1"},
        {**of, "title": "forget web-1 on node-1"},
    ]
    assert daemon.call("host.get", "node-2")["owed"] == []
    daemon.finish("appliance.start", "web-1")
    assert daemon.call("appliance.get", "web-1")["host_id"] == 2

    refused = daemon.fault("host.admit", "node-1")
    assert state(daemon) == "fenced", refused
    break_verbs(faults, "undefine")
    refused = daemon.fault("host.admit", "node-1")
    assert "still owed: forget web-1 on node-1" in str(refused)
    assert state(daemon) == "fenced"
    break_verbs(faults)
    would = daemon.call("host.admit", "node-1", {"dry_run": True})
    assert would["owed"] == ["forget web-1 on node-1"]
    admitted = daemon.call("host.admit", "node-1", {"key": "k", "reason": "new power supply"})
    assert admitted == {"state": "up", "paid": ["forget web-1 on node-1"]}
    assert daemon.call("host.admit", "node-1", {"key": "k"}) == admitted
    assert state(daemon) == "up"
    assert owned_on(daemon) == []
    assert daemon.call("workflow.debts") == []
    assert daemon.call("host.get", "node-1")["owed"] == []
    assert state(daemon, "appliance", "web-1") == "active"
    assert daemon.call("audit.leftovers")["clean"]


def test_an_undo_stuck_on_a_dead_host_goes_on_when_it_is_declared_off(daemon: Daemon, faults: Path) -> None:
    daemon.call("host.maintenance", "node-2")
    break_verbs(faults, "power_on", "power_off", "undefine")
    workflow = daemon.call("appliance.start", "web-2")
    wait_until(
        lambda: daemon.call("workflow.get", workflow)["state"] == "undoing", timeout=60, what="the start to turn back"
    )
    daemon.stop()
    daemon.start()
    told = fence(daemon, faults)
    assert told["workflows"] == [workflow]
    found = daemon.wait(workflow, 120)
    assert found["state"] == "undone", found
    states = {each["action"]: each["state"] for each in found["steps"]}
    assert states["core.power_on"] == states["core.define_machine"] == "owed"
    assert states["core.provide_disk"] == "undone"
    assert state(daemon, "appliance", "web-2") == "stopped"
    daemon.restart()
    break_verbs(faults)
    paid = daemon.call("host.admit", "node-1")["paid"]
    assert paid == ["switch web-2 on", "define web-2 on node-1"]
    wait_until(lambda: state(daemon, "appliance", "web-1") == "active", timeout=60, what="the monitor")
    assert daemon.call("audit.leftovers")["clean"]


def test_a_stuck_undo_is_retried_by_the_declaration(daemon: Daemon, faults: Path) -> None:
    daemon.call("host.maintenance", "node-2")
    break_verbs(faults, "power_on", "power_off", "undefine")
    workflow = daemon.call("appliance.start", "web-2")
    assert daemon.wait(workflow, 300)["state"] == "stuck"
    assert fence(daemon, faults)["workflows"] == [workflow]
    assert daemon.wait(workflow, 60)["state"] == "undone"


def test_a_restart_under_way_when_its_host_is_declared_off_ends_and_the_server_runs_elsewhere(
    daemon: Daemon, faults: Path
) -> None:
    break_verbs(faults, *ALL)
    workflow = daemon.call("appliance.restart", "web-1", {"grace_seconds": 0})
    wait_until(lambda: failed_once(daemon, workflow), timeout=60, what="the first try")
    assert fence(daemon, faults)["workflows"] == [workflow]
    found = daemon.wait(workflow, 120)
    assert found["state"] == "stuck"
    assert found["fault"]["message"] == "its host is fenced"
    assert "workflow.abandon" in found["fault"]["hint"]
    assert daemon.call("host.declare_fenced", "node-1", SURE)["workflows"] == [workflow]
    assert daemon.wait(workflow, 60)["state"] == "stuck"
    daemon.call("workflow.abandon", workflow, {"reason": "its host has burnt"})
    daemon.finish("appliance.stop", "web-1", {"grace_seconds": 0})
    daemon.finish("appliance.start", "web-1")
    assert daemon.call("appliance.get", "web-1")["host_id"] == 2


def test_a_restart_that_waits_for_its_server_when_its_host_is_declared_off_ends(tmp_path: Path, faults: Path) -> None:
    with Daemon(Setting(tmp_path, plugins={"simulated": {"faults": str(faults), "blocking": True}})) as daemon:
        populate(daemon, tmp_path)
        faults.write_text(json.dumps([{"verb": "power_on", "effect": "hang"}]), encoding="utf-8")
        workflow = daemon.call("appliance.restart", "web-1", {"grace_seconds": 0})
        wait_until(lambda: states(daemon, workflow)["core.power_again"] == "running", timeout=60, what="the power")
        break_verbs(faults, "check", "load", "find", "machines")
        wait_until(lambda: failed_once(daemon, workflow), timeout=60, what="the first look")
        assert states(daemon, workflow)["core.power_again"] == "done"
        assert daemon.call("host.declare_fenced", "node-1", SURE)["workflows"] == [workflow]
        found = daemon.wait(workflow, 120)
        assert (found["state"], found["fault"].get("message")) == ("stuck", "its host is fenced")


def states(daemon: Daemon, workflow: int) -> dict[str, str]:
    return {each["action"]: each["state"] for each in daemon.call("workflow.get", workflow)["steps"]}


def failed_once(daemon: Daemon, workflow: int) -> bool:
    return any(each["fault"] for each in daemon.call("workflow.get", workflow)["steps"])


def test_a_dry_run_of_a_second_declaration_retries_nothing(daemon: Daemon, faults: Path) -> None:
    daemon.call("host.maintenance", "node-2")
    break_verbs(faults, *ALL)
    daemon.call("host.declare_fenced", "node-1", SURE)
    before = daemon.call("event.list", {"order": "-id", "limit": 1})
    would = daemon.call("host.declare_fenced", "node-1", {**SURE, "dry_run": True})
    assert would == {"dry_run": True, "result": {"state": "fenced", "workflows": []}}
    assert daemon.call("event.list", {"order": "-id", "limit": 1}) == before


def test_a_host_that_answers_is_not_declared_off(daemon: Daemon) -> None:
    refused = daemon.fault("host.declare_fenced", "node-1", SURE)
    assert "answers" in str(refused)
    assert state(daemon) == "up"
    assert "reason" in str(daemon.fault("host.declare_fenced", "node-1"))
    assert "only a fenced host" in str(daemon.fault("host.admit", "node-1"))
    with pytest.raises(CallFailed) as caught:
        daemon.login("readonly", password_of("readonly")).call("host.declare_fenced", "node-1", SURE)
    assert caught.value.code == 403


def test_a_declaration_is_audited_with_its_evidence(daemon: Daemon, faults: Path) -> None:
    break_verbs(faults, *ALL)
    before = daemon.call("host.get", "node-1")
    would = daemon.call("host.declare_fenced", "node-1", {**SURE, "dry_run": True})
    assert would["result"]["appliances"] == [1]
    assert daemon.call("host.get", "node-1")["state"] == before["state"]
    someone = daemon.login("operator", password_of("operator"))
    someone.call("host.declare_fenced", "node-1", SURE)
    event = next(each for each in daemon.call("event.list", {"where": {"kind": "host.fenced"}}))
    assert (event["actor"], event["reason"]) == ("user:operator", SURE["reason"])
    assert "failed as ordered" in event["data"]["silence"]
    assert daemon.call("host.declare_fenced", "node-1", SURE)["state"] == "fenced"
    faults.write_text("[]", encoding="utf-8")
    assert "it is fenced" in str(daemon.fault("host.maintenance", "node-1", {"enabled": False}))
    assert state(daemon) == "fenced", "that it answers admits it not"


def test_a_host_that_never_comes_back_is_scrapped(daemon: Daemon, faults: Path) -> None:
    fence(daemon, faults)
    assert "appliance web-1" in str(daemon.fault("host.scrap", "node-1"))
    daemon.finish("appliance.stop", "web-1")
    assert "host.scrap" in str(daemon.fault("host.remove", "node-1"))
    assert daemon.call("host.scrap", "node-1", {"dry_run": True})["result"] == 2
    assert daemon.call("host.scrap", "node-1", {"reason": "burnt"}) == 2
    assert owned_on(daemon) == []
    assert daemon.call("workflow.debts") == []
    assert [each["name"] for each in daemon.call("host.list")] == ["node-2"]
    assert "only a fenced host" in str(daemon.fault("host.scrap", "node-2"))
    assert daemon.call("audit.leftovers")["clean"]
