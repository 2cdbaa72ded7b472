"""The micro image as a guest of a lab: from power-on to a login, and back to nothing."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from qrmd.process import Process, run, spawn
from qrmd.testing.interpreter import module_environment
from qrmd.testing.needs import require
from qrmd.testing.waiting import wait_until

require("libvirt", "lab", "dnsmasq", "ssh", "iso", "qemu-img")

import libvirt  # noqa: E402

from qrmd.testing.images import micro  # noqa: E402
from qrmd.testing.lab import LabAccess, exec_argv, hypervisor, lab  # noqa: E402

PASSWORD = "correct horse, battery"
BOOT = 120.0  # seconds; it takes four on an idle machine
MAC = "52:54:00:00:77:01"


@dataclass
class Guest:
    """One domain and what is around it."""

    access: LabAccess
    directory: Path
    key: Path
    domain: libvirt.virDomain = field(init=False)

    @property
    def console(self) -> str:
        path = self.directory / "console"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    @property
    def leases(self) -> list[list[str]]:
        """Lines of dnsmasq's lease file: expiry, MAC, address, host name, client id."""
        return [line.split() for line in (self.directory / "leases").read_text(encoding="ascii").splitlines()]

    @property
    def address(self) -> str:
        found = [lease[2] for lease in self.leases if lease[1] == MAC]
        return found[0] if found else ""

    def ssh(self, command: str, *, user: str = "root", password: str = "") -> str:
        """What the command says; empty if the login was not possible (yet)."""
        options = [
            "-q",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "ConnectTimeout=2",
        ]
        way = ["-o", "PubkeyAuthentication=no"] if password else ["-o", "BatchMode=yes", "-i", str(self.key)]
        line = ["ssh", *options, *way, f"{user}@{self.address}", command]
        if password:
            line = ["sshpass", "-e", *line]
        if not self.address:
            return ""
        env = {**os.environ, "SSHPASS": password}
        return run(exec_argv(self.access, line), timeout=30, env=env, check=False).stdout

    def wait_for_login(self, **how: str) -> str:
        return wait_until(
            lambda: self.ssh("hostname", **how), timeout=BOOT, interval=0.1, what=f"a login\n{self.console}"
        )

    def wait_for_end(self, timeout: float) -> None:
        wait_until(lambda: not self.domain.isActive(), timeout=timeout, what=f"power off\n{self.console}")


@pytest.fixture(scope="module")
def access() -> Iterator[LabAccess]:
    name = f"m{os.getpid()}"
    yield lab.up(name)
    lab.down(name)
    assert lab.sweep(name) == []


@pytest.fixture
def dhcp(access: LabAccess, tmp_path: Path) -> Iterator[Process]:
    (tmp_path / "leases").touch()
    options = [f"--dhcp-leasefile={tmp_path}/leases", f"--interface={access.bridge}", "--bind-interfaces"]
    ranges = ["--dhcp-range=10.77.0.100,10.77.0.120,1h", "--no-ping", "--dhcp-authoritative", "--log-dhcp"]
    quiet = ["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", f"--pid-file={tmp_path}/pid"]
    line = exec_argv(access, ["dnsmasq", *quiet, *options, *ranges, "--log-facility=-"])
    server = spawn(line, log=tmp_path / "dnsmasq.log")
    yield server
    server.terminate()


@pytest.fixture
def guest(access: LabAccess, dhcp: Process, tmp_path: Path) -> Iterator[Guest]:
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "id")], timeout=10)
    new = Guest(access, tmp_path, tmp_path / "id")
    disk = tmp_path / "disk.qcow2"
    backing = ["-b", str(access.micro_image), "-F", "qcow2"]
    run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(disk), "1G"], timeout=20)
    connection = libvirt.open(access.libvirt_uri)
    new.domain = connection.defineXML(describe(access, tmp_path))
    yield new
    if new.domain.isActive():
        new.domain.destroy()
    new.domain.undefine()
    connection.close()


