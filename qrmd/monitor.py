"""Keeps states true: driver events are hints, polling is the second source, rows change only by transitions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from qrmd.deployment.reach import Reach, Reached
from qrmd.drivers import MachineInfo, MachineState, VirtualizationDriver
from qrmd.errors import QrmdError
from qrmd.model import Host
from qrmd.states import HostState
from qrmd.store import hosts, observed
from qrmd.store.capacity import Capacity
from qrmd.store.database import Store

log = logging.getLogger(__name__)

POLL_SECONDS = 10.0
MISSES = 2
"""Polls without an answer after which a host counts as unreachable."""


class Monitor:
    """Watches hosts and the machines on them.

    Args:
        deliver: hands a function over to the reactor thread.
        wake: look at the live workflow of a subject now; False: there is none.
        installation: UUID of this qrmd.
    """

    def __init__(
        self,
        store: Store,
        reach: Reach,
        capacity: Capacity,
        deliver: Callable[[Callable[[], None]], Any],
        wake: Callable[[str], bool],
        installation: str,
    ) -> None:
        self._store = store
        self._reach = reach
        self._capacity = capacity
        self._deliver = deliver
        self._wake = wake
        self._installation = installation
        self._misses: dict[int, int] = {}
        self._watches: dict[int, Callable[[], None]] = {}
        self._busy: set[int] = set()

    async def poll(self) -> None:
        """Look at every host once; a silent one delays no other. What a fenced one shows proves nothing."""
        known = [each for each in await self._store.read(hosts.all_hosts) if each.state is not HostState.FENCED]
        for ident in set(self._watches) - {host.id for host in known}:
            self._watches.pop(ident)()
        waiting = [Deferred.fromCoroutine(self._poll(host)) for host in known if host.id not in self._busy]
        await gatherResults(waiting)

    def stop(self) -> None:
        """End all watches."""
        while self._watches:
            self._watches.popitem()[1]()

    async def _poll(self, host: Host) -> None:
        self._busy.add(host.id)
        try:
            there = self._reach.ask_host(host)
            expected = await self._store.read(observed.expected, host.id)  # before the look: what comes later is new
            seen = await there.call(there.driver.machines, self._installation)
            if host.id not in self._watches:
                self._watches[host.id] = await there.call(there.driver.watch, self._noticed)
        except QrmdError as error:
            await self._missed(host, error)
        else:
            self._misses.pop(host.id, None)
            if host.state in {HostState.UNREACHABLE, HostState.NEW}:
                await self._store.write(observed.note_host, host.id, self._capacity)
            await self._note(expected, {each.uuid: each for each in seen})
            await self._measure(there)
        finally:
            self._busy.discard(host.id)

    async def _measure(self, there: Reached[Host, VirtualizationDriver]) -> None:
        """Its load, for placement. A host that does not tell it is no worse: its last one gets old."""
        if not there.driver.capabilities.measures_load:
            return
        host = there.where
        try:
            load = await there.call(there.driver.load)
        except QrmdError as error:
            log.info("host %s: its load is not known: %s", host.name, error)
        else:
            self._capacity.loads.note(host.id, load.cpu, 1 - load.memory_free_mb / max(host.memory_mb, 1))

    async def _missed(self, host: Host, error: QrmdError) -> None:
        self._misses[host.id] = self._misses.get(host.id, 0) + 1
        watch = self._watches.pop(host.id, None)
        if watch is not None:
            watch()
        if self._misses[host.id] >= MISSES:
            await self._store.write(observed.note_silence, host.id, str(error), self._capacity)

    def _noticed(self, host_name: str, machine: MachineInfo) -> None:
        """A driver's thread says that a machine changed."""
        self._deliver(lambda: self._look(host_name, machine))

    def _look(self, host_name: str, machine: MachineInfo) -> None:
        if machine.subject and self._wake(machine.subject):
            return  # a workflow that is under way knows better
        done = Deferred.fromCoroutine(self._note_event(host_name, machine))
        done.addErrback(lambda failure: log.error("machine %s: %s", machine.name, failure.value))

    async def _note_event(self, host_name: str, machine: MachineInfo) -> None:
        expected = await self._store.read(observed.expected_of, machine.uuid)
        if expected is None:
            return
        host = await self._store.read(hosts.find, host_name)
        there = self._reach.ask_host(host)
        now = await there.call(there.driver.find, machine.uuid)
        await self._note([expected], {machine.uuid: now} if now else {})

    async def _note(self, expected: Sequence[observed.Expected], seen: Mapping[str, MachineInfo]) -> None:
        """A write happens only where something changes."""
        changes = differing(expected, seen)
        if changes:
            await self._store.write(observed.note_machines, changes)


def differing(expected: Sequence[observed.Expected], seen: Mapping[str, MachineInfo]) -> list[observed.Change]:
    """Appliances whose machine is not as their state says; one that was not seen is gone. Pure."""
    changes = []
    for each in expected:
        target, reason = _verdict(seen.get(each.uuid))
        if target != each.state and (each.state, target) in SEEN:
            changes.append(observed.Change(each.appliance_id, each.state, target, reason))
    return changes


SEEN = frozenset(
    {
        ("active", "paused"),
        ("active", "error"),
        ("paused", "active"),
        ("paused", "error"),
        ("error", "active"),
    }
)


def _verdict(machine: MachineInfo | None) -> tuple[str, str]:
    if machine is None:
        return "error", "its machine is not known to its host any more"
    match machine.state:
        case MachineState.RUNNING | MachineState.SHUTTING_DOWN:
            return "active", "its machine runs"
        case MachineState.PAUSED:
            return "paused", machine.reason or "its machine was paused"
        case MachineState.CRASHED:
            return "error", machine.reason or "its guest crashed"
        case _:
            return "error", "its machine ended without an order"
