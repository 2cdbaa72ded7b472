"""Appliances whose machines ended or stand still without an order: what can be done with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qrmd.testing.daemon import Daemon, Setting
from qrmd.testing.sites import populate
from qrmd.testing.waiting import wait_until


def state(daemon: Daemon, name: str = "web-1") -> str:
    return str(daemon.call("appliance.get", name)["state"])


def lose_machines(daemon: Daemon) -> None:
    """The host forgets all its machines while nobody looks; the appliance is seen in error, its resource kept."""
    daemon.stop()
    for path in daemon.setting.directory.rglob("machines.journal"):
        path.unlink()
    daemon.start()
    wait_until(lambda: state(daemon) == "error", timeout=30, what="the monitor")
    assert daemon.call("appliance.get", "web-1")["resource_id"]


@pytest.mark.parametrize("way", ["start", "stop", "restart", "remove"])
def test_an_appliance_whose_machine_is_gone(tmp_path: Path, way: str) -> None:
    with Daemon(Setting(tmp_path)) as daemon:
        populate(daemon, tmp_path)
        lose_machines(daemon)
        options = {} if way == "start" else {"grace_seconds": 0}
        arguments = ["web-1", "", options] if way == "start" else ["web-1", options]
        daemon.finish(f"appliance.{way}", *arguments)
        if way in {"start", "restart"}:
            assert state(daemon) == "active"
            seen = daemon.call("resource.get", daemon.call("appliance.get", "web-1")["resource_id"])
            assert seen["machine"]["state"] == "running"
            daemon.finish("appliance.stop", "web-1", {"grace_seconds": 0})
        if way != "remove":
            assert state(daemon) == "stopped"
            assert daemon.call("appliance.get", "web-1").get("resource_id") is None
        assert daemon.call("audit.leftovers")["clean"]


@pytest.mark.parametrize("way", ["stop", "restart"])
def test_a_paused_appliance(faulty_daemon: Daemon, faults: Path, way: str) -> None:
    daemon = faulty_daemon
    daemon.finish("appliance.stop", "web-1", {"grace_seconds": 0})
    faults.write_text(json.dumps([{"verb": "power_on", "effect": "pause", "nth": 1}]), encoding="utf-8")
    daemon.finish("appliance.start", "web-1")
    wait_until(lambda: state(daemon) == "paused", timeout=30, what="the monitor")
    daemon.finish(f"appliance.{way}", "web-1", {"grace_seconds": 30})
    assert state(daemon) == ("stopped" if way == "stop" else "active")
    assert daemon.call("audit.leftovers")["clean"]
