"""The driver of virtualization type ``simulated-vm``."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import NAMESPACE_DNS, uuid5

from qrmd.api import (
    Conflict,
    Found,
    Host,
    HostFacts,
    HostLoad,
    InvalidInput,
    MachineCallback,
    MachineInfo,
    MachineSpec,
    MachineState,
    NotFound,
    OutcomeUnknown,
    VirtualizationCapabilities,
    names,
)
from qrmd_simulated.config import Config
from qrmd_simulated.faults import Effect, Faults
from qrmd_simulated.uri import parse
from qrmd_simulated.world import Machine, World

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SUBJECT = re.compile(r"[\x20-\x7e]{0,200}")
_ENOSPC = "ioerror-enospc"


class SimulatedDriver:
    """Machines in memory. Thread-safe; each call takes microseconds."""

    virtualization_type = "simulated-vm"

    def __init__(self, installation: str, config: Config, directory: Path, faults: Faults | None = None) -> None:
        self.capabilities = VirtualizationCapabilities(
            blocking=config.blocking, guest_answers=False, measures_load=config.measures_load
        )
        self.world = World(directory)
        self._installation = installation
        self._faults = faults or Faults(config.faults, blocking=config.blocking)
        self._lock = threading.RLock()
        self._watches: dict[str, list[tuple[Host, MachineCallback]]] = {}

    def check(self, host: Host) -> HostFacts:
        """See ``VirtualizationDriver``."""
        size = parse(host.uri)
        with self._deed("check", size.name):
            identity = str(uuid5(NAMESPACE_DNS, size.name))
            return HostFacts(size.name, size.cpus, size.memory_mb, "simulated 1", identity)

    def load(self, host: Host) -> HostLoad:
        """See ``VirtualizationDriver``; processors are as busy as the URI says, memory is what machines leave."""
        size = parse(host.uri)
        with self._deed("load", size.name):
            return HostLoad(size.cpu_percent / 100, max(size.memory_mb - self.world.at(size.name).memory_used_mb, 0))

    def define(self, host: Host, spec: MachineSpec) -> None:
        """See ``VirtualizationDriver``. Disks, cards and seed are taken and forgotten."""
        where = parse(host.uri).name
        self._check_spec(spec)
        with self._deed("define", where):
            inventory = self.world.at(where)
            old = self._own(where, spec.uuid)
            holder = inventory.by_name.get(spec.name)
            if holder is not None and holder != spec.uuid:
                raise Conflict(f"another machine is named {spec.name} there", subject=f"host:{host.name}")
            tag = spec.tag
            new = Machine(spec.uuid, spec.name, spec.cpus, spec.memory_mb, tag.installation, tag.subject)
            if old is not None:
                new.state, new.reason = old.state, old.reason
                if new == old:
                    return
                if old.state is not MachineState.OFF:
                    raise Conflict(f"machine {spec.name} runs, so it is not changed", hint="stop it first")
            self.world.define(where, new)

    def undefine(self, host: Host, uuid: str) -> None:
        """See ``VirtualizationDriver``."""
        where = parse(host.uri).name
        with self._deed("undefine", where):
            machine = self._own(where, uuid)
            if machine is None:
                return
            if machine.state is not MachineState.OFF:
                raise Conflict(f"machine {uuid} runs, so it is not removed", hint="power it off first")
            self.world.remove(where, machine)
            machine.reason = "undefined"
            self._report(where, machine)

    def power_on(self, host: Host, uuid: str) -> None:
        """See ``VirtualizationDriver``."""
        where = parse(host.uri).name
        with self._deed("power_on", where) as effect:
            machine = self._require(where, uuid)
            if machine.state is MachineState.OFF:
                self._change(where, machine, MachineState.RUNNING)
            if effect is Effect.PAUSE:
                self._change(where, machine, MachineState.PAUSED, _ENOSPC)

    def shutdown(self, host: Host, uuid: str) -> None:
        """See ``VirtualizationDriver``; the simulated guest obeys at once."""
        where = parse(host.uri).name
        with self._deed("shutdown", where):
            machine = self._require(where, uuid)
            if machine.state is MachineState.RUNNING:
                self._change(where, machine, MachineState.OFF, "shutdown")

    def power_off(self, host: Host, uuid: str) -> None:
        """See ``VirtualizationDriver``."""
        where = parse(host.uri).name
        with self._deed("power_off", where):
            machine = self._own(where, uuid)
            if machine is not None and machine.state is not MachineState.OFF:
                self._change(where, machine, MachineState.OFF, "destroyed")

    def reset(self, host: Host, uuid: str) -> None:
        """See ``VirtualizationDriver``; a machine that is off is a Conflict."""
        where = parse(host.uri).name
        with self._deed("reset", where):
            machine = self._require(where, uuid)
            if machine.state is MachineState.OFF:
                raise Conflict(f"machine {uuid} is off", subject=f"host:{host.name}", hint="start it")
            self._change(where, machine, MachineState.RUNNING, "rebooted")

    def resume(self, host: Host, uuid: str) -> None:
        """See ``VirtualizationDriver``."""
        where = parse(host.uri).name
        with self._deed("resume", where):
            machine = self._require(where, uuid)
            if machine.state is MachineState.PAUSED:
                self._change(where, machine, MachineState.RUNNING)

    def find(self, host: Host, uuid: str) -> MachineInfo | None:
        """See ``VirtualizationDriver``."""
        where = parse(host.uri).name
        with self._deed("find", where):
            machine = self.world.at(where).by_uuid.get(uuid)
            return machine.info() if machine and machine.installation == self._installation else None

    def machines(self, host: Host, installation: str) -> Sequence[MachineInfo]:
        """See ``VirtualizationDriver``."""
        where = parse(host.uri).name
        with self._deed("machines", where):
            found = self.world.at(where).by_uuid.values()
            return [machine.info() for machine in found if machine.installation == installation]

    def owned(self, host: Host, installation: str) -> Sequence[Found]:
        """See ``VirtualizationDriver``. Kind ``domain`` only: a simulated machine has no files."""
        place = f"host:{host.id}"
        return [
            Found("domain", machine.uuid, place, machine.subject, machine.name)
            for machine in self.machines(host, installation)
        ]

    def remove_found(self, host: Host, found: Found) -> None:
        """See ``VirtualizationDriver``."""
        self.power_off(host, found.external_id)
        self.undefine(host, found.external_id)

    def console_log(self, host: Host, uuid: str, limit: int) -> str:
        """See ``VirtualizationDriver``; one line once it runs."""
        found = self.find(host, uuid)
        started = found is not None and found.state is not MachineState.OFF
        return "a simulated machine runs\n"[-limit:] if started and limit > 0 else ""

    def watch(self, host: Host, callback: MachineCallback) -> Callable[[], None]:
        """See ``VirtualizationDriver``; called in the thread that makes the change, after it."""
        entry = (host, callback)
        watches = self._watches.setdefault(parse(host.uri).name, [])
        watches.append(entry)
        return lambda: watches.remove(entry) if entry in watches else None

    def abort(self, host: Host) -> None:
        """See ``VirtualizationDriver``."""
        self._faults.abort(parse(host.uri).name)

    def close(self) -> None:
        """Let go of the state directory."""
        self.world.close()

    @contextmanager
    def _deed(self, verb: str, where: str) -> Iterator[Effect | None]:
        effect = self._faults.before(verb, where)
        with self._lock:
            yield effect
        if effect is Effect.UNKNOWN:
            raise OutcomeUnknown(f"{verb} was cut off as ordered", subject=f"host:{where}")

    def _check_spec(self, spec: MachineSpec) -> None:
        names.check_name(spec.name, "machine name")
        if not _UUID.fullmatch(spec.uuid):
            raise InvalidInput(f"{names.shown(spec.uuid)} is not a UUID in lower case with dashes")
        if spec.cpus < 1 or spec.memory_mb < 1:
            raise InvalidInput("cpus and memory_mb must be at least 1", subject=f"machine:{spec.name}")
        if spec.tag.installation != self._installation or not _SUBJECT.fullmatch(spec.tag.subject):
            raise InvalidInput("the owner tag is not of our own installation", subject=f"machine:{spec.name}")

    def _own(self, where: str, uuid: str) -> Machine | None:
        machine = self.world.at(where).by_uuid.get(uuid)
        if machine is None:
            if not _UUID.fullmatch(uuid):
                raise InvalidInput(f"{names.shown(uuid)} is not a UUID in lower case with dashes")
            return None
        if machine.installation != self._installation:
            raise Conflict(f"machine {uuid} is not ours and is left alone", subject=f"host:{where}")
        return machine

    def _require(self, where: str, uuid: str) -> Machine:
        machine = self._own(where, uuid)
        if machine is None:
            raise NotFound(f"the host knows no machine {uuid}", subject=f"host:{where}", hint="define it first")
        return machine

    def _change(self, where: str, machine: Machine, state: MachineState, reason: str = "") -> None:
        self.world.change(where, machine, state, reason)
        self._report(where, machine)

    def _report(self, where: str, machine: Machine) -> None:
        for host, callback in list(self._watches.get(where, ())):
            callback(host.name, machine.info())
