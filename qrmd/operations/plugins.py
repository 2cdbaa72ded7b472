"""Verbs of plugins: what is installed, and what of it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, Any

from qrmd.clock import to_iso
from qrmd.config import load_plugin_config
from qrmd.errors import ConfigInvalid, Conflict, InvalidInput, NotFound, PluginFault
from qrmd.names import shown
from qrmd.operations import adoption
from qrmd.operations.call import Call
from qrmd.operations.registry import ADMINISTER, LOOK, verb
from qrmd.operations.schema import Length, ListOptions, Options, Range
from qrmd.plugins.lifecycle import Changed
from qrmd.states import PLUGIN_EDGES, PluginState
from qrmd.store import outbox, plugins
from qrmd.store.connection import Db

Name = Annotated[str, Length(63)]


@dataclass(frozen=True, slots=True)
class StopOptions(Options):
    """Attributes of a stop.

    Attributes:
        wait: seconds to let live steps end before it is refused.
        leave: things that the plugin made stay where they are.
        withdraw: things that the plugin made are removed first.
    """

    wait: Annotated[float, Range(0, 600)] = 0.0
    leave: bool = False
    withdraw: bool = False


@dataclass(frozen=True, slots=True)
class DisableOptions(Options):
    """Attributes of a disable.

    Attributes:
        leave: things that the plugin made stay where they are.
        withdraw: a plugin that still runs takes them back first.
    """

    leave: bool = False
    withdraw: bool = False


@dataclass(frozen=True, slots=True)
class PurgeOptions(Options):
    """Attributes of a purge. ``confirm``: the plugin's name once more."""

    confirm: Annotated[str, Length(63)] = ""


@dataclass(frozen=True, slots=True)
class UnparkOptions(Options):
    """Attributes of an unpark. ``skip``: forget the event instead of showing it again."""

    skip: bool = False


FIELDS = ("id", "name", "state", "fault", "version", "title", "description", "kind", "requires", "parked")


@verb("plugin.list", roles=LOOK)
async def list_plugins(
    call: Call,
    options: ListOptions = ListOptions(),  # noqa: B008 - frozen
) -> list[dict[str, Any]]:
    """All plugins ever installed: id, name, state, fault, version, title, description, kind, requires.

    ``parked`` is how many events a plugin could not digest.
    """
    options.refuse_search()
    for field in (*options.fields, *(options.where or {})):
        if field not in FIELDS:
            raise InvalidInput(f"there is no field {shown(field)}", hint="known: " + ", ".join(FIELDS))
    rows = await call.core.plugins.discover()
    parked = await call.read(outbox.count_parked)
    found = [
        {**_summary(call, row), "parked": parked.get(row.name, 0)}
        for row in sorted(rows.values(), key=lambda row: row.id)
        if row.id > options.after
    ]
    wanted = [each for each in found if all(each.get(key) == value for key, value in (options.where or {}).items())]
    fields = ("id", *options.fields) if options.fields else FIELDS
    return [{key: each[key] for key in fields if key in each} for each in wanted[: options.limit]]


@verb("plugin.get", roles=LOOK)
async def get_plugin(call: Call, name: Name) -> dict[str, Any]:
    """One plugin: what it offers, how far it observes, what keeps it from being stopped, what it made."""
    rows = await call.core.plugins.discover()
    if name not in rows:
        raise NotFound(f"there is no plugin {shown(name)}", hint="qrm plugin list")
    started = rows[name].state is PluginState.STARTED
    cursor, newest, parked, owned = await call.read(_observed, name)
    offered = call.core.plugins.offered(name)
    return {
        **_summary(call, rows[name]),
        "next": _next(rows[name].state),
        "offers": offered.as_dict(),
        "depended_on_by": await call.core.plugins.dependents(name) if started else [],
        "owned": owned,
        "lacking": await adoption.survey(call, name) if started else {},
        "config": _config_problem(call, name),
        "parked": [{**asdict(each), "at": to_iso(each.at)} for each in parked],
        **({"cursor": {**asdict(cursor), "behind": newest - cursor.event_id}} if cursor else {}),
    }


