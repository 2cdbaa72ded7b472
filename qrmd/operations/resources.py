"""Verbs about resources: machines, physical and virtual."""

from __future__ import annotations

from functools import partial
from typing import Any

from qrmd.errors import Conflict, InvalidInput
from qrmd.model import Host, Resource
from qrmd.operations.call import Call
from qrmd.operations.inputs import Ident, Text
from qrmd.operations.registry import LOOK, OPERATE, verb
from qrmd.operations.schema import ListOptions, Options
from qrmd.states import ResourceState
from qrmd.store import resources
from qrmd.store.connection import Db, Transaction
from qrmd.store.transitions import transition
from qrmd.store.workflows import live_on

_OPTIONS, _LIST = Options(), ListOptions()
POWER = ("on", "off", "shutdown", "reset")


@verb("resource.list", roles=LOOK)
async def resource_list(call: Call, options: ListOptions = _LIST) -> list[dict[str, Any]]:
    """Resources, a page at a time."""
    return await call.read(resources.list_page, options)


@verb("resource.get", roles=LOOK)
async def resource_get(call: Call, resource: Ident) -> dict[str, Any]:
    """One resource: its row, and the machine as its host sees it.

    ``seen_at`` says when the host saw it so; ``silent_since`` and ``fault`` are there when it does not answer now.
    """
    found, host = await call.read(resources.find_with_host, resource)
    shown = await call.read(resources.show_one, resource)
    if host is None or found.state is ResourceState.REMOVED:
        return {**shown, "machine": None, "seen_at": None, "silent_since": None, "fault": None}
    there = call.core.reach.ask_host(host)
    sighting = await call.core.reach.sightings.look(
        f"resource:{found.id}", lambda: there.call(there.driver.find, found.uuid)
    )
    machine = sighting.value
    seen = None if machine is None else {"state": machine.state.value, "reason": machine.reason, "name": machine.name}
    return {**shown, "machine": seen, **sighting.as_dict()}


@verb("resource.power", roles=OPERATE, changes=True)
async def resource_power(call: Call, resource: Ident, action: Text, options: Options = _OPTIONS) -> Any:
    """Switch a machine ``on`` or ``off``, press ``reset``, or ask its guest to ``shutdown``.

    Of a machine that runs an appliance only the reset button is pressed here; ``appliance.stop``, ``appliance.start``
    and ``appliance.restart`` do the rest.
    """
    if action not in POWER:
        raise InvalidInput(f"action must be one of {', '.join(POWER)}")
    found, host = await call.read(_powered, resource, action)
    if options.dry_run:
        return {"dry_run": True, "result": f"{action} {found.name} on {host.name}"}
    return await call.once(options, partial(_power, call, found, host, action, options.reason))


def _powered(db: Db, ident: int, action: str) -> tuple[Resource, Host]:
    """The machine and its host. Raises Conflict when it is not for us to power."""
    found, host = resources.find_with_host(db, ident)
    subject, appliance = f"resource:{ident}", f"appliance:{found.appliance_id}"
    if host is None or found.state is ResourceState.REMOVED:
        raise Conflict("nothing can power it", subject=subject)
    if found.appliance_id is None:
        return found, host
    if live_on(db, appliance):
        raise Conflict(f"a workflow is at {appliance}", subject=subject, hint="wait until it has ended")
    if action != "reset":
        raise Conflict(
            f"it runs appliance {found.appliance_id}",
            subject=subject,
            hint="use appliance.stop or appliance.restart, which know what depends on it",
        )
    return found, host


async def _power(call: Call, found: Resource, host: Host, action: str, reason: str) -> bool:
    """The event comes before the deed."""
    await call.core.store.write(resources.note_power, found.id, action, call.actor.name, reason)
    there = call.core.reach.host(host)
    driver = there.driver
    function = {"on": driver.power_on, "off": driver.power_off, "shutdown": driver.shutdown, "reset": driver.reset}
    await there.call(function[action], found.uuid)
    return True


@verb("resource.remove", roles=OPERATE, changes=True)
async def resource_remove(call: Call, resource: Ident, options: Options = _OPTIONS) -> Any:
    """Forget a resource that runs nothing."""
    return await call.change(options, _remove, resource, call.actor.name, options.reason)


def _remove(db: Transaction, ident: int, actor: str, reason: str) -> bool:
    found = resources.find(db, ident)
    if found.appliance_id is not None:
        raise Conflict(f"it belongs to appliance {found.appliance_id}", subject=f"resource:{ident}")
    transition(db, "resource", ident, ResourceState.REMOVED, actor=actor, reason=reason)
    return True


@verb("resource.explain", roles=LOOK)
async def resource_explain(call: Call, resource: Ident) -> dict[str, Any]:
    """Why a resource is what and where it is: its appliance's placement, and its last events."""
    return await call.read(resources.explain, resource)
