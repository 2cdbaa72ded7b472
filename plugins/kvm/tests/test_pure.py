"""Domain XML, seeds, URIs and labels: what needs no host."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from defusedxml import ElementTree as SafeET
from hypothesis import given
from hypothesis import strategies as st

from qrmd.api import Attachment, ConfigInvalid, InvalidInput, MachineDisk, MachineNic, MachineSpec, OwnerTag
from qrmd.libvirt import Label, build_label, read_label
from qrmd.libvirt.uri import Target, Transport, parse
from qrmd_kvm.config import Config
from qrmd_kvm.domain import Hardware, build_domain, check_spec
from qrmd_kvm.seed import MAX_BYTES, build_seed, read_seed

SPEC = MachineSpec(
    uuid="7c2b1f0e-0000-4000-8000-000000000001",
    name="web-1",
    cpus=2,
    memory_mb=512,
    disks=(MachineDisk(Attachment("file", "/srv/web-1.qcow2", "qcow2"), "vda"),),
    nics=(MachineNic("52:54:00:00:00:01", "br0"),),
    tag=OwnerTag("0c0ffee0-0000-4000-8000-000000000001", "appliance:12"),
    seed={"meta-data": "instance-id: 1\n"},
)
HARDWARE = Hardware("qemu", "maximum", "pc", vnc=True, seed="/pool/a.iso", console="/pool/a.log")


def built(spec: MachineSpec = SPEC, **hardware: Any) -> ET.Element:
    return SafeET.fromstring(build_domain(spec, replace(HARDWARE, **hardware))[0])


def test_domain_has_what_was_asked() -> None:
    domain = built()
    assert domain.get("type") == "qemu"
    assert [domain.findtext(name) for name in ("name", "uuid", "memory", "vcpu")] == [
        SPEC.name,
        SPEC.uuid,
        "512",
        "2",
    ]
    assert domain.find("os/boot").get("dev") == "hd"  # type: ignore[union-attr]
    assert [disk.get("file") for disk in domain.findall("devices/disk/source")] == ["/srv/web-1.qcow2", "/pool/a.iso"]
    assert {driver.get("error_policy") for driver in domain.findall("devices/disk/driver")} == {"enospace"}
    assert len(domain.findall("devices/disk/readonly")) == 1
    assert domain.find("devices/interface/source").get("bridge") == "br0"  # type: ignore[union-attr]
    assert domain.find("devices/memballoon").get("model") == "none"  # type: ignore[union-attr]
    assert domain.find("devices/graphics/listen").get("type") == "socket"  # type: ignore[union-attr]
    assert domain.find("devices/serial/log").get("file") == "/pool/a.log"  # type: ignore[union-attr]


def test_nothing_of_the_seed_is_in_the_domain() -> None:
    assert "instance-id" not in build_domain(SPEC, HARDWARE)[0]
    other = replace(SPEC, seed={"meta-data": "x"})
    assert build_domain(SPEC, HARDWARE)[1] == build_domain(other, HARDWARE)[1]


def test_digest_follows_the_specification() -> None:
    same, other = build_domain(replace(SPEC), HARDWARE), build_domain(replace(SPEC, cpus=3), HARDWARE)
    assert build_domain(SPEC, HARDWARE) == same
    assert same[1] != other[1]


def test_kernel_is_booted_directly() -> None:
    domain = built(replace(SPEC, kernel="/boot/vmlinuz", initrd="/boot/initrd", cmdline="a=<b> & 'c'"))
    assert [domain.findtext(f"os/{name}") for name in ("kernel", "initrd", "cmdline")] == [
        "/boot/vmlinuz", "/boot/initrd", "a=<b> & 'c'",
    ]  # fmt: skip
    assert domain.find("os/boot") is None


def test_machine_without_disk_boots_from_the_network() -> None:
    assert built(replace(SPEC, disks=()), seed="").find("os/boot").get("dev") == "network"  # type: ignore[union-attr]
    assert built(replace(SPEC, disks=()), seed="").find("devices/disk") is None


@pytest.mark.parametrize(
    ("attachment", "kind", "source", "server"),
    [
        (Attachment("block", "/dev/vg/web-1", "raw"), "block", {"dev": "/dev/vg/web-1"}, None),
        (Attachment("nbd", "clone1", "raw", "10.0.0.1:10810"), "network", {"protocol": "nbd", "name": "clone1"},
         {"name": "10.0.0.1", "port": "10810"}),
        (Attachment("iscsi", "iqn.2026-01.x:a/1", "raw", "[fd00::1]:3261"), "network",
         {"protocol": "iscsi", "name": "iqn.2026-01.x:a/1"}, {"name": "fd00::1", "port": "3261"}),
        (Attachment("nbd", "c", "raw", "store"), "network", {"protocol": "nbd", "name": "c"},
         {"name": "store", "port": "10809"}),
    ],
)  # fmt: skip
def test_disk_protocols(
    attachment: Attachment, kind: str, source: dict[str, str], server: dict[str, str] | None
) -> None:
    disk = built(replace(SPEC, disks=(MachineDisk(attachment, "vda"),)), seed="").find("devices/disk")
    assert disk is not None
    assert disk.get("type") == kind
    element = disk.find("source")
    assert element is not None
    assert element.attrib == source
    found = element.find("host")
    assert (found.attrib if found is not None else None) == server


@pytest.mark.parametrize(
    "changes",
    [
        {"cpus": 0},
        {"memory_mb": -1},
        {"nics": (MachineNic("52:54:00:00:00:01", "br0;x"),)},
        {"nics": (MachineNic("53:54:00:00:00:01", "br0"),)},
        {"disks": (MachineDisk(Attachment("file", "/a\x00b", "raw"), "vda"),)},
        {"disks": (MachineDisk(Attachment("file", "/a", "vmdk"), "vda"),)},
        {"disks": (MachineDisk(Attachment("file", "/a", "raw"), "vdz"),)},
        {"disks": (MachineDisk(Attachment("file", "/a", "raw"), "vda"),) * 2},
        {"cmdline": "a\nb"},
        {"tag": OwnerTag("x", "\ud800")},
    ],
)
def test_bad_specification_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        check_spec(replace(SPEC, **changes))


@pytest.mark.parametrize("attachment", [Attachment("file", "a", "raw"), Attachment("ftp", "/a", "raw")])
def test_bad_disk_is_refused(attachment: Attachment) -> None:
    with pytest.raises(InvalidInput):
        built(replace(SPEC, disks=(MachineDisk(attachment, "vda"),)))


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufffe\uffff"), max_size=50))
def test_label_survives_any_subject(subject: str) -> None:
    label = Label(OwnerTag("i", subject), "d")
    assert read_label(ET.tostring(build_label(label), encoding="unicode")) == label


@pytest.mark.parametrize("text", ["", "<", "<x/>", '<!DOCTYPE a [<!ENTITY b "c">]><machine subject="&b;"/>'])
def test_what_is_no_label_is_none(text: str) -> None:
    assert read_label(text) is None


@given(st.dictionaries(st.sampled_from(["meta-data", "user-data", "network-config", "vendor-data"]), st.text()))
def test_seed_is_read_as_written(files: dict[str, str]) -> None:
    volume = build_seed(files)
    assert volume[32808:32814] == b"cidata"
    assert read_seed(volume) == files


def test_half_a_seed_is_none() -> None:
    volume = build_seed({"user-data": "x" * 5000})
    assert read_seed(volume[: len(volume) // 2]) is None
    assert read_seed(b"") is None
    assert read_seed(b"\0" * len(volume)) is None


@pytest.mark.parametrize("files", [{"../a": ""}, {"": ""}, {"a/b": ""}, {"user-data": "x" * (MAX_BYTES + 1)}])
def test_bad_seed_is_refused(files: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        build_seed(files)


def test_uris() -> None:
    assert parse("qemu:///system?socket=/a/b") == Target("qemu", Transport.UNIX, "/system", "/a/b")
    assert parse("qemu+unix:///system?socket=/a/b").libvirt_uri() == "qemu+unix:///system?socket=/a/b"
    assert parse("xen:///system").address() in {"/run/libvirt/virtxend-sock", "/run/libvirt/libvirt-sock"}
    ssh = parse("qemu+ssh://root@h:2222/system?keyfile=/k&no_verify=1")
    assert (ssh.transport, ssh.user, ssh.host, ssh.port) == (Transport.SSH, "root", "h", 2222)
    assert ssh.libvirt_uri("/near") == "qemu+unix:///system?socket=/near"
    assert parse("qemu+tcp://[::1]/system").address() == ("::1", 16509)
    assert parse("qemu+tcp://[::1]/system").libvirt_uri() == "qemu+tcp://[::1]:16509/system"


@pytest.mark.parametrize(
    "uri",
    [
        "", "qemu", "qemu:///", "qemu://host/system", "qemu+tls://host/system", "qemu+ext:///system?command=/bin/sh",
        "qemu+ssh:///system", "qemu+ssh://-oProxyCommand=x/system", "qemu:///system?socket=rel",
        "qemu:///system?mode=x", "qemu+tcp://h:x/system", f"qemu:///system?socket=/{'a' * 200}",
        "qemu+ssh://h/system?command=x",
    ],
)  # fmt: skip
def test_bad_uris_are_refused(uri: str) -> None:
    with pytest.raises(InvalidInput, match="libvirt URI"):
        parse(uri)


@pytest.mark.parametrize("bad", [{"domain_type": "xen"}, {"cpu_mode": "x"}, {"directory": "a"}, {"open_seconds": 0}])
def test_bad_configuration_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigInvalid, match=next(iter(bad))):
        Config(**bad)


def test_sample_configuration_shows_the_defaults() -> None:
    sample = Path(__file__).parent.parent / "etc" / "kvm.toml"
    assert Config(**tomllib.loads(sample.read_text())) == Config()
