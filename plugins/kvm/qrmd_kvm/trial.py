"""Does KVM really run guests on this host? ``/dev/kvm`` may be there, open, and still never run one."""

from __future__ import annotations

import time
import uuid
from typing import Any
from xml.etree import ElementTree as ET

import libvirt

from qrmd.api import OwnerTag
from qrmd.libvirt import Label, Shelf, build_label

SECONDS = 5.0
"""In which the firmware of a guest has to say something; it takes 0.3 s where KVM works."""

SUBJECT = "trial"
NAME = "qrmd-trial-"
_POLL = 0.1
_FLAGS = libvirt.VIR_DOMAIN_START_AUTODESTROY  # it ends with our connection, whatever happens


def find_fault(connection: Any, shelf: Shelf, installation: str, cpu_mode: str) -> str:
    """Start a throw-away guest under KVM, with the processor that real ones will get.

    Returns:
        Why KVM can't be used; empty if it can.

    Raises:
        libvirtError: the connection broke.
    """
    name = f"{NAME}{uuid.uuid4()}"
    console = f"{name}.log"
    try:
        return _start(connection, _trial_xml(name, shelf.path(console), installation, cpu_mode), shelf, console)
    finally:
        for each in shelf.names(NAME):  # an earlier trial may have been killed
            shelf.remove(each)


def _start(connection: Any, xml: str, shelf: Shelf, console: str) -> str:
    try:
        domain = connection.createXML(xml, _FLAGS)
    except libvirt.libvirtError as error:
        if not connection.isAlive():
            raise
        return " ".join(str(error.get_error_message()).split())[:200]
    try:
        return _observe(domain, shelf, console)
    finally:
        _end(domain)


def _observe(domain: Any, shelf: Shelf, console: str) -> str:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if shelf.read(console, 4096):
            return ""
        if domain.state()[0] != libvirt.VIR_DOMAIN_RUNNING:
            return "a guest was started with KVM and stopped at once"
        time.sleep(_POLL)
    return f"a guest was started with KVM and its firmware said nothing for {SECONDS:g} s"


def _end(domain: Any) -> None:
    try:
        domain.destroy()
    except libvirt.libvirtError as error:
        if error.get_error_code() not in {libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID}:
            raise


def _trial_xml(name: str, console: str, installation: str, cpu_mode: str) -> str:
    domain = ET.Element("domain", type="kvm")
    ET.SubElement(domain, "name").text = name
    ET.SubElement(domain, "metadata").append(build_label(Label(OwnerTag(installation, SUBJECT))))
    ET.SubElement(domain, "memory", unit="MiB").text = "32"
    ET.SubElement(domain, "vcpu").text = "1"
    boot = ET.SubElement(domain, "os")
    ET.SubElement(boot, "type", machine="pc").text = "hvm"
    ET.SubElement(boot, "bios", useserial="yes")
    ET.SubElement(domain, "cpu", mode=cpu_mode)
    devices = ET.SubElement(domain, "devices")
    serial = ET.SubElement(devices, "serial", type="pty")
    ET.SubElement(serial, "log", file=console, append="off")
    ET.SubElement(devices, "controller", type="usb", model="none")
    ET.SubElement(devices, "memballoon", model="none")
    return ET.tostring(domain, encoding="unicode")
