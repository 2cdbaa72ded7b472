"""What a lab needs of the machine; each thing that is missing gives one line that says what to do."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qrmd.errors import PreconditionFailed
from qrmd.process import ProcessFailed, ProcessTimedOut, find_program, run
from qrmd.testing.images.cache import cache_root
from qrmd.testing.images.packages import find_kernel, read_versions

MIN_FREE = 512 * 1024 * 1024
"""Bytes that the cache and the lab need on their file systems."""

PROGRAMS = {
    "libvirtd": "libvirt-daemon",
    "virtlogd": "libvirt-daemon",
    "virsh": "libvirt-clients",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "dnsmasq": "dnsmasq-base",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "ssh": "openssh-client",
}
"""Debian package by program."""


@dataclass(frozen=True)
class Fault:
    """What is missing, and what to do about it."""

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}: {self.remedy}"


def check(ports: Iterable[int] = ()) -> None:
    """Go on if everything is there.

    Args:
        ports: TCP ports of 127.0.0.1 that somebody is going to listen on.

    Raises:
        PreconditionFailed: something is missing; the message has one line for each thing.
    """
    faults = [*find_faults(), *find_taken_ports(ports)]
    if faults:
        raise PreconditionFailed("\n".join(map(str, faults)))


def find_faults() -> list[Fault]:
    """Everything that would keep a lab from coming up."""
    if os.geteuid() != 0:
        return [Fault("a lab needs root", "run it with sudo")]
    return [*_find_programs(), *_find_packages(), *_find_devices(), *_find_space(), *_find_namespaces()]


def find_taken_ports(ports: Iterable[int]) -> list[Fault]:
    """The ports of 127.0.0.1 that something else listens on."""
    faults = []
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                faults.append(Fault(f"port {port} is in use", f"end what listens there (ss -ltnp sport = :{port})"))
    return faults


def _find_programs() -> list[Fault]:
    missing = [program for program in PROGRAMS if find_program(program) is None]
    if not missing:
        return []
    packages = sorted({PROGRAMS[program] for program in missing})
    return [Fault(f"programs are missing ({', '.join(missing)})", f"apt-get install {' '.join(packages)}")]


def _find_packages() -> list[Fault]:
    try:
        read_versions(find_kernel())
    except PreconditionFailed as error:
        return [Fault(error.message, error.hint or "use Debian 12")]
    return []


def _find_devices() -> list[Fault]:
    if Path("/dev/net/tun").exists():
        return []
    return [Fault("/dev/net/tun is missing, so guests can't have a network", "modprobe tun")]


def _find_space() -> list[Fault]:
    faults = []
    for path in (cache_root(), Path("/run")):
        existing = next(parent for parent in (path, *path.parents) if parent.exists())
        free = shutil.disk_usage(existing).free
        needed = MIN_FREE if path == cache_root() else MIN_FREE // 16
        if free < needed:
            have, want = free // 2**20, needed // 2**20
            faults.append(Fault(f"only {have} MiB are free for {path}", f"make {want} MiB free there"))
    return faults


def _find_namespaces() -> list[Fault]:
    try:
        run(["unshare", "--net", "--mount", "--uts", "true"], timeout=10)
    except (ProcessFailed, ProcessTimedOut):
        return [Fault("this machine lets us make no namespaces", "use a virtual machine, not a plain container")]
    return []
