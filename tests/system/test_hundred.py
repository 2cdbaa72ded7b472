"""A hundred at once where sixty fit, through the daemon's own door."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from qrmd.cli.connection import CallFailed
from qrmd.process import run
from qrmd.testing.daemon import Daemon, Setting
from qrmd.testing.needs import require
from qrmd.testing.strikes import Asking, options, settle
from qrmd.testing.waiting import wait_until

require("qemu-img")

FIT, ASKED, HOSTS = 60, 100, 3
MEMORY_MB = 1024


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """Three simulated hosts with room for twenty appliances each."""
    setting = Setting(tmp_path / "daemon")
    setting.directory.mkdir()
    (tmp_path / "volumes").mkdir()
    size = FIT // HOSTS * MEMORY_MB + 512
    with Daemon(setting) as made:
        made.run_plugins("simulated", "dir-storage")
        for number in range(HOSTS):
            uri = f"simulated://h{number}?cpus=64&memory_mb={size}"
            made.call("host.add", {"name": f"h{number}", "uri": uri, "type": "simulated-vm"})
        made.call("storage.add", {"name": "st", "location": str(tmp_path / "volumes"), "overcommit": 10.0})
        made.call("network.add", {"name": "n", "bridge": "br0", "cidr": "10.9.0.0/24"})
        run(["qemu-img", "create", "-f", "qcow2", str(tmp_path / "im"), "16M"], timeout=20)
        made.finish("image.import", {"name": "im", "storage": "st", "path": str(tmp_path / "im")})
        yield made


def ask_all(daemon: Daemon, idents: list[int]) -> tuple[list[int], list[CallFailed]]:
    """All starts at the same time: workflows and refusals."""
    asked = [Asking(daemon, "appliance.start", ident, "", options()) for ident in idents]
    workflows, refusals = [], []
    for each in asked:
        try:
            workflows.append(each.answer(120))
        except CallFailed as fault:
            refusals.append(fault)
    return workflows, refusals


def check_distinct(daemon: Daemon, active: list[int]) -> None:
    """No address, MAC, name or machine twice; no host over its limit."""
    shown = [daemon.call("appliance.get", ident) for ident in active]
    for values in (
        [nic["address"] for each in shown for nic in each["nics"]],
        [nic["mac"] for each in shown for nic in each["nics"]],
        [each["name"] for each in shown],
        [each["resource_id"] for each in shown],
    ):
        assert len(set(values)) == len(values) == len(active)
    assert set(Counter(each["host_id"] for each in shown).values()) == {FIT // HOSTS}


def states(daemon: Daemon) -> Counter[str]:
    return Counter(each["state"] for each in daemon.call("appliance.list"))


@pytest.mark.parametrize("killed", [False, True], ids=["undisturbed", "killed-in-the-middle"])
def test_sixty_of_a_hundred_start_and_the_rest_are_refused(daemon: Daemon, *, killed: bool) -> None:
    spec = {"image": "im", "memory_mb": MEMORY_MB, "networks": ["n"]}
    idents = [daemon.call("appliance.add", {**spec, "name": f"a{number}"}) for number in range(ASKED)]
    if killed:
        asked = [Asking(daemon, "appliance.start", ident, "", options()) for ident in idents]
        with daemon.journal() as journal:
            while journal.newest() < FIT // 2:
                pass
        daemon.kill()
        daemon.start()
        answers = [each for each in asked if _refused(each) is None]
        assert len(answers) == FIT
    else:
        workflows, refusals = ask_all(daemon, idents)
        assert len(workflows) == FIT
        assert {each.code for each in refusals} == {507}
        assert "lack" in str(refusals[0])
        assert "memory_mb" in str(refusals[0])
    settle(daemon)
    assert states(daemon) == {"active": FIT, "stopped": ASKED - FIT}
    active = [each["id"] for each in daemon.call("appliance.list", {"where": {"state": "active"}})]
    check_distinct(daemon, active)
    assert daemon.call("audit.leftovers")["clean"]

    freed = active[:10]
    for ident in freed:
        daemon.finish("appliance.stop", ident, {"grace_seconds": 0})
    waiting = [ident for ident in idents if ident not in active]
    workflows, refusals = ask_all(daemon, waiting)
    assert len(workflows) == len(freed)
    settle(daemon)
    active = [each["id"] for each in daemon.call("appliance.list", {"where": {"state": "active"}})]
    check_distinct(daemon, active)
    assert daemon.call("audit.leftovers")["clean"]


def _refused(asking: Asking) -> CallFailed | None:
    try:
        asking.answer(120)
    except CallFailed as fault:
        return fault
    return None


def test_sixty_of_a_hundred_requests_are_served_and_the_rest_in_order(daemon: Daemon) -> None:
    """One server each: forty find no resource, and are served first come, first served, as capacity frees."""
    daemon.run_plugins("cloud")
    daemon.call("settings.set", {"cloud.approval": "auto"})
    daemon.call("cloud.user.add", {"name": "carla", "email": "carla@example.org"})
    daemon.call("cloud.user.set_ccus", "carla", "100000")
    daemon.call("cloud.user.set_limits", "carla", {})
    wanted = {"image": "im", "memory_mb": MEMORY_MB, "user": "carla"}
    asked = [Asking(daemon, "cloud.request.create", wanted, options()) for _ in range(ASKED)]
    requests = sorted(each.answer(120) for each in asked)
    wait_for(daemon, {"active": FIT, "no_resource": ASKED - FIT})
    check_servers(daemon)

    active = listed(daemon, "active")
    for ident in active[:5]:
        daemon.finish("cloud.request.deprovision", ident, options())
    wait_for(daemon, {"active": FIT, "no_resource": ASKED - FIT - 5, "done": 5})
    approved = {each["id"]: each["approved"] for each in daemon.call("cloud.request.list")}
    waiting = listed(daemon, "no_resource")
    served = [ident for ident in listed(daemon, "active") if ident not in active]
    assert max(approved[ident] for ident in served) <= min(approved[ident] for ident in waiting)
    check_servers(daemon)
    assert requests == sorted(approved)


def wait_for(daemon: Daemon, wanted: dict[str, int]) -> None:
    def now() -> Counter[str]:
        return Counter(each["state"] for each in daemon.call("cloud.request.list"))

    try:
        wait_until(lambda: now() == wanted, timeout=120, interval=0.5, what=str(wanted))
    except TimeoutError:
        raise AssertionError(f"{now()} instead of {wanted}") from None


def listed(daemon: Daemon, state: str) -> list[int]:
    return [each["id"] for each in daemon.call("cloud.request.list", {"where": {"state": state}})]


def check_servers(daemon: Daemon) -> None:
    settle(daemon)
    active = [each["id"] for each in daemon.call("appliance.list", {"where": {"state": "active"}})]
    assert len(active) == FIT
    check_distinct(daemon, active)
    assert daemon.call("audit.leftovers")["clean"]
