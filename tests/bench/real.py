"""Real virtual machines: from approval to active, beside the bare sum of its parts in the same lab."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from xml.etree.ElementTree import Element, tostring

from defusedxml.ElementTree import fromstring

from qrmd.deployment.seed import build_seed
from qrmd.errors import QrmdError
from qrmd.process import run, spawn
from qrmd.testing.datacentre import GUEST_MB, IMAGE, DataCentre
from qrmd.testing.lab import LabAccess, exec_argv, lab
from tests.bench.figure import Figure, middle
from tests.bench.need import Unavailable

MOST_PERCENT = 10.0
USER = "carla"
MAC, ADDRESS = "52:54:00:be:0c:01", "10.77.0.50"
KNOCK = """
import socket, sys, time
while True:
    try:
        with socket.create_connection((sys.argv[1], 22), timeout=0.3) as guest:
            if guest.recv(4) == b"SSH-":
                print(time.monotonic())
                break
    except OSError:
        time.sleep(0.02)
"""


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds of a server's way to its users: all of it, and the part in which its guest boots."""

    all: float
    boot: float


def measure(*, quick: bool) -> Iterator[Figure]:
    """Ours and the parts by commands alternate, as others share the machine; the middle ratio is shown."""
    rounds = 2 if quick else 4
    name = f"b{os.getpid()}"
    try:
        access = lab.up(name)
    except QrmdError as error:
        raise Unavailable(str(error)) from error
    try:
        with tempfile.TemporaryDirectory(prefix="qrmd-bench-") as directory:
            found = list(_alternate(access, Path(directory), rounds))
    finally:
        lab.down(name)
    ours, bare = middle([(mine.all, parts.all) for mine, parts in found])
    yield Figure("real", "approval to active, one server", ours, "s", bare, 1 + MOST_PERCENT / 100, True,
                 "peer: clone, define, start, boot to the ssh banner by commands")  # fmt: skip
    around, bare_around = middle([(mine.all - mine.boot, parts.all - parts.boot) for mine, parts in found])
    yield Figure("real", "of that, without the boot", around, "s", bare_around, note="approval, journal and mail too")
    yield Figure("real", "overhead but for the boot", (around - bare_around) / bare * 100, "%", aim=MOST_PERCENT,
                 note="of all of the peer: boots vary with what else the machine does")  # fmt: skip


def _alternate(access: LabAccess, directory: Path, rounds: int) -> Iterator[tuple[Took, Took]]:
    """Seconds of ours and of the parts. The daemon is down meanwhile: each has a DHCP server on the bridge."""
    (directory / "ours").mkdir()
    centre = DataCentre(access, directory / "ours")
    place = _prepare_bare(access, directory / "bare")
    try:
        _build(centre)
        for _ in range(rounds):
            ours = _provide_one(centre, directory)
            centre.daemon.stop()
            with _dhcp(access, place):
                yield ours, _start_one(access, place)
            centre.daemon.start()
    finally:
        centre.close()


def _build(centre: DataCentre) -> None:
    """A data centre with a cloud, a mail server and a user who can pay."""
    centre.build()
    daemon, access = centre.daemon, centre.access
    daemon.run_plugins("cloud")
    mail = {"smtp.host": access.smtp_host, "smtp.port": access.smtp_port, "mail.from": "qrmd@example.org"}
    daemon.call("settings.set", mail)
    daemon.call("cloud.user.add", {"name": USER, "email": "carla@example.org"})
    daemon.call("cloud.user.set_ccus", USER, "1000", {"reason": "for the measurement"})


