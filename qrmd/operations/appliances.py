"""Verbs about appliances and the resources they run on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from secrets import token_hex
from typing import Annotated, Any

from qrmd import events
from qrmd.drivers import MachineState
from qrmd.errors import Conflict, InvalidInput, NoCapacity
from qrmd.model import Appliance, Host
from qrmd.names import check_hostname
from qrmd.operations.call import Call
from qrmd.operations.images import check_login
from qrmd.operations.inputs import Cpus, HostName, Memory, Name, Ref, SshKey, Text
from qrmd.operations.registry import LOOK, OPERATE, verb
from qrmd.operations.schema import Check, Length, ListOptions, Options, Range, Served, convert
from qrmd.placement import Requirement, choose, explain, shortage
from qrmd.states import ApplianceState, ImageState
from qrmd.store import addresses, appliance_view, appliances, claims, hosts, images, places, resources
from qrmd.store.capacity import read_storages
from qrmd.store.connection import Db, Transaction
from qrmd.store.observed import Change, note_machines
from qrmd.store.rows import dump
from qrmd.store.workflows import live_on
from qrmd.workflow.plan import Plan

_OPTIONS, _LIST = Options(), ListOptions()
SHOWN_PLANS = 20
USABLE = frozenset({ImageState.NEW, ImageState.CLONING, ImageState.IDLE})
_TYPE = re.compile(r"[a-z][a-z0-9-]{0,39}")


def check_type(value: str) -> str:
    """``any`` or the name of a virtualization type."""
    if not _TYPE.fullmatch(value):
        raise InvalidInput("that is not a virtualization type", hint="any, kvm-vm, …")
    return value


Type = Annotated[str, Check(check_type), Served("virtualization", ("any",))]


@dataclass(frozen=True, slots=True)
class ApplianceSpec:
    """What an appliance is made of.

    Attributes:
        type: virtualization type, or ``any``.
        disk_mb: MiB of its disk (0: as large as the image).
        networks: one NIC each, in order.
        hostname: (empty: its name).
        login: whom the seed gives the login to (empty: as the image says).
        kernel: boot this instead of what the disk has (empty: the disk's).
        owner: shown, and used by plugins to find their own.
    """

    name: Name
    image: Ref
    cpus: Cpus = 1
    memory_mb: Memory = 512
    disk_mb: Annotated[int, Range(0, 2**26)] = 0
    type: Type = "any"
    networks: tuple[Ref, ...] = ()
    hostname: HostName | None = None
    ssh_keys: tuple[SshKey, ...] = ()
    login: Annotated[str, Check(check_login)] | None = None
    kernel: Ref = ""
    owner: Text = ""
    comment: Text = ""


@verb("appliance.add", roles=OPERATE, changes=True)
async def appliance_add(call: Call, spec: ApplianceSpec, options: Options = _OPTIONS) -> Any:
    """Define an appliance; nothing runs yet. Returns its id."""
    return await call.change(options, _add, spec, call.actor.name, options.reason, call.parent)


def _add(db: Transaction, spec: ApplianceSpec, actor: str, reason: str, parent: int | None = None) -> int:
    return appliances.add(db, _resolved(db, spec, actor), actor, reason, parent)


def _resolved(db: Db, spec: ApplianceSpec, actor: str) -> Appliance:
    """The appliance of a spec, names looked up. Raises NotFound."""
    image = images.find(db, spec.image)
    if image.state == ImageState.IDLE:
        claims.require_settled(db, f"image:{image.id}")
    if image.state not in USABLE:
        raise Conflict(f"image {image.name} is {image.state}", subject=f"image:{image.id}", hint="choose another")
    if len(spec.networks) > 8:
        raise InvalidInput("an appliance has at most 8 NICs")
    return Appliance(
        0,
        spec.name,
        image.id,
        spec.type,
        spec.cpus,
        max(spec.memory_mb, image.min_memory_mb),
        max(spec.disk_mb, image.size_mb, 1),
        ApplianceState.STOPPED,
        spec.hostname or check_hostname(spec.name.replace(".", "-")),
        places.find_kernel(db, spec.kernel).id if spec.kernel else None,
        networks=tuple(places.find_network(db, each).id for each in spec.networks),
        ssh_keys=spec.ssh_keys,
        login=spec.login or image.default_user,
        owner=spec.owner or actor,
        comment=spec.comment,
    )


@verb("appliance.list", roles=LOOK)
async def appliance_list(call: Call, options: ListOptions = _LIST) -> list[dict[str, Any]]:
    """Appliances, a page at a time."""
    return await call.read(appliance_view.list_page, options)


@verb("appliance.get", roles=LOOK)
async def appliance_get(call: Call, appliance: Ref) -> dict[str, Any]:
    """One appliance: NICs, disks, where it runs and why there, its live workflow, and what it still owes."""
    return await call.read(appliance_view.show_one, appliance)


@dataclass(frozen=True, slots=True)
class UpdateSpec:
    """What can be changed while it is stopped; what is left off stays."""

    cpus: Cpus | None = None
    memory_mb: Memory | None = None
    hostname: HostName | None = None
    ssh_keys: tuple[SshKey, ...] | None = None
    comment: Text | None = None
    type: Type | None = None


@verb("appliance.update", roles=OPERATE, changes=True)
async def appliance_update(call: Call, appliance: Ref, spec: UpdateSpec, options: Options = _OPTIONS) -> Any:
    """Change a stopped appliance. Returns its id."""
    return await call.change(options, _update, appliance, spec, call.actor.name, options.reason)


def _update(db: Transaction, ref: int | str, spec: UpdateSpec, actor: str, reason: str) -> int:
    found = appliances.find(db, ref)
    subject = f"appliance:{found.id}"
    if found.state is not ApplianceState.STOPPED or live_on(db, subject):
        raise Conflict(f"it is {found.state}; only a stopped appliance is changed", subject=subject, hint="stop it")
    wanted: dict[str, Any] = {
        "cpus": spec.cpus,
        "memory_mb": spec.memory_mb,
        "hostname": spec.hostname,
        "ssh_keys": None if spec.ssh_keys is None else dump(spec.ssh_keys),
        "comment": spec.comment,
        "virtualization_type": spec.type,
    }
    changes = {name: value for name, value in wanted.items() if value is not None}
    if changes:
        appliances.change(db, found.id, changes)
        events.append(db, "appliance.updated", subject, actor=actor, reason=reason, data={"fields": sorted(changes)})
    return found.id


@verb("appliance.start", roles=OPERATE, changes=True)
async def appliance_start(
    call: Call, appliance: Ref, password: Annotated[str, Length(200)] = "", options: Options = _OPTIONS
) -> Any:
    """Start an appliance on the best host. Returns the workflow's id, or the plan.

    ``password`` is for its first login, when it has no ssh key; it is kept sealed and never shown.
    """
    ident = await _ident(call, appliance)
    if password.startswith("secret:") and call.parent is not None:
        return await call.start("appliance.start", ident, {"password": password}, options)
    return await call.start("appliance.start", ident, {}, options, {"password": password} if password else None)


async def _ident(call: Call, appliance: int | str) -> int:
    """The id of a name; an id that there is not is refused when the operation begins."""
    return appliance if isinstance(appliance, int) else (await call.read(appliances.find, appliance)).id


@dataclass(frozen=True, slots=True)
class StopOptions(Options):
    """``grace_seconds``: how long the guest may take to power off before the plug is pulled."""

    grace_seconds: Annotated[int, Range(0, 3600)] = 30


_STOP = StopOptions()


@verb("appliance.stop", roles=OPERATE, changes=True)
async def appliance_stop(call: Call, appliance: Ref, options: StopOptions = _STOP) -> Any:
    """Stop an appliance; its disk and addresses stay. During a start it undoes that. Returns the workflow's id."""
    return await _end(call, "appliance.stop", appliance, options)


@verb("appliance.restart", roles=OPERATE, changes=True)
async def appliance_restart(call: Call, appliance: Ref, options: StopOptions = _STOP) -> Any:
    """Power an appliance off and on again where it is; it runs afterwards, even if its host had lost the machine.

    Returns the workflow's id, or the plan.
    """
    return await _end(call, "appliance.restart", appliance, options)


@verb("appliance.remove", roles=OPERATE, changes=True)
async def appliance_remove(call: Call, appliance: Ref, options: StopOptions = _STOP) -> Any:
    """Remove a stopped appliance with its disk and addresses. Returns the workflow's id, or the plan."""
    return await _end(call, "appliance.remove", appliance, options)


@verb("appliance.resume", roles=OPERATE, changes=True)
async def appliance_resume(call: Call, appliance: Ref, options: Options = _OPTIONS) -> Any:
    """Let a paused appliance go on, once what paused it is mended (a full disk has room again). Returns its id.

    Its state follows what its host then shows: a machine that is paused again at once stays ``paused``.
    """
    host, uuid = await call.read(_machine, appliance)
    asked = await call.change(options, _ask_resume, appliance, call.actor.name, options.reason)
    if isinstance(asked, dict):
        return asked
    there, asking = call.core.reach.host(host), call.core.reach.ask_host(host)
    await there.call(there.driver.resume, uuid)
    machine = await asking.call(asking.driver.find, uuid)
    if machine is not None and machine.state is MachineState.RUNNING:
        change = Change(asked, ApplianceState.PAUSED, ApplianceState.ACTIVE, options.reason or "resumed")
        await call.core.store.write(note_machines, [change])
    return asked


def _ask_resume(db: Transaction, ref: int | str, actor: str, reason: str) -> int:
    found = appliances.find(db, ref)
    if found.state is not ApplianceState.PAUSED:
        raise Conflict(f"it is {found.state}; only a paused appliance is resumed", subject=f"appliance:{found.id}")
    events.append(db, "appliance.resume_asked", f"appliance:{found.id}", actor=actor, reason=reason)
    return found.id


async def _end(call: Call, operation: str, appliance: Ref, options: StopOptions) -> Any:
    ident = await _ident(call, appliance)
    return await call.start(operation, ident, {"grace_seconds": options.grace_seconds}, options)


# ------------------------------------------------------------ explain


@verb("appliance.explain", roles=LOOK)
async def appliance_explain(call: Call, appliance: Any, quantity: Annotated[int, Range(1, 1000)] = 1) -> dict[str, Any]:
    """Where an appliance (id or name) or so many of a spec would go, with a verdict for each candidate host.

    Of a spec it also tells the ``plans``: for each server the steps that its start would take, beside the ones before
    it, for the first 20. Of several, the second is named ``NAME-2``. Raises NoCapacity with the number that is missing
    when they do not all fit.
    """
    if isinstance(appliance, Mapping):
        spec = convert(ApplianceSpec, {"name": "explained", **appliance}, "spec")
        explained = await call.read(_explain_spec, call, spec, quantity)
        plans = await _rehearse(call, spec, quantity)
        return {
            **explained,
            "plans": [{"name": name, "steps": plan.as_dict()["steps"]} for name, plan in plans.items()],
        }
    return await call.read(_explain_known, call, convert(Ref, appliance, "appliance"))


async def _rehearse(call: Call, spec: ApplianceSpec, quantity: int) -> dict[str, Plan]:
    """What starting appliances of this spec would take, under other names when their own are taken."""
    specs = _numbered(spec, quantity)
    try:
        plans = await call.core.engine.rehearse_new("appliance.start", _creates(call, specs), call.actor)
    except Conflict:
        specs = _numbered(replace(spec, name=f"{spec.name[:40]}-{token_hex(4)}", hostname=None), quantity)
        plans = await call.core.engine.rehearse_new("appliance.start", _creates(call, specs), call.actor)
    return {each.name: plan for each, plan in zip(specs, plans, strict=True)}


def _numbered(spec: ApplianceSpec, quantity: int) -> list[ApplianceSpec]:
    if quantity == 1:
        return [spec]
    hostname = spec.hostname
    return [
        replace(spec, name=f"{spec.name}-{number}", hostname=hostname and f"{hostname}-{number}")
        for number in range(1, min(quantity, SHOWN_PLANS) + 1)
    ]


def _creates(call: Call, specs: Sequence[ApplianceSpec]) -> list[Callable[[Transaction], int]]:
    return [partial(_add, spec=each, actor=call.actor.name, reason="explained") for each in specs]


def _explain_known(db: Db, call: Call, ref: int | str) -> dict[str, Any]:
    found = appliances.find(db, ref)
    if found.resource_id is not None:
        return {"placed": True, "host_id": found.host_id, "candidates": found.placement.get("candidates", [])}
    return _explain(db, call, found, 1)


def _explain_spec(db: Db, call: Call, spec: ApplianceSpec, quantity: int) -> dict[str, Any]:
    return _explain(db, call, _resolved(db, spec, call.actor.name), quantity)


def _explain(db: Db, call: Call, appliance: Appliance, quantity: int) -> dict[str, Any]:
    image = images.find(db, appliance.image_id)
    storage = places.find_storage(db, image.storage_id)
    requirement = Requirement(appliance.virtualization_type, appliance.cpus, appliance.memory_mb, storage.host_id)
    served = call.core.registries.virtualization
    candidates = [each for each in call.core.capacity.candidates_of_rows(db) if each.virtualization_type in served]
    first = explain(requirement, candidates)
    _check_disk(db, storage.id, appliance.disk_mb * quantity)
    _check_addresses(db, appliance.networks, quantity)
    chosen = []
    for number in range(quantity):
        best = choose(requirement, candidates)
        if best is None:
            verdicts = explain(requirement, candidates)
            missing = shortage(verdicts)
            raise NoCapacity(
                f"{number} of {quantity} fit; the next lacks "
                + (", ".join(f"{amount} {what}" for what, amount in missing.items()) or "a host that can take it"),
                hint="ask for less, or wait until capacity is free",
                missing=missing,
                candidates=[each.as_dict() for each in verdicts],
            )
        best.used_cpus += requirement.cpus
        best.used_memory_mb += requirement.memory_mb
        chosen.append(best.name)
    return {"placed": False, "hosts": chosen, "candidates": [each.as_dict() for each in first]}


def _check_disk(db: Db, storage_id: int, wanted: int) -> None:
    storage = places.find_storage(db, storage_id)
    lacking = read_storages(db)[storage_id] + wanted - int(storage.capacity_mb * storage.overcommit)
    if lacking > 0:
        raise NoCapacity(f"storage {storage.name} lacks {lacking} MiB", missing={"disk_mb": lacking})


def _check_addresses(db: Db, networks: tuple[int, ...], quantity: int) -> None:
    for ident in set(networks):
        network = places.find_network(db, ident)
        lacking = networks.count(ident) * quantity - addresses.free(db, network)
        if lacking > 0:
            raise NoCapacity(f"network {network.name} lacks {lacking} addresses", missing={"addresses": lacking})


@verb("appliance.console_log", roles=LOOK)
async def appliance_console_log(call: Call, appliance: Ref, limit: Annotated[int, Range(1, 262_144)] = 65_536) -> str:
    """The last bytes that a running appliance wrote to its serial console."""
    host, uuid = await call.read(_machine, appliance)
    there = call.core.reach.ask_host(host)
    return await there.call(there.driver.console_log, uuid, limit)


def _machine(db: Db, ref: int | str) -> tuple[Host, str]:
    found = appliances.find(db, ref)
    if found.resource_id is None or found.host_id is None:
        raise Conflict("it has no machine", subject=f"appliance:{found.id}", hint="start it")
    return hosts.find(db, found.host_id), resources.find(db, found.resource_id).uuid
