"""The Debian machine in namespaces: what it has of its own, and that nothing of it stays."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qrmd.process import Process, ProcessFailed, run, spawn
from qrmd.testing.images import fresh
from qrmd.testing.machine import ALONE, PREFIX, Machine
from qrmd.testing.needs import require
from qrmd.testing.waiting import wait_until

require("lab", "debian")

LIST_GROUPS = 'mount -t cgroup2 cgroup2 "$1"; cd "$1"; ls -d "$2"* 2>/dev/null || true'
HOLD = """
import sys, time
from pathlib import Path
from qrmd.testing.images import fresh
from qrmd.testing.machine import Machine
with Machine(Path(sys.argv[1]), fresh.build(), "held") as machine:
    print(machine.run("sleep 3600 & echo on").stdout, flush=True)
    time.sleep(3600)
"""


NAME = """
from pathlib import Path
from qrmd.testing.machine import Machine
print(Machine(Path("work"), Path("image"), "any").group)
"""


class Fault(Exception):
    """What a test may raise."""


def list_groups(directory: Path, owner: int) -> list[str]:
    """Control groups of machines that this process made."""
    return run([*ALONE, LIST_GROUPS, "sh", str(directory), f"{PREFIX}{owner}-"], timeout=60).stdout.split()


def list_inside(root: Path) -> list[str]:
    """Processes whose root directory lies there, or that have something mounted there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "root").readlink() == root or str(root) in (process / "mountinfo").read_text():
                found.append((process / "comm").read_text().strip())
        except OSError:
            continue  # it has ended
    return found


def break_down(machine: Machine, work: Path) -> None:
    """Fail while it runs much."""
    with machine:
        machine.attach(["sleep", "3600"])
        machine.run("systemd-run --quiet --unit sleeper sleep 3600")
        assert {"systemd", "sleep"} <= set(list_inside(machine.root))
        assert machine.group in list_groups(work, os.getpid())
        raise Fault


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with Machine(tmp_path_factory.mktemp("machine"), fresh.build(), "server") as made:
        yield made


def test_systemd_is_its_first_process(machine: Machine) -> None:
    assert machine.run("cat /proc/1/comm; hostname").stdout.split() == ["systemd", "server"]
    assert machine.run("systemctl is-system-running").stdout.strip() == "running"
    machine.run("systemd-run --quiet --wait --property DynamicUser=yes --property PrivateTmp=yes true")


def test_its_network_is_its_own(machine: Machine) -> None:
    links = Path("/proc/net/dev").read_text(encoding="ascii")
    assert machine.run("cat /proc/net/dev").stdout.count(":") == 1
    assert machine.run("cat /proc/net/dev", online=True).stdout.count(":") == links.count(":")
    assert machine.outside(["cat", "/proc/net/dev"]).stdout.count(":") == 1
    forward = Path("/proc/sys/net/ipv4/ip_forward")
    before = forward.read_text(encoding="ascii")
    machine.run("echo 1 >/proc/sys/net/ipv4/ip_forward && echo 1 >/proc/sys/net/ipv4/conf/lo/forwarding")
    assert forward.read_text(encoding="ascii") == before


def test_it_cannot_change_the_kernel(machine: Machine) -> None:
    with pytest.raises(ProcessFailed, match="Read-only"):
        machine.run("echo 100 >/proc/sys/vm/swappiness")
    with pytest.raises(ProcessFailed, match="Read-only"):
        machine.run("touch /sys/kernel/here")


def test_processes_of_the_same_number_make_machines_of_their_own() -> None:
    """The first of each namespace; control groups are seen by all of them."""
    alone = ["unshare", "--pid", "--fork", "--", sys.executable, "-c", NAME]
    names = [run(alone, timeout=120).stdout.strip() for _ in range(2)]
    assert all(each.startswith(f"{PREFIX}1-") for each in names)
    assert names[0] != names[1]


def test_nothing_stays_after_a_fault(tmp_path: Path) -> None:
    machine = Machine(tmp_path, fresh.build(), "faulty")
    with pytest.raises(Fault):
        break_down(machine, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["attached.log", "boot.log", "log"]
    assert list_inside(machine.root) == []
    assert machine.group not in list_groups(tmp_path, os.getpid())


def test_it_ends_with_a_test_that_is_killed_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    held, after = tmp_path / "held", tmp_path / "after"
    held.mkdir()
    after.mkdir()
    owner = spawn([sys.executable, "-c", HOLD, str(held)], log=tmp_path / "said")
    try:
        wait_until(lambda: "on" in (tmp_path / "said").read_text() or fail_of(owner, tmp_path), timeout=600, what="it")
        assert list_inside(held / "root")
        os.kill(owner.pid, signal.SIGKILL)
    finally:
        owner.kill()
    wait_until(lambda: not list_inside(held / "root"), timeout=120, what="its end")
    assert list_groups(tmp_path, owner.pid)
    with Machine(after, fresh.build(), "next"):
        assert list_groups(tmp_path, owner.pid) == []


def fail_of(owner: Process, work: Path) -> bool:
    """Whether it still runs; what it said if not."""
    assert owner.poll() is None, (work / "said").read_text()
    return False