def describe(access: LabAccess, directory: Path) -> str:
    return f"""<domain type='{access.domain_type}'><name>guest</name><memory unit='MiB'>128</memory>
    <os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features><cpu mode='maximum'/>
    <devices>
      <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{directory}/seed.iso'/>
        <target dev='vda' bus='virtio'/><readonly/><boot order='2'/></disk>
      <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{directory}/disk.qcow2'/>
        <target dev='vdb' bus='virtio'/><boot order='1'/></disk>
      <interface type='bridge'><source bridge='{access.bridge}'/>
        <mac address='{MAC}'/><model type='virtio'/></interface>
      <serial type='pty'><log file='{directory}/console' append='off'/></serial>
      <controller type='usb' model='none'/><memballoon model='none'/>
    </devices></domain>"""


def write_seed(guest: Guest, instance: str = "i-1", **changes: object) -> None:
    hashed = run(["openssl", "passwd", "-6", "-stdin"], input=PASSWORD, timeout=20).stdout.strip()
    users = [{"name": who, "password": hashed, "type": "hash"} for who in ("root", "ann")]
    key = guest.key.with_suffix(".pub").read_text(encoding="ascii").strip()
    data: dict[str, object] = {
        "hostname": "web-1",
        "ssh_authorized_keys": [key],
        "chpasswd": {"expire": False, "users": users},
        "ssh_pwauth": True,
        "disable_root": False,
        **changes,
    }
    write_iso(guest, instance, "#cloud-config\n" + yaml.safe_dump(data))


def write_iso(guest: Guest, instance: str, user_data: str) -> None:
    (guest.directory / "user-data").write_text(user_data, encoding="utf-8")
    (guest.directory / "meta-data").write_text(f"instance-id: {instance}\n", encoding="utf-8")
    files = [str(guest.directory / name) for name in ("user-data", "meta-data")]
    label = ["-volid", "cidata", "-joliet", "-rock"]
    run(["genisoimage", "-quiet", "-output", str(guest.directory / "seed.iso"), *label, *files], timeout=20)


def test_from_power_on_to_login_to_a_clean_end(guest: Guest) -> None:
    write_seed(guest)
    guest.domain.create()
    assert guest.wait_for_login(password=PASSWORD) == "web-1\n"
    assert guest.ssh("hostname") == "web-1\n"  # by key
    assert guest.ssh("id -un; pwd", user="ann", password=PASSWORD) == "ann\n/home/ann\n"
    assert guest.ssh("hostname", password="wrong") == ""
    assert [lease[3] for lease in guest.leases] == ["web-1"]
    blocks = int(guest.ssh("df -k / | tail -n 1").split()[1])
    assert blocks > 900_000, "the file system has not grown to the disk"
    guest.domain.shutdown()
    guest.wait_for_end(20)
    wait_until(lambda: guest.leases == [], what="the release of the address")
    assert "DHCPRELEASE" in (guest.directory / "dnsmasq.log").read_text(encoding="utf-8")


def test_poweroff_from_inside_is_as_clean(guest: Guest) -> None:
    write_seed(guest)
    guest.domain.create()
    guest.wait_for_login()
    guest.ssh("poweroff")
    guest.wait_for_end(20)
    wait_until(lambda: guest.leases == [], what="the release of the address")


def test_a_power_cut_costs_nothing_and_a_seed_counts_once(guest: Guest) -> None:
    write_seed(guest)
    guest.domain.create()
    guest.wait_for_login()
    host_key = guest.ssh("dropbearkey -y -f /etc/dropbear/ed25519")
    guest.ssh("echo kept > /root/note; sync")
    guest.domain.destroy()
    write_seed(guest, hostname="other")  # the same instance: must not count
    guest.domain.create()
    assert guest.wait_for_login() == "web-1\n"
    assert guest.ssh("cat /root/note") == "kept\n"
    assert guest.ssh("dropbearkey -y -f /etc/dropbear/ed25519") == host_key
    assert "EXT4-fs error" not in guest.ssh("dmesg")
    guest.domain.destroy()
    write_seed(guest, instance="i-2", hostname="other")  # a clone: a new name and new host keys
    guest.domain.create()
    assert guest.wait_for_login() == "other\n"
    assert guest.ssh("dropbearkey -y -f /etc/dropbear/ed25519") != host_key


