"""The driver keeps the contract, on a real libvirt."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4
from xml.etree import ElementTree as ET

import libvirt
import pytest

from qrmd.api import MachineState, OwnerTag
from qrmd.libvirt import Label, build_label
from qrmd.testing.contracts.virtualization import VirtualizationContract
from qrmd.testing.lab import LabAccess


class Foreigners:
    """Machines that are made without the driver."""

    def __init__(self, uri: str) -> None:
        self._connection = libvirt.open(uri)
        self._uuids: list[str] = []

    def __call__(self, name: str, installation: str | None) -> str:
        domain = ET.Element("domain", type="qemu")
        uuid = str(uuid4())
        for tag, text in (("name", name), ("uuid", uuid), ("memory", "65536"), ("vcpu", "1")):
            ET.SubElement(domain, tag).text = text
        ET.SubElement(ET.SubElement(domain, "os"), "type").text = "hvm"
        if installation is not None:
            ET.SubElement(domain, "metadata").append(build_label(Label(OwnerTag(installation, "appliance:12"))))
        self._connection.defineXML(ET.tostring(domain, encoding="unicode")).create()
        self._uuids.append(uuid)
        return uuid

    def state(self, uuid: str) -> MachineState:
        state = self._connection.lookupByUUIDString(uuid).state()[0]
        return MachineState.RUNNING if state == libvirt.VIR_DOMAIN_RUNNING else MachineState.OFF

    def remove(self) -> None:
        for uuid in self._uuids:
            domain = self._connection.lookupByUUIDString(uuid)
            if domain.isActive():
                domain.destroy()
            domain.undefine()
        self._connection.close()


@pytest.fixture
def plant(access: LabAccess) -> Iterator[Foreigners]:
    foreigners = Foreigners(access.libvirt_uri)
    yield foreigners
    foreigners.remove()


class TestKvm(VirtualizationContract):
    def unreachable_uri(self) -> str:
        return "qemu:///system?socket=/nowhere/libvirt-sock"
