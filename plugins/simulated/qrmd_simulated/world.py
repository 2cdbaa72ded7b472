"""The machines that are there, in memory and in a journal that survives the death of the process."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qrmd.api import Conflict, MachineInfo, MachineState
from qrmd_simulated.journal import Journal

_SEPARATOR = "\t"
_DEFINED, _CHANGED, _REMOVED = "d", "s", "r"


@dataclass(slots=True)
class Machine:
    """A simulated machine. ``installation`` is empty for one that carries no tag."""

    uuid: str
    name: str
    cpus: int
    memory_mb: int
    installation: str
    subject: str
    state: MachineState = MachineState.OFF
    reason: str = ""

    def info(self) -> MachineInfo:
        """As the driver shows it."""
        return MachineInfo(self.uuid, self.name, self.state, self.subject, self.reason, self.memory_mb, self.cpus)


class Inventory:
    """The machines of one host."""

    __slots__ = ("by_name", "by_uuid", "memory_used_mb")

    def __init__(self) -> None:
        self.by_uuid: dict[str, Machine] = {}
        self.by_name: dict[str, str] = {}
        self.memory_used_mb = 0


class World:
    """All hosts with their machines. Changed through its verbs only, which write the journal first."""

    def __init__(self, directory: Path) -> None:
        """Open the world that is kept in ``directory``.

        Raises:
            Conflict: another process holds it.
        """
        self._hosts: dict[str, Inventory] = {}
        self._journal = Journal(directory / "machines.journal")
        self._lock = os.open(directory / "machines.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise Conflict(
                f"the simulated machines in {directory} are held by another process", hint="end it first"
            ) from None
        for line in self._journal.lines():
            self._apply(*line.split(_SEPARATOR))
        self._journal.begin(sum(len(each.by_uuid) for each in self._hosts.values()), self._lines())

    def close(self) -> None:
        """Let go of the files."""
        self._journal.close()
        os.close(self._lock)

    def at(self, host: str) -> Inventory:
        """The machines of a host, which need not have been heard of."""
        found = self._hosts.get(host)
        if found is None:
            found = self._hosts[host] = Inventory()
        return found

    def define(self, host: str, machine: Machine) -> None:
        """Put a machine there, in the place of one with the same UUID."""
        self._journal.append(_line(host, machine))
        self._put(host, machine)

    def change(self, host: str, machine: Machine, state: MachineState, reason: str = "") -> None:
        """Give a machine another state."""
        self._journal.append(_SEPARATOR.join((_CHANGED, host, machine.uuid, state, reason)))
        self._set(self.at(host), machine, state, reason)

    def remove(self, host: str, machine: Machine) -> None:
        """Take a machine away."""
        self._journal.append(_SEPARATOR.join((_REMOVED, host, machine.uuid)))
        self._drop(self.at(host), machine)

    def _put(self, host: str, machine: Machine) -> None:
        inventory = self.at(host)
        old = inventory.by_uuid.get(machine.uuid)
        if old is not None:
            self._drop(inventory, old)
        inventory.by_uuid[machine.uuid] = machine
        inventory.by_name[machine.name] = machine.uuid
        inventory.memory_used_mb += 0 if machine.state is MachineState.OFF else machine.memory_mb

    def _set(self, inventory: Inventory, machine: Machine, state: MachineState, reason: str) -> None:
        was, is_now = machine.state is not MachineState.OFF, state is not MachineState.OFF
        inventory.memory_used_mb += (is_now - was) * machine.memory_mb
        machine.state, machine.reason = state, reason

    def _drop(self, inventory: Inventory, machine: Machine) -> None:
        self._set(inventory, machine, MachineState.OFF, "")
        del inventory.by_uuid[machine.uuid]
        del inventory.by_name[machine.name]

    def _apply(self, verb: str, host: str, uuid: str, *rest: str) -> None:
        if verb == _DEFINED:
            name, cpus, memory_mb, installation, subject, state, reason = rest
            sizes = int(cpus), int(memory_mb)
            self._put(host, Machine(uuid, name, *sizes, installation, subject, MachineState(state), reason))
            return
        inventory = self.at(host)
        machine = inventory.by_uuid.get(uuid)
        if machine is None:
            return
        if verb == _CHANGED:
            self._set(inventory, machine, MachineState(rest[0]), rest[1])
        else:
            self._drop(inventory, machine)

    def _lines(self) -> Iterable[str]:
        for host, inventory in self._hosts.items():
            for machine in inventory.by_uuid.values():
                yield _line(host, machine)


def _line(host: str, machine: Machine) -> str:
    return (
        f"{_DEFINED}\t{host}\t{machine.uuid}\t{machine.name}\t{machine.cpus}\t{machine.memory_mb}\t"
        f"{machine.installation}\t{machine.subject}\t{machine.state}\t{machine.reason}"
    )