@pytest.mark.parametrize("seed", ["broken", "none"])
def test_ssh_does_not_answer_without_a_seed(guest: Guest, seed: str) -> None:
    if seed == "broken":
        write_iso(guest, "i-1", "#cloud-config\nhostname: [x\n")
    else:
        (guest.directory / "seed.iso").write_bytes(bytes(1024 * 1024))
    guest.domain.create()
    wait_until(lambda: "no ssh: the seed was not applied" in guest.console, timeout=BOOT, what="its complaint")
    wait_until(lambda: guest.address, timeout=BOOT, what="its address")
    closed = ["nc", "-z", "-w", "1", guest.address, "22"]
    assert run(exec_argv(guest.access, ["busybox", *closed]), timeout=10, check=False).returncode == 1
    guest.domain.shutdown()  # the power button works all the same
    guest.wait_for_end(20)


def test_every_nic_gets_an_address_and_gives_it_back(guest: Guest) -> None:
    write_seed(guest)
    second = "52:54:00:00:77:02"
    source = f"<interface type='bridge'><source bridge='{guest.access.bridge}'/>"
    guest.domain.attachDeviceFlags(
        f"{source}<mac address='{second}'/><model type='virtio'/></interface>", libvirt.VIR_DOMAIN_AFFECT_CONFIG
    )
    guest.domain.create()
    guest.wait_for_login()
    wait_until(lambda: {lease[1] for lease in guest.leases} == {MAC, second}, timeout=BOOT, what="two addresses")
    assert guest.ssh("ip route show default").count("default via") == 2
    guest.domain.shutdown()
    guest.wait_for_end(20)
    wait_until(lambda: guest.leases == [], what="the release of both")


def test_password_logins_can_be_forbidden(guest: Guest) -> None:
    write_seed(guest, ssh_pwauth=False)
    guest.domain.create()
    guest.wait_for_login()
    assert guest.ssh("hostname", password=PASSWORD) == ""


def test_nothing_is_left_when_libvirtd_was_killed_under_a_guest(tmp_path: Path) -> None:
    name = f"k{os.getpid()}"
    access = lab.up(name)
    try:
        (tmp_path / "leases").touch()
        disk = ["-b", str(access.micro_image), "-F", "qcow2", str(tmp_path / "disk.qcow2"), "1G"]
        run(["qemu-img", "create", "-q", "-f", "qcow2", *disk], timeout=20)
        (tmp_path / "seed.iso").write_bytes(bytes(1024 * 1024))
        connection = libvirt.open(access.libvirt_uri)
        connection.defineXML(describe(access, tmp_path)).create()
        hypervisor.kill_libvirtd(access)
        connection.close()
    finally:
        lab.down(name)
    assert lab.sweep(name) == []


def test_the_image_is_built_once_and_at_once_for_all() -> None:
    told: list[str] = []
    first = micro.build(told.append)
    assert micro.build(told.append) == first
    assert told == []
    assert first.raw.stat().st_size == first.size


def test_a_killed_build_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QRMD_CACHE", str(tmp_path / "cache"))
    code = "from qrmd.testing.images import micro; micro.build(print)"
    builder = spawn([sys.executable, "-c", code], env=module_environment())
    wait_until(lambda: list((tmp_path / "cache/images").glob("building-*")), what="the build")
    builder.signal(signal.SIGKILL)
    builder.wait(5)
    image = micro.build(lambda _line: None)
    assert image.qcow2.exists()
    assert [path for path in (tmp_path / "cache/images").iterdir() if path.name.startswith("building-")] == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
