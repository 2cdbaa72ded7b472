"""The dnsmasq of one network: its private directory, its process, its reservations and leases. Blocking."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from qrmd.api import Network, StepFailed, process
from qrmd_dnsmasq.config import Config
from qrmd_dnsmasq.files import (
    Lease,
    Places,
    Reservation,
    build_conf,
    build_host,
    build_names,
    check_mac,
    check_reservation,
    parse_host,
    parse_leases,
)
from qrmd_dnsmasq.release import send_release
from qrmd_dnsmasq.stale import argument, end_stale

_KEPT = "-all,+net_admin,+net_raw,+net_bind_service,+setgid"


class Server:
    """One dnsmasq on one bridge. Not safe for use by two threads at once: ``Servers`` holds a lock.

    Args:
        network: what it serves.
        directory: its own, mode 0700; its path must hold the UUID of the installation.
        installation: for owner labels.
        config: of the plugin.
    """

    def __init__(self, network: Network, directory: Path, installation: str, config: Config) -> None:
        self.network = network
        self.places = Places(directory)
        self._installation = installation
        self._config = config
        self._process: process.Process | None = None

    @property
    def pid(self) -> int | None:
        """Of the process while it runs."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running and self._process else None

    @property
    def ready(self) -> bool:
        """Whether it has read its files and listens."""
        pid = self.pid
        return pid is not None and _read(self.places.pid).strip() == str(pid)

    def start(self) -> None:
        """Write the configuration, end what a crash left, start the process.

        Raises:
            InvalidInput: the network can't be served.
            StepFailed: the bridge lacks an address, or dnsmasq can't be started.
        """
        text = build_conf(self.network, self.places, self._config)
        for directory in (self.places.directory, self.places.hosts, self.places.names):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(self.places.conf, text)
        self.stop()
        end_stale(self.places.conf)
        if not addresses(self.network):
            raise StepFailed(
                f"bridge {self.network.bridge} has no address in {self.network.cidr}",
                subject=f"network:{self.network.id}",
                hint=f"create the bridge, or: ip address add … dev {self.network.bridge}",
            )
        for leftover in (self.places.pid, self.places.log):
            leftover.unlink(missing_ok=True)
        program = process.find_program("dnsmasq") or "dnsmasq"
        self._process = process.spawn(
            [*_confinement(), program, argument(self.places.conf)], log=self.places.log
        )  # fmt: skip

    def stop(self) -> None:
        """End the process; fine if there is none."""
        if self._process is not None:
            self._process.terminate()
            self._process = None

    def outdated(self, network: Network) -> bool:
        """Whether ``network`` needs another configuration than the one written."""
        return _read(self.places.conf) != build_conf(network, self.places, self._config)

    def failure(self) -> str:
        """The last thing it said, when it does not run."""
        lines = [line for line in _read(self.places.log).splitlines() if "dnsmasq" in line]
        return lines[-1] if lines else "it has not said why"

    def reserve(self, reservation: Reservation) -> str:
        """Make the reservation; returns what must still happen (``""``: all done).

        Raises:
            InvalidInput: a value is not fit.
        """
        check_reservation(reservation, self.network)
        host = build_host(reservation, self._installation)
        changed = [
            _write(self.places.names / reservation.file_name, build_names(reservation, self.network.domain)),
            _write(self.places.hosts / reservation.file_name, host),
        ]
        if "replaced" in changed:
            self.reload()
        if not self.ready:
            return f"dnsmasq to serve {self.network.name} ({self.failure()})" if self.pid is None else "dnsmasq"
        mine = (reservation.mac, reservation.address)
        in_the_way = [
            lease for lease in self.leases()
            if (lease.mac == mine[0] or lease.address == mine[1]) and (lease.mac, lease.address) != mine
        ]  # fmt: skip
        return self._send_releases(in_the_way)

    def release(self, mac: str) -> str:
        """Remove the reservation and end the lease; returns what must still happen (``""``: all is gone)."""
        name = check_mac(mac).replace(":", "-")
        files = (self.places.hosts / name, self.places.names / name)
        there = [path for path in files if path.exists()]
        for path in files:
            _hidden(path).unlink(missing_ok=True)  # a kill in the middle of a reservation left it
        for path in there:
            path.unlink()
        if there:
            self.reload()
        leases = [lease for lease in self.leases() if lease.mac == mac]
        if leases and not self.ready:
            return f"dnsmasq to take back {leases[0].address} ({self.failure()})"
        return self._send_releases(leases)

    def reload(self) -> None:
        """Read all reservations anew: a changed or removed file is otherwise remembered."""
        if self.ready and self._process is not None:
            self._process.signal(signal.SIGHUP)

    def leases(self) -> list[Lease]:
        """All leases that dnsmasq has written down."""
        return read_leases(self.places)

    def _send_releases(self, leases: Iterable[Lease]) -> str:
        waiting = []
        for lease in leases:
            waiting.append(lease.address)
            for server in addresses(self.network):
                send_release(lease, self.network.bridge, server)
        return f"the lease of {', '.join(waiting)} to go" if waiting else ""


def addresses(network: Network) -> list[str]:
    """Our own addresses on the bridge that lie in the network (empty also when there is no such bridge)."""
    done = process.run(["ip", "-j", "-4", "address", "show", "dev", network.bridge], timeout=10, check=False)
    subnet = IPv4Network(network.cidr, strict=False)
    links = json.loads(done.stdout or "[]") if done.returncode == 0 else []
    found = [entry["local"] for link in links for entry in link.get("addr_info", ())]
    return [address for address in found if IPv4Address(address) in subnet]


def read_reservations(places: Places, installation: str) -> list[Reservation]:
    """All that carry our label there. Raises StepFailed when the directory can't be read."""
    parsed = [parse_host(text) for text in _texts(places.hosts)]
    return [one[1] for one in parsed if one is not None and one[0] == installation]


def read_leases(places: Places) -> list[Lease]:
    """All leases that are written down there."""
    return parse_leases(_read(places.leases))


def _confinement() -> list[str]:
    """Run as root, which owns the private directory, yet with few capabilities."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--bounding-set={_KEPT}", "--inh-caps=-all", "--no-new-privs", "--"]


def _write(path: Path, text: str) -> str:
    """Write atomically; returns ``same``, ``new`` or ``replaced``. dnsmasq overlooks names with a dot in front."""
    before = _read(path) if path.exists() else None
    if before == text:
        return "same"
    hidden = _hidden(path)
    descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    hidden.replace(path)
    return "new" if before is None else "replaced"


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name}")


def _read(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(errors="replace")
    return ""


def _texts(directory: Path) -> list[str]:
    try:
        return [_read(path) for path in sorted(directory.iterdir()) if not path.name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StepFailed(f"{directory} can't be read: {error.strerror}") from error
