"""Simulated machines outlive the daemon, and fail when they are told to."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
import tomllib
from pathlib import Path
from uuid import uuid4

import pytest

from qrmd.api import (
    ConfigInvalid,
    Conflict,
    Host,
    InvalidInput,
    MachineSpec,
    MachineState,
    OutcomeUnknown,
    OwnerTag,
    StepFailed,
)
from qrmd.process import spawn
from qrmd.states import HostState
from qrmd.testing.waiting import wait_until
from qrmd_simulated.config import Config
from qrmd_simulated.driver import SimulatedDriver
from qrmd_simulated.uri import HostSize, parse

INSTALLATION = str(uuid4())
HOST = Host(1, "a", "simulated://a?cpus=64&memory_mb=262144", "simulated-vm", HostState.UP)

CHILD = """
import sys
from pathlib import Path
from uuid import UUID
from qrmd.api import Host, MachineSpec, OwnerTag
from qrmd.states import HostState
from qrmd_simulated.config import Config
from qrmd_simulated.driver import SimulatedDriver
host = Host(1, "a", "simulated://a", "simulated-vm", HostState.UP)
driver = SimulatedDriver(sys.argv[2], Config(), Path(sys.argv[1]))
for number in range(10**9):
    uuid = str(UUID(int=number))
    driver.define(host, MachineSpec(uuid, f"m{number}", 1, 64, (), (), OwnerTag(sys.argv[2], "appliance:1")))
    driver.power_on(host, uuid)
    if number % 2:
        driver.power_off(host, uuid)
        driver.undefine(host, uuid)
