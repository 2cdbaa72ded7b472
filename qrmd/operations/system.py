"""Verbs about the daemon itself: version, health, settings, backup."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import qrmd
from qrmd.clock import now_us, to_iso
from qrmd.errors import InvalidInput
from qrmd.operations.call import Call
from qrmd.operations.registry import ADMINISTER, ANYBODY, LOOK, verb
from qrmd.operations.schema import Length, Options
from qrmd.settings import Setting, Settings
from qrmd.store import settings
from qrmd.store.connection import Transaction
from qrmd.store.find import count_states

_NO_OPTIONS = Options()


@verb("qrm.version", roles=ANYBODY)
async def version(call: Call) -> dict[str, Any]:  # noqa: ARG001 - the shape of a verb
    """Version of the daemon and of this interface."""
    return {"version": qrmd.__version__, "interface": 1}


@verb("qrm.health", roles=LOOK)
async def health(call: Call) -> dict[str, Any]:
    """Whether the daemon can work now: ``ok``, its problems as sentences, its time and what it counts."""
    problems = call.core.problems()
    counters = call.core.store.counters
    return {
        "ok": not problems,
        "problems": problems,
        "time": to_iso(now_us()),
        "version": qrmd.__version__,
        "installation": call.core.installation,
        "store": {"commits": counters.commits, "writes": counters.members, "slow_writes": counters.slow},
    }


@verb("qrm.states", roles=LOOK)
async def states(call: Call) -> dict[str, dict[str, int]]:
    """How many objects there are in each state: appliance, resource, host, image, and workflows that have not ended."""
    return await call.read(count_states)


@verb("qrm.types", roles=LOOK)
async def served_types(call: Call) -> dict[str, list[str]]:
    """Types that started plugins serve now: ``virtualization`` (of hosts) and ``deployment`` (of storages)."""
    return call.core.registries.types()


@verb("settings.get", roles=LOOK)
async def get_settings(call: Call, name: Annotated[str, Length(100)] = "") -> Any:
    """All settings by name with their value, default and meaning; with ``name`` the value of that one.

    A secret is never shown: its value is ``set`` or empty.
    """
    values = await call.read(settings.values)
    if name:
        return _shown_value(call.core.settings, call.core.settings.get(name), values)
    return {
        each.name: {
            "value": _shown_value(call.core.settings, each, values),
            "default": each.default,
            "help": each.help,
            "secret": each.secret,
            "plugin": each.plugin,
        }
        for each in call.core.settings.all()
    }


@verb("settings.set", roles=ADMINISTER, changes=True)
async def set_settings(call: Call, values: dict[str, Any], options: Options = _NO_OPTIONS) -> Any:
    """Set settings: a struct of name and value, all or nothing. An empty secret takes it away."""
    if not values:
        raise InvalidInput("values names no setting", hint="settings.get names them all")
    checked = {name: call.core.settings.check(name, value) for name, value in values.items()}
    known = [call.core.settings.get(name) for name in checked]

    def put(db: Transaction) -> dict[str, Any]:
        for each in known:
            value = checked[each.name]
            if each.secret and not value:
                settings.reset(db, each.name, actor=call.actor.name, reason=options.reason)
            else:
                settings.put(db, each.name, value, secret=each.secret, actor=call.actor.name, reason=options.reason)
        return {each.name: ("set" if each.secret else checked[each.name]) for each in known}

    return await call.change(options, put)


def _shown_value(known: Settings, setting: Setting, values: dict[str, Any]) -> Any:
    if setting.secret:
        return "set" if setting.name in values else ""
    return known.value(setting.name, values)


@verb("qrm.backup", roles=ADMINISTER, changes=True)
async def backup(call: Call, name: Annotated[str, Length(100)] = "", options: Options = _NO_OPTIONS) -> Any:
    """Copy the database while the daemon runs, into its backup directory, and verify the copy.

    ``name``: of the file (empty: made from the time). Returns path, size, SHA-256 and rows per table.
    The key of sealed values is not in it: keep ``vault.key`` apart.
    """
    make = partial(call.core.backups.make, call.actor.name, name, options.reason)
    return await make(dry_run=True) if options.dry_run else await call.once(options, make)
