"""All dnsmasq processes of this installation: started, watched, started again with back-off. Blocking."""

from __future__ import annotations

import logging
import os
import re
import select
import shutil
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qrmd.api import Network, QrmdError, StepFailed
from qrmd_dnsmasq.config import Config
from qrmd_dnsmasq.files import Places, Reservation, check_mac
from qrmd_dnsmasq.server import Server, read_leases, read_reservations
from qrmd_dnsmasq.stale import end_stale

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 30.0
_STEADY = 60.0  # a process that lived so long is started again at once
_DIRECTORY = re.compile(r"network-([0-9]+)")


@dataclass(slots=True)
class _Watched:
    server: Server
    started: float = 0.0
    pause: float = 0.0
    due: float = 0.0
    fault: str = ""


class Servers:
    """One ``Server`` for each managed network, with a thread that starts again what dies.

    Args:
        state_dir: private directory of the plugin.
        installation: UUID of this qrmd, part of all paths.
        config: of the plugin.
    """

    def __init__(self, state_dir: Path, installation: str, config: Config) -> None:
        self._place = state_dir / installation
        self._installation = installation
        self._config = config
        self._watched: dict[int, _Watched] = {}
        self._lock = threading.RLock()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch; ends what a crashed daemon left running, of whatever network."""
        self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in self._directories():
            end_stale(self._places(number).conf)
        self._stopping = False
        self._thread = threading.Thread(target=self._watch, name="dnsmasq-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End all processes and the thread. Reservations and leases stay for the next start."""
        self._stopping = True
        os.eventfd_write(self._wake, 1)
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        with self._lock:
            for watched in self._watched.values():
                watched.server.stop()
            self._watched.clear()

    def refresh(self, networks: Iterable[Network]) -> None:
        """Serve these networks and no others, save those on which something is still reserved.

        The list may be older than a reservation on a network added since; such a network is kept too, unless
        its bridge is another's now.
        """
        wanted = {network.id: network for network in networks}
        bridges = {network.bridge for network in wanted.values()}
        with self._lock:
            for number in set(self._watched) - set(wanted):
                if not self._in_use(number) or self._watched[number].server.network.bridge in bridges:
                    self.drop(number)
        for network in wanted.values():
            try:
                self.ensure(network)
            except QrmdError as error:
                log.warning("network %s can't be served: %s", network.name, error)

    def ensure(self, network: Network) -> Server:
        """The server of a network, started, or started anew when its configuration has changed.

        Raises:
            InvalidInput: the network can't be served.
        """
        with self._lock:
            watched = self._watched.get(network.id)
            if watched is None:
                directory = self._places(network.id).directory
                watched = _Watched(Server(network, directory, self._installation, self._config))
                watched.server.outdated(network)  # refuses what can't be served, before it is watched
                self._watched[network.id] = watched
                self._start(watched)
            elif watched.server.outdated(network):
                watched.server.stop()
                watched.server.network = network
                watched.pause = 0.0
                self._start(watched)
            return watched.server

    def drop(self, number: int) -> None:
        """Serve the network no more. Its directory goes too, unless something is still reserved in it."""
        with self._lock:
            watched = self._watched.pop(number, None)
            if watched is not None:
                watched.server.stop()
            if not self._in_use(number):
                shutil.rmtree(self._places(number).directory, ignore_errors=True)

    def reserve(self, network: Network, reservation: Reservation) -> str:
        """Reserve an address; returns what must still happen, ``""`` when all is done."""
        with self._lock:
            self.ensure(network)
            return self._explained(network.id, self._watched[network.id].server.reserve(reservation))

    def release(self, network: Network, mac: str) -> str:
        """Remove a reservation and its lease; returns what must still happen, ``""`` when both are gone."""
        with self._lock:
            if network.id not in self._watched and not self._in_use(network.id):
                return ""
            self.ensure(network)
            return self._explained(network.id, self._watched[network.id].server.release(mac))

    def remove(self, number: int, mac: str) -> None:
        """Remove an orphaned reservation or lease.

        Raises:
            StepFailed: its lease is not gone yet; ask again.
        """
        with self._lock:
            watched = self._watched.get(number)
            if watched is None:
                self._remove_unserved(number, mac)
                return
            waiting = watched.server.release(mac)
            pause = select.poll()
            for _ in range(40):
                if not waiting:
                    return
                pause.poll(50)
                waiting = watched.server.release(mac)
        raise StepFailed(f"still waiting for {waiting}", subject=f"network:{number}", hint="try again")

    def _remove_unserved(self, number: int, mac: str) -> None:
        """No process holds these files. The lease file goes with the directory, after the last reservation."""
        places = self._places(number)
        for directory in (places.hosts, places.names):
            (directory / check_mac(mac).replace(":", "-")).unlink(missing_ok=True)
        if not self.reservations(number):
            shutil.rmtree(places.directory, ignore_errors=True)

    def numbers(self) -> list[int]:
        """Ids of networks that are served or of which something is left."""
        with self._lock:
            return sorted({*self._watched, *self._directories()})

    def reservations(self, number: int) -> list[Reservation]:
        """Reservations of ours on the network."""
        return read_reservations(self._places(number), self._installation)

    def unreserved_leases(self, number: int) -> list[str]:
        """MACs that hold a lease there without a reservation."""
        reserved = {one.mac for one in self.reservations(number)}
        return [lease.mac for lease in read_leases(self._places(number)) if lease.mac not in reserved]

    def pid(self, number: int) -> int | None:
        """Process id of the network's dnsmasq while it runs and is ready."""
        with self._lock:
            watched = self._watched.get(number)
            return watched.server.pid if watched and watched.server.ready else None

    def _places(self, number: int) -> Places:
        return Places(self._place / f"network-{number}")

    def _directories(self) -> list[int]:
        names = (path.name for path in self._place.iterdir()) if self._place.exists() else ()
        return [int(match[1]) for name in names if (match := _DIRECTORY.fullmatch(name))]

    def _in_use(self, number: int) -> bool:
        return bool(self.reservations(number) or read_leases(self._places(number)))

    def _explained(self, number: int, waiting: str) -> str:
        fault = self._watched[number].fault
        return f"{waiting}: {fault}" if waiting and fault else waiting

    def _start(self, watched: _Watched) -> None:
        watched.due = 0.0
        watched.started = time.monotonic()
        try:
            watched.server.start()
            watched.fault = ""
        except QrmdError as error:
            watched.fault = str(error)
            self._postpone(watched)
        os.eventfd_write(self._wake, 1)

    def _postpone(self, watched: _Watched) -> None:
        steady = time.monotonic() - watched.started > _STEADY
        watched.pause = 0.0 if steady else min(max(watched.pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
        watched.due = time.monotonic() + watched.pause
        log.warning(
            "dnsmasq of network %s is down (%s), started again in %.1f s",
            watched.server.network.name, watched.fault or watched.server.failure(), watched.pause,
        )  # fmt: skip

    def _watch(self) -> None:
        while not self._stopping:
            with self._lock:
                timeout = self._mend()
                pids = [watched.server.pid for watched in self._watched.values()]
            self._wait([pid for pid in pids if pid is not None], timeout)

    def _mend(self) -> float | None:
        """Start what is due; returns seconds until the next is."""
        now = time.monotonic()
        for watched in self._watched.values():
            if watched.server.pid is None and not watched.due:
                self._postpone(watched)
            if watched.due and watched.due <= now:
                self._start(watched)
        dues = [watched.due for watched in self._watched.values() if watched.due]
        return max(0.0, min(dues) - now) if dues else None

    def _wait(self, pids: list[int], timeout: float | None) -> None:
        """Until a process ends, somebody wakes us, or the time is over."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        descriptors = []
        try:
            for pid in pids:
                try:
                    descriptors.append(os.pidfd_open(pid))
                except ProcessLookupError:
                    return
                poll.register(descriptors[-1], select.POLLIN)
            poll.poll(None if timeout is None else timeout * 1000)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            return
