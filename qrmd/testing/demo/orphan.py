"""The control of the sweep: two things with our owner tag that no row knows."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from xml.etree import ElementTree as ET

from qrmd.drivers import OwnerTag
from qrmd.libvirt.tag import Label, build_label
from qrmd.process import run
from qrmd.testing.demo.evidence import Trace
from qrmd.testing.lab import LabAccess

NAME = "planted-orphan"
SUBJECT = "appliance:4711"


def plant(access: LabAccess, volumes: Path, installation: str) -> list[Trace]:
    """Define a domain and put a volume, both tagged as the installation's; returns what a sweep must find."""
    definition = volumes.parent / f"{NAME}.xml"
    definition.write_text(_domain(access, installation), encoding="utf-8")
    run(["virsh", "--connect", access.libvirt_uri, "define", str(definition)], timeout=30)
    definition.unlink()
    volume, owner = volumes / NAME, volumes / f".{NAME}.owner"
    run(["qemu-img", "create", "-q", "-f", "qcow2", str(volume), "16M"], timeout=30)
    owner.write_text(json.dumps({"installation": installation, "subject": SUBJECT, "format": "qcow2"}))
    return [Trace("domain", NAME), Trace("file", str(volume))]


def _domain(access: LabAccess, installation: str) -> str:
    domain = ET.Element("domain", type=access.domain_type)
    ET.SubElement(domain, "name").text = NAME
    ET.SubElement(domain, "uuid").text = str(uuid.uuid4())
    ET.SubElement(domain, "metadata").append(build_label(Label(OwnerTag(installation, SUBJECT))))
    ET.SubElement(domain, "memory", unit="MiB").text = "64"
    ET.SubElement(ET.SubElement(domain, "os"), "type").text = "hvm"
    return ET.tostring(domain, encoding="unicode")
