"""The simulated driver keeps the same contract as a real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from qrmd.api import Host, MachineSpec, MachineState, OwnerTag
from qrmd.states import HostState
from qrmd.testing.contracts.virtualization import INSTALLATION, VirtualizationContract
from qrmd_simulated.config import Config
from qrmd_simulated.driver import SimulatedDriver
from qrmd_simulated.world import Machine

HOST = Host(7, "a", "simulated://a?cpus=4&memory_mb=8192", "simulated-vm", HostState.UP)


@pytest.fixture
def host() -> Host:
    return HOST


@pytest.fixture(params=[False, True], ids=["reactor", "threads"])
def driver(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SimulatedDriver]:
    driver = SimulatedDriver(INSTALLATION, Config(blocking=request.param), tmp_path)
    yield driver
    driver.close()


def make_spec(name: str, **changes: Any) -> MachineSpec:
    tag = OwnerTag(INSTALLATION, "appliance:12")
    spec = MachineSpec(str(uuid4()), name, 1, 64, (), (), tag, {"meta-data": "a", "user-data": "b"})
    return MachineSpec(**{**{key: getattr(spec, key) for key in MachineSpec.__slots__}, **changes})


@pytest.fixture
def spec_factory() -> Any:
    return make_spec


class Foreigners:
    """Machines that are made without the driver."""

    def __init__(self, driver: SimulatedDriver) -> None:
        self._world = driver.world

    def __call__(self, name: str, installation: str | None) -> str:
        uuid = str(uuid4())
        machine = Machine(uuid, name, 1, 64, installation or "", "appliance:12")
        self._world.define("a", machine)
        self._world.change("a", machine, MachineState.RUNNING)
        return uuid

    def state(self, uuid: str) -> MachineState:
        return self._world.at("a").by_uuid[uuid].state


@pytest.fixture
def plant(driver: SimulatedDriver) -> Foreigners:
    return Foreigners(driver)


class TestSimulated(VirtualizationContract):
    def unreachable_uri(self) -> str:
        return "simulated://a/b?cpus=none"