"""


def make(name: str = "web-1") -> MachineSpec:
    return MachineSpec(str(uuid4()), name, 1, 64, (), (), OwnerTag(INSTALLATION, "appliance:1"))


def open_driver(path: Path, **config: object) -> SimulatedDriver:
    return SimulatedDriver(INSTALLATION, Config(**config), path)  # type: ignore[arg-type]


def write_faults(path: Path, *rules: dict[str, object]) -> str:
    file = path / "faults.json"
    draft = path / "faults.new"
    draft.write_text(json.dumps(rules))
    draft.replace(file)
    return str(file)


def test_machines_survive_a_kill_at_any_instant(tmp_path: Path) -> None:
    journal = tmp_path / "machines.journal"
    for _ in range(3):
        child = spawn([sys.executable, "-c", CHILD, str(tmp_path), INSTALLATION])
        wait_until(lambda: journal.exists() and journal.stat().st_size > 100_000, what="some machines")
        child.signal(signal.SIGKILL)
        child.wait(5)
        driver = open_driver(tmp_path)
        found = driver.machines(HOST, INSTALLATION)
        numbers = sorted(int(machine.name[1:]) for machine in found)
        assert len(numbers) > 100
        settled = [number for number in numbers if number < numbers[-1] - 1]
        assert settled == list(range(0, settled[-1] + 1, 2))
        assert {machine.state for machine in found[:-2]} == {MachineState.RUNNING}
        driver.close()
        journal.unlink()


def test_opening_compacts(tmp_path: Path) -> None:
    driver = open_driver(tmp_path)
    spec = make()
    driver.define(HOST, spec)
    for _ in range(100):
        driver.power_on(HOST, spec.uuid)
        driver.power_off(HOST, spec.uuid)
    driver.close()
    before = (tmp_path / "machines.journal").stat().st_size
    driver = open_driver(tmp_path)
    assert (tmp_path / "machines.journal").stat().st_size < before / 20
    found = driver.find(HOST, spec.uuid)
    assert found is not None
    assert (found.state, found.reason) == (MachineState.OFF, "destroyed")
    driver.close()


def test_a_line_cut_short_is_ignored(tmp_path: Path) -> None:
    driver = open_driver(tmp_path)
    spec = make()
    driver.define(HOST, spec)
    driver.close()
    with (tmp_path / "machines.journal").open("a") as journal:
        journal.write(f"s\ta\t{spec.uuid}\trunn")
    driver = open_driver(tmp_path)
    assert driver.find(HOST, spec.uuid).state is MachineState.OFF  # type: ignore[union-attr]
    driver.close()


def test_two_processes_do_not_share_a_world(tmp_path: Path) -> None:
    driver = open_driver(tmp_path)
    with pytest.raises(Conflict, match="another process"):
        open_driver(tmp_path)
    driver.close()


def test_memory_of_running_machines_is_taken(tmp_path: Path) -> None:
    driver = open_driver(tmp_path)
    spec = make()
    free = driver.load(HOST).memory_free_mb
    driver.define(HOST, spec)
    driver.power_on(HOST, spec.uuid)
    assert driver.load(HOST).memory_free_mb == free - 64
    driver.close()
    driver = open_driver(tmp_path)
    assert driver.load(HOST).memory_free_mb == free - 64
    driver.power_off(HOST, spec.uuid)
    assert driver.load(HOST).memory_free_mb == free
    driver.close()


def test_nth_call_fails(tmp_path: Path) -> None:
    faults = write_faults(tmp_path, {"verb": "power_on", "effect": "fail", "nth": 2})
    driver = open_driver(tmp_path, faults=faults)
    spec = make()
    driver.define(HOST, spec)
    driver.power_on(HOST, spec.uuid)
    driver.power_off(HOST, spec.uuid)
    with pytest.raises(StepFailed, match="as ordered"):
        driver.power_on(HOST, spec.uuid)
    assert driver.find(HOST, spec.uuid).state is MachineState.OFF  # type: ignore[union-attr]
    driver.power_on(HOST, spec.uuid)
    driver.close()


def test_unknown_outcome_is_done(tmp_path: Path) -> None:
    driver = open_driver(tmp_path, faults=write_faults(tmp_path, {"verb": "define", "effect": "unknown", "nth": 1}))
    spec = make()
    with pytest.raises(OutcomeUnknown):
        driver.define(HOST, spec)
    assert driver.find(HOST, spec.uuid) is not None
    driver.define(HOST, spec)
    driver.close()


def test_full_disk_pauses(tmp_path: Path) -> None:
    driver = open_driver(tmp_path, faults=write_faults(tmp_path, {"verb": "power_on", "effect": "pause", "nth": 1}))
    spec = make()
    driver.define(HOST, spec)
    driver.power_on(HOST, spec.uuid)
    found = driver.find(HOST, spec.uuid)
    assert found is not None
    assert (found.state, found.reason) == (MachineState.PAUSED, "ioerror-enospc")
    driver.resume(HOST, spec.uuid)
    assert driver.find(HOST, spec.uuid).state is MachineState.RUNNING  # type: ignore[union-attr]
    driver.close()


def test_a_hang_ends_by_abort_and_holds_nobody_else(tmp_path: Path) -> None:
    rule: dict[str, object] = {"verb": "power_on", "host": "a", "effect": "hang", "nth": 1}
    driver = open_driver(tmp_path, faults=write_faults(tmp_path, rule), blocking=True)
    spec, other = make(), Host(2, "b", "simulated://b", "simulated-vm", HostState.UP)
    driver.define(HOST, spec)
    failures: list[Exception] = []

    def start() -> None:
        try:
            driver.power_on(HOST, spec.uuid)
        except OutcomeUnknown as error:
            failures.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    driver.define(other, make())
    assert thread.is_alive()

    def is_ended() -> bool:
        driver.abort(HOST)
        return not thread.is_alive()

    wait_until(is_ended, what="the end of the hung call")
    assert len(failures) == 1
    driver.close()


def test_slow_takes_its_time(tmp_path: Path) -> None:
    rule: dict[str, object] = {"verb": "find", "effect": "slow", "seconds": 0.2}
    driver = open_driver(tmp_path, faults=write_faults(tmp_path, rule), blocking=True)
    began = time.monotonic()
    driver.find(HOST, str(uuid4()))
    assert time.monotonic() - began >= 0.2
    driver.close()


def test_file_of_faults_is_read_again(tmp_path: Path) -> None:
    faults = write_faults(tmp_path)
    driver = open_driver(tmp_path, faults=faults)
    driver.load(HOST)
    write_faults(tmp_path, {"verb": "load", "effect": "fail"})
    with pytest.raises(StepFailed):
        driver.load(HOST)
    Path(faults).unlink()
    driver.load(HOST)
    driver.close()


@pytest.mark.parametrize(
    "rule",
    [
        {"verb": "load", "effect": "hang"},
        {"verb": "x", "effect": "fail"},
        {"effect": "fail"},
        {"verb": "load", "a": 1},
    ],
)
def test_bad_faults_are_refused(tmp_path: Path, rule: dict[str, object]) -> None:
    driver = open_driver(tmp_path, faults=write_faults(tmp_path, rule))
    with pytest.raises(ConfigInvalid, match=r"faults\.json"):
        driver.load(HOST)
    driver.close()


def test_uri() -> None:
    assert parse("simulated://n1?cpus=8&memory_mb=100") == HostSize("n1", 8, 100)
    assert parse("simulated://n1") == HostSize("n1")
    for bad in (
        "simulated://",
        "simulated://n1?cpus=0",
        "simulated://n1?disk=1",
        "qemu:///system",
        "simulated://n1?cpus=x",
    ):
        with pytest.raises(InvalidInput):
            parse(bad)


def test_sample_configuration_shows_the_defaults() -> None:
    sample = Path(__file__).parent.parent / "etc" / "simulated.toml"
    assert Config(**tomllib.loads(sample.read_text())) == Config()
