"""What a machine shows of our servers; no row of the daemon is believed.

Looked at are all domains of libvirt, all files of the storage and of the hypervisor's directories, DHCP
reservations and leases, links (bridges and their ports), and processes in the lab's network. The DHCP server of a
managed network belongs to the network, not to a server, and comes when it likes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from qrmd.process import run
from qrmd.testing.lab import LabAccess, exec_argv
from qrmd.testing.lab.processes import describe, find
from qrmd.testing.waiting import wait_until

KINDS = ("domain", "file", "reservation", "lease", "link", "process")
SETTLE_SECONDS = 10.0
"""A process that ends and a link that goes with it take a moment."""


@dataclass(frozen=True, slots=True, order=True)
class Trace:
    """One thing that is there. ``kind``: one of ``KINDS``."""

    kind: str
    what: str


class Scene:
    """Where to look.

    Args:
        volumes: directory of the storage.
        state_dir: the daemon's.
    """

    def __init__(self, access: LabAccess, volumes: Path, state_dir: Path) -> None:
        self._access = access
        self._volumes = volumes
        self._networks = state_dir / "plugins/dnsmasq"
        self._begin: frozenset[Trace] = frozenset()

    def remember(self) -> frozenset[Trace]:
        """What is there before anybody has ordered anything is no leftover."""
        self._begin = frozenset(self._look())
        return self._begin

    def sweep(self) -> list[Trace]:
        """What is there beyond that."""
        return sorted(frozenset(self._look()) - self._begin)

    def settle(self) -> list[Trace]:
        """The same, once nothing is left or some seconds have passed."""
        with suppress(TimeoutError):
            wait_until(lambda: not self.sweep(), timeout=SETTLE_SECONDS, interval=0.2, what="an empty sweep")
        return self.sweep()

    def _look(self) -> Iterator[Trace]:
        yield from self._domains()
        hypervisor = (self._access.state_dir / "lib").rglob("*")
        yield from (Trace("file", str(path)) for path in (*self._volumes.rglob("*"), *hypervisor))
        yield from self._network_files()
        yield from self._links()
        lines = (describe(process).partition(" ")[2] for process in find(self._access.name))
        yield from (Trace("process", line) for line in lines if str(self._networks) not in line)

    def _domains(self) -> Iterator[Trace]:
        said = run(["virsh", "--connect", self._access.libvirt_uri, "list", "--all", "--name"], timeout=30).stdout
        return (Trace("domain", name) for name in said.split("\n") if name)

    def _network_files(self) -> Iterator[Trace]:
        for directory in self._networks.glob("*/network-*"):
            for kept in ("hosts", "names"):
                yield from (Trace("reservation", f"{path.name} ({kept})") for path in (directory / kept).glob("*"))
            leases = directory / "leases"
            if leases.exists():
                yield from (Trace("lease", line) for line in leases.read_text(encoding="utf-8").splitlines() if line)

    def _links(self) -> Iterator[Trace]:
        said = run(exec_argv(self._access, ["ip", "-json", "link", "show"]), timeout=10).stdout
        return (Trace("link", each["ifname"]) for each in json.loads(said))


def count(traces: Iterable[Trace]) -> dict[str, int]:
    """How many of each kind."""
    found = Counter(each.kind for each in traces)
    return {kind: found[kind] for kind in KINDS}