@verb("plugin.enable", roles=ADMINISTER, changes=True)
async def enable_plugin(call: Call, name: Name, options: Options = Options()) -> dict[str, Any]:  # noqa: B008 - frozen
    """Make a plugin's tables. None of its code runs yet; what it requires must be enabled."""
    return await _change(call, name, options, call.core.plugins.enable)


@verb("plugin.start", roles=ADMINISTER, changes=True)
async def start_plugin(call: Call, name: Name, options: Options = Options()) -> dict[str, Any]:  # noqa: B008
    """Run an enabled or quarantined plugin: its types, verbs and pages appear at once. Returns what appears.

    ``lacking`` offers what appliances that run already lack of it: ``plugin.reconcile`` adds that.
    """
    answer = await _change(call, name, options, call.core.plugins.start)
    return answer if options.dry_run else {**answer, "lacking": await adoption.survey(call, name)}


@verb("plugin.stop", roles=ADMINISTER, changes=True)
async def stop_plugin(call: Call, name: Name, options: StopOptions = StopOptions()) -> dict[str, Any]:
    """Stop a plugin: what it registered vanishes at once. Refused, with the reasons, while it is needed."""
    _check_choice(options)
    more = {"wait": options.wait, "leave": options.leave, "withdraw": options.withdraw}
    return await _stopped(call, name, options, partial(_stop, call, options), **more)


async def _stopped(
    call: Call,
    name: str,
    options: StopOptions | DisableOptions,
    change: Callable[..., Awaitable[Changed]],
    **more: Any,
) -> dict[str, Any]:
    """Stop or disable it; a dry run of a withdrawal shows the plans of that beside it."""
    withdraws = options.dry_run and options.withdraw
    plans = {"plans": await adoption.withdrawals(call, name)} if withdraws else {}
    return {**await _change(call, name, options, change, **more), **plans}


async def _runs(call: Call, name: str) -> bool:
    return (await call.read(plugins.get, name)).state is PluginState.STARTED


async def _stop(call: Call, options: Options, name: str, actor: str, reason: str, **given: Any) -> Changed:
    """Withdrawing is first what the plugin itself plans for a stop of each appliance; its auditors see to the rest."""
    if given["withdraw"] and not given["dry_run"]:
        await adoption.withdraw(call, name, options, given["wait"])
    return await call.core.plugins.stop(name, actor, reason, **given)


@verb("plugin.disable", roles=ADMINISTER, changes=True)
async def disable_plugin(call: Call, name: Name, options: DisableOptions = DisableOptions()) -> dict[str, Any]:
    """Forget that a plugin was enabled; one that runs is stopped first. Its data stays until it is purged.

    While something that it made is outside it is refused, and asks: ``withdraw`` (it is taken back) or ``leave``.
    """
    _check_choice(options)
    return await _stopped(call, name, options, partial(_disable, call, options), leave=options.leave)


def _check_choice(options: StopOptions | DisableOptions) -> None:
    if options.leave and options.withdraw:
        raise InvalidInput("leave and withdraw exclude each other", hint="say one of them")


async def _disable(
    call: Call, options: DisableOptions, name: str, actor: str, reason: str, *, leave: bool, dry_run: bool
) -> Changed:
    if not await _runs(call, name):
        return await call.core.plugins.disable(name, actor, reason, leave=leave, dry_run=dry_run)
    given = {"wait": 0.0, "leave": leave, "withdraw": options.withdraw, "dry_run": dry_run}
    stopped = await _stop(call, options, name, actor, reason, **given)
    if not dry_run:
        await call.core.plugins.disable(name, actor, reason, leave=leave)
    return stopped._replace(state=PluginState.INSTALLED.value)


