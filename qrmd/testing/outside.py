"""What there is outside the daemon, counted without its rows: by virsh, files, leases, links and processes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from qrmd.process import run
from qrmd.testing.lab import LabAccess, exec_argv
from qrmd.testing.lab.processes import describe, find

LIBRARY = "lib/qrmd"
"""Where the kvm plugin keeps seeds and console logs, in the lab's directory."""


@dataclass(frozen=True, slots=True)
class Outside:
    """Names of what was found.

    Attributes:
        domains: known to libvirt, running or not.
        guests: QEMU processes.
        links: ports of the lab's bridge.
        seeds: files of the hypervisor's private directory.
        volumes: files in the storages' directories, hidden ones too.
        reservations: DHCP reservations and DNS records on file.
        leases: lines of lease files.
    """

    domains: frozenset[str]
    guests: frozenset[str]
    links: frozenset[str]
    seeds: frozenset[str]
    volumes: frozenset[str]
    reservations: frozenset[str]
    leases: frozenset[str]

    def minus(self, other: Outside) -> dict[str, list[str]]:
        """What is here and not there, by kind; empty when there is nothing."""
        kinds = {name: sorted(getattr(self, name) - getattr(other, name)) for name in asdict(self)}
        return {name: found for name, found in kinds.items() if found}


def look(access: LabAccess, storages: Sequence[Path], state_dir: Path) -> Outside:
    """Count everything of a lab, of storages and of the daemon's dnsmasq."""
    virsh = ["virsh", "--connect", access.libvirt_uri, "list", "--all", "--name"]
    links = json.loads(
        run(exec_argv(access, ["ip", "-json", "link", "show", "master", access.bridge]), timeout=10).stdout
    )
    guests = [describe(each) for each in find(access.name)]
    dnsmasq = list((state_dir / "plugins/dnsmasq").glob("*/network-*"))
    return Outside(
        domains=frozenset(run(virsh, timeout=30).stdout.split()),
        guests=frozenset(each for each in guests if "qemu-system" in each),
        links=frozenset(each["ifname"] for each in links or [] if each),
        seeds=_files([access.state_dir / LIBRARY], deep=True),
        volumes=_files(storages),
        reservations=_files([each / part for each in dnsmasq for part in ("hosts", "names")]),
        leases=frozenset(line for each in dnsmasq for line in _lines(each / "leases")),
    )


def _files(directories: Sequence[Path], *, deep: bool = False) -> frozenset[str]:
    pattern = "**/*" if deep else "*"
    return frozenset(
        str(path) for each in directories if each.is_dir() for path in each.glob(pattern) if not path.is_dir()
    )


def _lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [line for line in lines if line and not line.startswith("duid")]
