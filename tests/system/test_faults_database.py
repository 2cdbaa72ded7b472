"""The disk of our own database runs full while work is under way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from qrmd.process import run
from qrmd.testing.daemon import Daemon, Setting
from qrmd.testing.needs import require
from qrmd.testing.volume import fill, free_again, small_filesystem
from qrmd.testing.waiting import wait_until

require("filesystems", "qemu-img")

SPACE_MB = 96


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    with small_filesystem(tmp_path / "small", SPACE_MB) as place:
        yield place


@pytest.fixture
def daemon(tmp_path: Path, state_dir: Path) -> Iterator[Daemon]:
    """Over simulated hosts that play faults from a file."""
    (tmp_path / "faults.json").write_text("[]")
    simulated = {"faults": str(tmp_path / "faults.json"), "blocking": True}
    setting = Setting(tmp_path / "daemon", plugins={"simulated": simulated}, state_dir=state_dir)
    setting.directory.mkdir()
    with Daemon(setting) as made:
        made.run_plugins("simulated", "dir-storage")
        (tmp_path / "volumes").mkdir()
        made.call("host.add", {"name": "h", "uri": "simulated://h", "type": "simulated-vm"})
        made.call("storage.add", {"name": "st", "location": str(tmp_path / "volumes")})
        run(["qemu-img", "create", "-f", "qcow2", str(tmp_path / "im"), "16M"], timeout=20)
        made.finish("image.import", {"name": "im", "storage": "st", "path": str(tmp_path / "im")})
        yield made


def test_new_work_is_refused_and_live_work_ends(daemon: Daemon, tmp_path: Path, state_dir: Path) -> None:
    slow = [{"verb": "power_on", "effect": "slow", "seconds": 6, "nth": 1}]
    (tmp_path / "faults.json").write_text(json.dumps(slow))
    one, two = (daemon.call("appliance.add", {"name": f"a{number}", "image": "im"}) for number in (1, 2))
    live = daemon.call("appliance.start", one)
    fill(state_dir)
    refusal = wait_until(lambda: refused(daemon, state_dir), timeout=30, what="a refusal")
    assert "full" in refusal or "can't be written" in refusal
    assert any("disk" in each for each in daemon.problems())
    assert daemon.call("appliance.get", one)["state"] == "starting"
    assert daemon.wait(live, 60)["state"] == "done"
    assert daemon.call("appliance.get", one)["state"] == "active"
    assert daemon.alive

    free_again(state_dir)
    wait_until(lambda: not daemon.problems(), timeout=30, what="readiness")
    daemon.finish("appliance.start", two)
    assert (state_dir / "qrmd.sqlite.ballast").stat().st_blocks * 512 >= 16 * 2**20
    assert daemon.call("audit.leftovers")["clean"]


def refused(daemon: Daemon, state_dir: Path) -> str:
    """New work until it is refused: the log of the database may still have room of its own."""
    fill(state_dir)
    try:
        daemon.call("appliance.update", "a2", {"comment": "x" * 150})
    except Exception as fault:  # noqa: BLE001 - whatever it is, it is looked at
        return str(fault)
    return ""


def test_a_restart_on_a_full_disk_says_so_and_goes_on_when_there_is_room(daemon: Daemon, state_dir: Path) -> None:
    daemon.call("appliance.add", {"name": "a1", "image": "im"})
    daemon.kill()
    (state_dir / "qrmd.sqlite.ballast").unlink()
    fill(state_dir)
    daemon.start()
    assert any("disk" in each for each in daemon.problems())
    assert daemon.call("appliance.get", "a1")["state"] == "stopped"
    assert "full" in str(daemon.fault("appliance.start", "a1"))
    free_again(state_dir)
    wait_until(lambda: not daemon.problems(), timeout=30, what="readiness")
    daemon.finish("appliance.start", "a1")
