"""One lab for all tests of this plugin, and machines to work on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from qrmd.api import Host, MachineNic, MachineSpec, OwnerTag
from qrmd.states import HostState
from qrmd.testing.contracts.virtualization import INSTALLATION
from qrmd.testing.lab import LabAccess, lab
from qrmd.testing.needs import require
from qrmd_kvm.config import Config
from qrmd_kvm.driver import KvmDriver

LAB = f"kvm-{os.getpid()}"


@pytest.fixture(scope="session")
def access() -> Iterator[LabAccess]:
    require("lab", "libvirt")
    yield lab.up(LAB)
    lab.down(LAB)


@pytest.fixture
def host(access: LabAccess) -> Host:
    return Host(7, "a", access.libvirt_uri, "kvm-vm", HostState.UP)


@pytest.fixture
def config(access: LabAccess) -> Config:
    return Config(domain_type=access.domain_type, open_seconds=2, query_seconds=3, change_seconds=15)


@pytest.fixture
def driver(config: Config) -> Iterator[KvmDriver]:
    driver = KvmDriver(INSTALLATION, config)
    yield driver
    driver.close()


class Specs:
    """Makes specifications of machines without a disk: they stay in their firmware."""

    def __init__(self, bridge: str) -> None:
        self._bridge = bridge
        self._count = 0

    def __call__(self, name: str, **changes: Any) -> MachineSpec:
        self._count += 1
        fields: dict[str, Any] = {
            "uuid": str(uuid4()),
            "name": name,
            "cpus": 1,
            "memory_mb": 64,
            "disks": (),
            "nics": (MachineNic(f"52:54:00:00:00:{self._count:02x}", self._bridge),),
            "tag": OwnerTag(INSTALLATION, "appliance:12"),
            "seed": {"meta-data": "instance-id: 1\n", "user-data": "#cloud-config\nhostname: ü\n"},
        }
        return MachineSpec(**{**fields, **changes})


@pytest.fixture
def spec_factory(access: LabAccess) -> Specs:
    return Specs(access.bridge)