def _provide_one(centre: DataCentre, directory: Path) -> Took:
    """From the approval of a request for one server until it is active and its user has the mail."""
    daemon, virsh = centre.daemon, ["virsh", "-q", "-c", centre.access.libvirt_uri]
    request = daemon.call("cloud.request.create", {"image": IMAGE, "memory_mb": GUEST_MB, "user": USER})
    began = time.monotonic()
    done = daemon.finish("cloud.request.approve", request, timeout=180.0)
    seconds = time.monotonic() - began
    start = daemon.call("workflow.get", done["children"][0]["id"])
    waited = next(each for each in start["steps"] if each["action"] == "core.await_answer")
    boot = datetime.fromisoformat(waited["ended_at"]) - datetime.fromisoformat(waited["began_at"])
    assert daemon.call("cloud.request.get", request)["state"] == "active"
    machine = run([*virsh, "list", "--name"], timeout=20).stdout.split()[0]
    hardware = run([*virsh, "dumpxml", "--inactive", machine], timeout=20).stdout
    (directory / "hardware.xml").write_text(hardware, encoding="utf-8")
    daemon.finish("cloud.request.deprovision", request, timeout=180.0)
    return Took(seconds, boot.total_seconds())


def _prepare_bare(access: LabAccess, place: Path) -> Path:
    """What lies ready for a machine: its image and the files of its seed."""
    place.mkdir()
    run(["qemu-img", "convert", "-O", "qcow2", str(access.micro_image), str(place / "base.qcow2")], timeout=60)
    seed = build_seed(instance="bare", hostname="bare", login="root", ssh_keys=(), password="bare-knows", salt="bare")
    for name, text in seed.items():
        (place / name).write_text(text, encoding="utf-8")
    return place


def _start_one(access: LabAccess, place: Path) -> Took:
    """From the first command to the banner."""
    disk, virsh = place / "disk.qcow2", ["virsh", "-q", "-c", access.libvirt_uri]
    answer = place / "answer"
    answer.unlink(missing_ok=True)
    knocking = spawn(exec_argv(access, [sys.executable, "-c", KNOCK, ADDRESS]), log=answer)
    began = time.monotonic()
    try:
        backing = ["-b", str(place / "base.qcow2"), "-F", "qcow2"]
        run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(disk), "1G"], timeout=20)
        seed = ["-V", "cidata", "-o", str(place / "seed.iso"), str(place / "user-data"), str(place / "meta-data")]
        run(["genisoimage", "-quiet", "-J", "-r", *seed], timeout=20)
        (place / "domain.xml").write_text(_domain(place), encoding="utf-8")
        run([*virsh, "define", str(place / "domain.xml")], timeout=30)
        run([*virsh, "start", "bare"], timeout=60)
        started = time.monotonic()
        knocking.wait(120.0)
        ended = float(answer.read_text(encoding="ascii").split()[-1])
        return Took(ended - began, ended - started)
    finally:
        knocking.kill()
        run([*virsh, "destroy", "bare"], timeout=60, check=False)
        run([*virsh, "undefine", "bare"], timeout=60, check=False)
        disk.unlink(missing_ok=True)


@contextmanager
def _dhcp(access: LabAccess, place: Path) -> Iterator[None]:
    options = ["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--no-ping"]
    options += [f"--interface={access.bridge}", "--bind-interfaces", "--dhcp-range=10.77.0.0,static,1h"]
    options += [f"--dhcp-host={MAC},{ADDRESS}", f"--dhcp-leasefile={place}/leases", "--dhcp-authoritative"]
    options += [f"--pid-file={place}/dnsmasq.pid", "--log-facility=-"]
    server = spawn(exec_argv(access, ["dnsmasq", *options]), log=place / "dnsmasq.log")
    try:
        yield
    finally:
        server.terminate()


def _domain(place: Path) -> str:
    """The machine that ours had, with other files, name and MAC."""
    domain = fromstring((place.parent / "hardware.xml").read_text(encoding="utf-8"))
    for gone in ("uuid", "metadata"):
        for element in domain.findall(gone):
            domain.remove(element)
    _the(domain, "name").text = "bare"
    for disk in domain.iterfind("devices/disk"):
        is_seed = disk.find("readonly") is not None
        _the(disk, "source").set("file", str(place / ("seed.iso" if is_seed else "disk.qcow2")))
    for log in domain.iterfind("devices//log"):
        log.set("file", str(place / "console"))
    for graphics in domain.findall("devices/graphics"):
        _the(domain, "devices").remove(graphics)
    _the(domain, "devices/interface/mac").set("address", MAC)
    return str(tostring(domain, encoding="unicode"))


def _the(element: Element, path: str) -> Element:
    found = element.find(path)
    assert found is not None, path
    return found