@verb("plugin.reconcile", roles=ADMINISTER, changes=True)
async def reconcile_plugin(call: Call, name: Name, options: Options = Options()) -> dict[str, Any]:  # noqa: B008
    """Give appliances that run already what they lack of a started plugin: one workflow each.

    They go on running whatever comes of it. Returns the workflows' ids, and which appliances were refused and why;
    a dry run returns the plans.
    """
    if not await _runs(call, name):
        raise Conflict("it does not run", subject=f"plugin:{name}", hint=f"qrm plugin start {name}")
    if options.dry_run:
        return {"dry_run": True, "plans": await adoption.plans(call, name)}
    return await call.once(options, partial(adoption.reconcile, call, name, options))


@verb("plugin.purge", roles=ADMINISTER, changes=True)
async def purge_plugin(call: Call, name: Name, options: PurgeOptions = PurgeOptions()) -> dict[str, Any]:
    """Drop all data of a disabled plugin for good. Say so: ``{"confirm": "<its name>"}``."""
    return await _change(call, name, options, call.core.plugins.purge, confirm=options.confirm)


@verb("plugin.unpark", roles=ADMINISTER, changes=True)
async def unpark_event(
    call: Call,
    name: Name,
    event_id: Annotated[int, Range(1, 2**53)],
    options: UnparkOptions = UnparkOptions(),
) -> dict[str, Any]:
    """Show a started plugin an event again that it could not digest, or skip it (``{"skip": true}``)."""
    if options.dry_run:
        return {"dry_run": True, "event": event_id, "skip": options.skip}
    return await call.once(options, partial(_unpark, call, name, event_id, options))


async def _unpark(call: Call, name: str, event_id: int, options: UnparkOptions) -> dict[str, Any]:
    if options.skip:
        await call.core.store.write(
            outbox.unpark, name, event_id, "plugin.event_skipped", call.actor.name, options.reason
        )
    else:
        await call.core.outbox.retry(name, event_id, call.actor.name, options.reason)
    return {"event": event_id, "skipped": options.skip}


def _summary(call: Call, row: plugins.PluginRow) -> dict[str, Any]:
    installed = call.core.plugins.installed.get(row.name)
    if installed is None:
        fault = "its distribution is not installed any more"
        return {"id": row.id, "name": row.name, "state": row.state.value, "fault": fault, "version": ""}
    manifest = installed.manifest()
    return {
        "id": row.id,
        "name": row.name,
        "state": row.state.value,
        "fault": row.fault or installed.fault,
        "version": installed.version,
        "title": manifest.title,
        "description": manifest.description,
        "kind": manifest.kind,
        "requires": list(manifest.requires),
    }


def _next(state: PluginState) -> list[str]:
    """Verbs that are possible in this state."""
    verbs = [edge.reason for edge in PLUGIN_EDGES if edge.source == state and edge.reason.startswith("plugin.")]
    return [*verbs, "plugin.purge"] if state is PluginState.INSTALLED else verbs


def _observed(db: Db, name: str) -> tuple[outbox.Cursor | None, int, list[outbox.Parked], list[dict[str, Any]]]:
    owned = [asdict(each) for each in plugins.owned_by(db, name, 100)]
    return outbox.cursor(db, name), outbox.last_event(db), outbox.parked(db, name), owned


def _config_problem(call: Call, name: str) -> str:
    """What is wrong with its file; empty: nothing."""
    try:
        load_plugin_config(call.core.plugins.config_dir, name, call.core.plugins.find(name).load().config_type)
    except (ConfigInvalid, PluginFault, NotFound) as error:
        return str(error)
    return ""


async def _change(
    call: Call, name: str, options: Options, change: Callable[..., Awaitable[Changed]], **more: Any
) -> dict[str, Any]:
    """Change a plugin once per key; the same key gets the first answer."""
    if options.dry_run:
        return {**await _changed(call, name, options, change, more), "dry_run": True}
    return await call.once(options, partial(_changed, call, name, options, change, more))


async def _changed(
    call: Call, name: str, options: Options, change: Callable[..., Awaitable[Changed]], more: dict[str, Any]
) -> dict[str, Any]:
    changed = await change(name, call.actor.name, options.reason, dry_run=options.dry_run, **more)
    return {"name": name, **changed.as_dict()}
