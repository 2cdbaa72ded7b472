"""Verbs about hosts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, Any

from qrmd.drivers import HostFacts
from qrmd.errors import Conflict, InvalidInput, QrmdError
from qrmd.model import Host
from qrmd.operations.call import Call
from qrmd.operations.inputs import Name, Ref, Text, Uri
from qrmd.operations.registry import ADMINISTER, LOOK, OPERATE, verb
from qrmd.operations.schema import ListOptions, Options, Range, Served
from qrmd.states import HostState
from qrmd.store import claims, hosts, progress
from qrmd.store.connection import Transaction
from qrmd.store.transitions import transition

_OPTIONS, _LIST = Options(), ListOptions()


@dataclass(frozen=True, slots=True)
class HostSpec:
    """A host to add.

    Attributes:
        uri: how its driver reaches it, ``qemu:///system``, ``qemu+ssh://root@node1/system``.
        type: virtualization type it runs.
        cpu_overcommit: virtual processors per real one.
        memory_overcommit: promised memory per real memory.
        reserved_memory_mb: MiB that stay with the host itself.
    """

    name: Name
    uri: Uri
    type: Annotated[Text, Served("virtualization")] = "kvm-vm"
    cpu_overcommit: Annotated[float, Range(0.1, 64)] = 4.0
    memory_overcommit: Annotated[float, Range(0.1, 8)] = 1.0
    reserved_memory_mb: Annotated[int, Range(0, 2**20)] = 512


@verb("host.add", roles=ADMINISTER, changes=True)
async def host_add(call: Call, spec: HostSpec, options: Options = _OPTIONS) -> Any:
    """Add a host: it is reached and looked at first; what is missing is said. Returns its id."""
    facts = await look(call, Host(0, spec.name, spec.uri, spec.type, HostState.NEW))
    if facts.problems:
        raise Conflict(
            "; ".join(facts.problems), subject=f"host:{spec.name}", hint="mend that, then add it again",
            problems=list(facts.problems),
        )  # fmt: skip
    return await call.change(options, _add, call, spec, facts, options.reason)


async def look(call: Call, host: Host) -> HostFacts:
    """What a host says of itself. Raises InvalidInput for a type that nobody serves, StepFailed when it is silent."""
    if host.virtualization_type not in call.core.registries.virtualization:
        served = ", ".join(sorted(call.core.registries.virtualization)) or "none"
        raise InvalidInput(
            f"no started plugin serves the type {host.virtualization_type!r:.80}", hint=f"served now: {served}"
        )
    there = call.core.reach.ask_host(host)
    return await there.call(there.driver.check)


def _add(db: Transaction, call: Call, spec: HostSpec, facts: HostFacts, reason: str) -> int:
    limits = {
        "cpu_overcommit": spec.cpu_overcommit,
        "memory_overcommit": spec.memory_overcommit,
        "reserved_memory_mb": spec.reserved_memory_mb,
    }
    ident = hosts.add(db, spec.name, spec.uri, spec.type, limits, call.actor.name, reason)
    hosts.save_facts(db, ident, facts.cpus, facts.memory_mb, _kept(facts))
    transition(db, "host", ident, HostState.UP, event="host.reached", actor=call.actor.name, reason=reason)
    call.core.capacity.refresh_hosts(db)
    return ident


def _kept(facts: HostFacts) -> dict[str, Any]:
    return {
        "hostname": facts.hostname,
        "version": facts.version,
        "machine_uuid": facts.machine_uuid,
        "problems": list(facts.problems),
    }


@verb("host.list", roles=LOOK)
async def host_list(call: Call, options: ListOptions = _LIST) -> list[dict[str, Any]]:
    """Hosts, a page at a time."""
    return await call.read(hosts.list_page, options)


@verb("host.get", roles=LOOK)
async def host_get(call: Call, host: Ref) -> dict[str, Any]:
    """One host: its facts, what it has promised, the appliances on it, what is ``owed`` there, and its ``load`` now.

    ``owed`` lists steps that are still to be done there: ``workflow_id``, ``operation``, ``subject``, ``title`` and
    ``state`` (``owed``: ``host.admit`` does it; ``debt``: tried again by itself unless the host is fenced).
    ``load`` has ``cpu`` (0 to 1 of all its processors), ``memory_free_mb`` and when they were ``seen_at``;
    ``silent_since`` and ``fault`` are there when the host does not answer now. Some types measure no load.
    """
    found = await call.read(hosts.find, host)
    shown = await call.read(hosts.show_one, found.id)
    owed = await call.read(progress.owed_at, f"host:{found.id}")
    sighting = await call.core.reach.sightings.look(f"load:{found.id}", partial(_load, call, found))
    return {**shown, "owed": owed, "load": {**(sighting.value or {}), **sighting.as_dict()}}


async def _load(call: Call, host: Host) -> dict[str, Any]:
    """What its driver measures. Raises StepFailed, Unavailable."""
    there = call.core.reach.ask_host(host)
    if not there.driver.capabilities.measures_load:
        return {}
    return asdict(await there.call(there.driver.load))


@verb("host.remove", roles=OPERATE, changes=True)
async def host_remove(call: Call, host: Ref, options: Options = _OPTIONS) -> Any:
    """Remove a host that nothing uses; nothing is changed on it."""
    return await call.change(options, _remove, call, host, options.reason)


def _remove(db: Transaction, call: Call, ref: int | str, reason: str) -> bool:
    found = hosts.find(db, ref)
    if found.state is HostState.FENCED:
        raise Conflict(
            "it is fenced",
            subject=f"host:{found.id}",
            hint="host.scrap it, which writes off what is owed there; or host.admit it",
        )
    claims.require_free(db, f"host:{found.id}")
    hosts.check_unused(db, found)
    owed = progress.owed_at(db, f"host:{found.id}")
    if owed:
        raise Conflict(
            f"{owed[0]['title']} is still owed there (workflow {owed[0]['workflow_id']})",
            subject=f"host:{found.id}",
            hint="it is tried again by itself; host.declare_fenced and host.scrap write it off",
        )
    transition(db, "host", found.id, HostState.REMOVED, actor=call.actor.name, reason=reason)
    call.core.capacity.refresh_hosts(db)
    return True


@dataclass(frozen=True, slots=True)
class MaintenanceOptions(Options):
    """``enabled``: True: no new machines are placed there; False: back to work."""

    enabled: bool = True


_MAINTENANCE = MaintenanceOptions()


@verb("host.maintenance", roles=OPERATE, changes=True)
async def host_maintenance(call: Call, host: Ref, options: MaintenanceOptions = _MAINTENANCE) -> Any:
    """Take a host out of placement, or (``enabled`` False) bring it back. What runs there goes on running."""
    found = await call.read(hosts.find, host)
    if not options.enabled:
        await look(call, found)
    return await call.change(options, _maintain, call, found, options)


def _maintain(db: Transaction, call: Call, host: Host, options: MaintenanceOptions) -> str:
    target = HostState.MAINTENANCE if options.enabled else HostState.UP
    if hosts.state_of(db, host.id) is HostState.FENCED:
        raise Conflict("it is fenced", subject=f"host:{host.id}", hint="host.admit it once it is back")
    if hosts.state_of(db, host.id) is not target:
        transition(db, "host", host.id, target, actor=call.actor.name, reason=options.reason)
        call.core.capacity.refresh_hosts(db)
    return target.value


@verb("host.check", roles=OPERATE)
async def host_check(call: Call, host: Ref) -> dict[str, Any]:
    """Reach a host now and say what it says of itself and what is missing."""
    found = await call.read(hosts.find, host)
    try:
        facts = await look(call, found)
    except QrmdError as error:
        return {"reached": False, "fault": error.as_dict()}
    return {"reached": True, "cpus": facts.cpus, "memory_mb": facts.memory_mb, **_kept(facts)}
