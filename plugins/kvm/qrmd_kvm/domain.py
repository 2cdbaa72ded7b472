"""From a machine's specification to libvirt's domain XML. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from qrmd.api import Attachment, InvalidInput, MachineDisk, MachineNic, MachineSpec, names
from qrmd.libvirt import Label, build_label, check_uuid

SEED_TARGET = "vdz"
_TARGET = re.compile(r"vd[a-y]")
_MAC = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}")
_TEXT = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]{0,4096}")  # what XML can hold in one line
_FORMATS = ("raw", "qcow2")
_DEFAULT_PORTS = {"nbd": "10809", "iscsi": "3260"}


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the host and the configuration decide.

    Attributes:
        domain_type: ``kvm`` or ``qemu``.
        cpu_mode: libvirt's.
        machine: QEMU's machine type; empty: libvirt's choice.
        vnc: console on a private socket.
        seed: path of the seed on the host; empty: none.
        console: path of the console log on the host.
    """

    domain_type: str
    cpu_mode: str
    machine: str
    vnc: bool
    seed: str
    console: str


def check_spec(spec: MachineSpec) -> None:
    """Refuse what libvirt would misunderstand.

    Raises:
        InvalidInput: names the field.
    """
    check_uuid(spec.uuid)
    names.check_name(spec.name, "machine name")
    for field, number in (("cpus", spec.cpus), ("memory_mb", spec.memory_mb)):
        if number < 1:
            raise InvalidInput(f"{field} must be at least 1, not {number}", subject=f"machine:{spec.name}")
    targets = [disk.target for disk in spec.disks]
    if len(set(targets)) != len(targets) or not all(map(_TARGET.fullmatch, targets)):
        raise InvalidInput("disk targets must be different ones of vda to vdy", subject=f"machine:{spec.name}")
    for nic in spec.nics:
        names.check_bridge(nic.bridge)
        if not _MAC.fullmatch(nic.mac):
            raise InvalidInput(f"{nic.mac[:60]!a} is not a unicast MAC address in lower case")
    attachments = [disk.attachment for disk in spec.disks]
    texts = [text for item in attachments for text in (item.source, item.address)]
    for text in (*texts, spec.kernel, spec.initrd, spec.cmdline, spec.tag.subject, spec.tag.installation):
        if not _TEXT.fullmatch(text):
            raise InvalidInput(f"{text[:60]!a} holds characters that are not allowed")
    if bad := [item.format for item in attachments if item.format not in _FORMATS]:
        raise InvalidInput(f"disk format {bad[0][:60]!a} is not known", hint="use raw or qcow2")


def build_domain(spec: MachineSpec, hardware: Hardware) -> tuple[str, str]:
    """The domain XML and its digest, which is also in its label: same specification, same digest."""
    bare = _domain(spec, hardware, "")
    digest = hashlib.sha256(ET.tostring(bare)).hexdigest()
    return ET.tostring(_domain(spec, hardware, digest), encoding="unicode"), digest


def _domain(spec: MachineSpec, hardware: Hardware, digest: str) -> ET.Element:
    domain = ET.Element("domain", type=hardware.domain_type)
    _text(domain, "name", spec.name)
    _text(domain, "uuid", spec.uuid)
    ET.SubElement(domain, "metadata").append(build_label(Label(spec.tag, digest)))
    _text(domain, "memory", spec.memory_mb, unit="MiB")
    _text(domain, "vcpu", spec.cpus)
    _boot(domain, spec, hardware)
    features = ET.SubElement(domain, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(domain, "cpu", mode=hardware.cpu_mode)
    ET.SubElement(domain, "clock", offset="utc")
    for event, action in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        _text(domain, event, action)
    ET.SubElement(domain, "devices").extend(list(_devices(spec, hardware)))
    return domain


def _boot(domain: ET.Element, spec: MachineSpec, hardware: Hardware) -> None:
    boot = ET.SubElement(domain, "os")
    _text(boot, "type", "hvm", **({"machine": hardware.machine} if hardware.machine else {}))
    if not spec.kernel:
        ET.SubElement(boot, "boot", dev="hd" if spec.disks else "network")
        return
    _text(boot, "kernel", spec.kernel)
    if spec.initrd:
        _text(boot, "initrd", spec.initrd)
    if spec.cmdline:
        _text(boot, "cmdline", spec.cmdline)


def _devices(spec: MachineSpec, hardware: Hardware) -> Iterator[ET.Element]:
    yield from (_disk(disk) for disk in spec.disks)
    if hardware.seed:
        yield _disk(MachineDisk(Attachment("file", hardware.seed, "raw"), SEED_TARGET, read_only=True))
    yield from (_nic(nic) for nic in spec.nics)
    serial = ET.Element("serial", type="pty")
    ET.SubElement(serial, "log", file=hardware.console, append="on")
    yield serial
    yield ET.Element("controller", type="usb", model="none")
    yield ET.Element("memballoon", model="none")
    rng = ET.Element("rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")
    yield rng
    if hardware.vnc:
        graphics = ET.Element("graphics", type="vnc")
        ET.SubElement(graphics, "listen", type="socket")  # libvirt makes it in the domain's private directory
        yield graphics
        video = ET.Element("video")
        ET.SubElement(video, "model", type="vga")
        yield video


def _disk(disk: MachineDisk) -> ET.Element:
    attachment = disk.attachment
    kind = attachment.protocol if attachment.protocol in {"file", "block"} else "network"
    element = ET.Element("disk", type=kind, device="disk")
    # Out of space pauses the guest, which goes on when there is some; other errors are the guest's to handle.
    ET.SubElement(element, "driver", name="qemu", type=attachment.format, error_policy="enospace")
    element.append(_source(attachment))
    ET.SubElement(element, "target", dev=disk.target, bus="virtio")
    if disk.read_only:
        ET.SubElement(element, "readonly")
    return element


def _source(attachment: Attachment) -> ET.Element:
    if attachment.protocol == "file":
        return ET.Element("source", file=_absolute(attachment.source))
    if attachment.protocol == "block":
        return ET.Element("source", dev=_absolute(attachment.source))
    if attachment.protocol not in _DEFAULT_PORTS:
        raise InvalidInput(f"disk protocol {attachment.protocol[:60]!a} is not known to kvm")
    host, _, port = attachment.address.rpartition(":")
    if not host:
        host, port = attachment.address, ""
    source = ET.Element("source", protocol=attachment.protocol, name=attachment.source)
    ET.SubElement(source, "host", name=host.strip("[]"), port=port or _DEFAULT_PORTS[attachment.protocol])
    return source


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise InvalidInput(f"disk {path[:60]!a} is not an absolute path")
    return path


def _nic(nic: MachineNic) -> ET.Element:
    element = ET.Element("interface", type="bridge")
    ET.SubElement(element, "mac", address=nic.mac)
    ET.SubElement(element, "source", bridge=nic.bridge)
    ET.SubElement(element, "model", type="virtio")
    return element


def _text(parent: ET.Element, name: str, value: object, **attributes: str) -> None:
    ET.SubElement(parent, name, attributes).text = str(value)
