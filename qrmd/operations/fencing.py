"""Verbs that say that a host is certainly off, and that it may come back."""

from __future__ import annotations

from typing import Any

from qrmd.errors import Conflict, InvalidInput, StepFailed, Unavailable
from qrmd.model import Host, Severity
from qrmd.operations.call import Call
from qrmd.operations.hosts import look
from qrmd.operations.inputs import Ref
from qrmd.operations.registry import OPERATE, verb
from qrmd.operations.schema import Options
from qrmd.states import ApplianceState, HostState
from qrmd.store import claims, fences, hosts, observed, places
from qrmd.store.connection import Db, Transaction
from qrmd.store.observed import Change
from qrmd.store.transitions import transition
from qrmd.workflow.steering import Turn

_OPTIONS = Options()


@verb("host.declare_fenced", roles=OPERATE, changes=True)
async def host_declare_fenced(call: Call, host: Ref, options: Options = _OPTIONS) -> Any:
    """Declare that a host is off for certain: "I have pulled its plug". The reason is kept as the evidence.

    Refused while the host still answers. What ran there counts as dead, and what would have to be taken away there
    counts as done and is owed until ``host.admit``. Workflows that wait for the host go on; their ids are returned.
    A false declaration can let two copies of a server run at once.
    """
    if not options.reason.strip():
        raise InvalidInput(
            "options.reason is empty", hint="say how you know that it is off; it is kept as the evidence"
        )
    found = await call.read(hosts.find, host)
    if found.state is not HostState.FENCED:
        silence = await _silence(call, found)
        answer = await call.change(options, _declare, call, found.id, silence, options.reason)
        if options.dry_run:
            return answer
    elif options.dry_run:
        return {"dry_run": True, "result": await call.read(_waiting, found.id)}
    return {"state": HostState.FENCED.value, "workflows": await _go_on(call, f"host:{found.id}", options)}


async def _silence(call: Call, host: Host) -> str:
    """Why it does not answer. Raises Conflict when it does."""
    try:
        await look(call, host)
    except (StepFailed, Unavailable) as error:
        return str(error)
    raise Conflict(
        f"{host.name} answers, so it is not off", subject=f"host:{host.id}", hint="see that it was the right plug"
    )


def _declare(db: Transaction, call: Call, ident: int, silence: str, reason: str) -> dict[str, Any]:
    """In one transaction: the host's state, and those of appliances whose machines are dead with it."""
    observed.note_silence(db, ident, silence, call.core.capacity)
    transition(
        db,
        "host",
        ident,
        HostState.FENCED,
        actor=call.actor.name,
        reason=reason,
        severity=Severity.WARNING,
        data={"evidence": f"declared by {call.actor.name}", "silence": silence},
    )
    call.core.capacity.refresh_hosts(db)
    dead = [
        Change(each.appliance_id, each.state, ApplianceState.ERROR, "its host was fenced")
        for each in observed.expected(db, ident)
        if each.state != ApplianceState.ERROR
    ]
    observed.note_machines(db, dead)
    return {"state": HostState.FENCED.value, "appliances": [each.appliance_id for each in dead]}


async def _go_on(call: Call, place: str, options: Options) -> list[int]:
    """What is stuck or waits on the host is tried again: it counts as done now. Their ids."""
    stuck = await call.read(fences.stuck_at, place)
    for ident in stuck:
        try:
            await call.core.engine.steer(Turn.RETRY, ident, call.actor, options.reason)
        except Conflict:
            continue  # somebody was faster
    call.core.engine.debts.pay_now(place)
    return sorted({*stuck, *await call.read(fences.waiting_at, place)})


def _waiting(db: Db, ident: int) -> dict[str, Any]:
    stuck, waiting = fences.stuck_at(db, f"host:{ident}"), fences.waiting_at(db, f"host:{ident}")
    return {"state": HostState.FENCED.value, "workflows": sorted({*stuck, *waiting})}


@verb("host.admit", roles=OPERATE, changes=True)
async def host_admit(call: Call, host: Ref, options: Options = _OPTIONS) -> Any:
    """Take a fenced host back: it must answer, what is owed there is done, and only then is it up.

    Returns its state and the titles of the steps that were done. When one can't be done the host stays fenced.
    """
    found = await call.read(hosts.find, host)
    place = f"host:{found.id}"
    known = await call.known(options)
    if known is not None:
        return known
    if found.state is not HostState.FENCED:
        raise Conflict(f"it is {found.state}; only a fenced host is admitted", subject=place, state=found.state.value)
    await look(call, found)
    if options.dry_run:
        return {"dry_run": True, "owed": await call.read(_titles, place)}
    paid = await call.core.engine.fences.pay(place)
    answer = await call.change(options, _admit, call, found.id, paid, options.reason)
    call.core.engine.debts.pay_now(place)
    return answer


def _titles(db: Db, place: str) -> list[str]:
    return [row["title"] for row in fences.owed_at(db, place)]


def _admit(db: Transaction, call: Call, ident: int, paid: list[str], reason: str) -> dict[str, Any]:
    fences.require_paid(db, f"host:{ident}")
    transition(
        db,
        "host",
        ident,
        HostState.UP,
        event="host.admitted",
        source=HostState.FENCED.value,
        actor=call.actor.name,
        reason=reason,
        data={"paid": paid},
    )
    call.core.capacity.refresh_hosts(db)
    return {"state": HostState.UP.value, "paid": paid}


@verb("host.scrap", roles=OPERATE, changes=True)
async def host_scrap(call: Call, host: Ref, options: Options = _OPTIONS) -> Any:
    """Remove a fenced host that never comes back, with all that was owed there or ours there.

    Storages that only it reached are forgotten with it. Refused while an appliance, an image or a disk is there.
    Returns how many steps were owed or tried again and again there.
    """
    return await call.change(options, _scrap, call, host, options.reason)


def _scrap(db: Transaction, call: Call, ref: int | str, reason: str) -> int:
    found = hosts.find(db, ref)
    place = f"host:{found.id}"
    if found.state is not HostState.FENCED:
        raise Conflict(
            f"it is {found.state}; only a fenced host is scrapped", subject=place, hint="host.declare_fenced it first"
        )
    claims.require_free(db, place)
    owed = fences.write_off(db, place)
    for storage in places.all_storages(db):
        if storage.host_id == found.id:
            places.remove(db, "storage", storage.id, call.actor.name, reason)
    users = hosts.users_of(db, found.id)
    if users:
        raise Conflict(
            f"{', '.join(users[:5])} still on it", subject=place, hint="stop or remove those first", users=users[:100]
        )
    transition(
        db, "host", found.id, HostState.REMOVED, event="host.scrapped", actor=call.actor.name, reason=reason,
        severity=Severity.WARNING, data={"written_off": owed},
    )  # fmt: skip
    call.core.capacity.refresh_hosts(db)
    return owed
