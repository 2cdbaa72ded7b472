"""What carries our tag outside, compared with what the rows say is ours."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from qrmd.drivers import Auditor, Found
from qrmd.errors import Conflict, QrmdError
from qrmd.store import hosts, places
from qrmd.store.audit import OwnedRow

if TYPE_CHECKING:
    from qrmd.core import Core

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """One place that a plugin looked at.

    Attributes:
        plugin: that looked; the core for hosts and storages.
        fault: set: it can't be known what of its things is there.
        auditor: that looked; None: the driver of the host or storage.
    """

    name: str
    plugin: str
    found: tuple[Found, ...] = ()
    fault: str = ""
    auditor: Auditor | None = None


@dataclass(frozen=True, slots=True)
class Orphan:
    """A thing that nothing of ours explains, with who found it at its place and so removes it."""

    found: Found
    by: Place


@dataclass(frozen=True, slots=True)
class Report:
    """The audit's result.

    Attributes:
        orphaned: there, and nothing of ours says why.
        missing: ours by the rows, and not there.
        unknown: places that can't be looked at, with what we own there.
        drift: where a cache of ours is not what the rows say.
    """

    orphaned: list[Orphan] = field(default_factory=list)
    missing: list[OwnedRow] = field(default_factory=list)
    unknown: list[dict[str, Any]] = field(default_factory=list)
    drift: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Nothing over, nothing missing, nothing unknown."""
        return not (self.orphaned or self.missing or self.unknown or self.drift)


async def look_everywhere(core: Core) -> list[Place]:
    """Ask each host's, storage's and plugin's driver what of ours it has."""
    looked: list[Place] = []
    for host in await core.store.read(hosts.all_hosts):
        driver = core.registries.virtualization.get(host.virtualization_type)
        looked.append(await _look(core, f"host:{host.id}", CORE, driver and driver.owned, host, core.installation))
    for storage in await core.store.read(places.all_storages):
        keeper = core.registries.deployment.get(storage.deployment_type)
        place = f"storage:{storage.id}"
        looked.append(await _look(core, place, CORE, keeper and keeper.owned, storage, core.installation))
    for auditor in core.registries.auditors:
        seen = [await _look(core, each, auditor.plugin, auditor.owned, each) for each in auditor.places()]
        looked.extend(replace(each, auditor=auditor) for each in seen)
    return looked


async def _look(core: Core, place: str, plugin: str, function: Any, *args: Any) -> Place:
    if function is None:
        return Place(place, plugin, fault="no started plugin serves it")
    try:
        found: Sequence[Found] = await core.reach.ask(f"{place}:query", function, *args)
    except QrmdError as error:
        return Place(place, plugin, fault=str(error))
    except Exception as error:
        log.exception("audit of %s", place)
        return Place(place, plugin, fault=f"{type(error).__name__}: {error}")
    return Place(place, plugin, tuple(found))


def compare(
    looked: Sequence[Place],
    owned: Sequence[OwnedRow],
    busy: frozenset[str],
    ignored: frozenset[tuple[str, str, str]],
    auditing: frozenset[str] = frozenset(),
) -> Report:
    """Match by kind, external id and place.

    Args:
        busy: subjects with a live workflow: what is missing or over there is on its way.
        ignored: (kind, external id, place) that an admin said to leave alone.
        auditing: plugins whose auditors look wherever anything of theirs may be.
    """
    report = Report()
    known = {_identity(row) for row in owned}
    for place in looked:
        here = [row for row in owned if (row.place, row.plugin) == (place.name, place.plugin)]
        if place.fault:
            report.unknown.append(_unknown(place.name, place.fault, here))
            continue
        there = {_identity(each) for each in place.found}
        report.orphaned.extend(
            Orphan(each, place)
            for each in place.found
            if _identity(each) not in known and _identity(each) not in ignored and each.subject not in busy
        )
        report.missing.extend(row for row in here if _identity(row) not in there and _should_be(row, busy))
    _compare_rest(report, looked, owned, busy, auditing)
    return report


def _compare_rest(
    report: Report, looked: Sequence[Place], owned: Sequence[OwnedRow], busy: frozenset[str], auditing: frozenset[str]
) -> None:
    """Rows of things at which nobody looked: gone with their place, or nobody is there to look."""
    seen = {(place.name, place.plugin) for place in looked}
    rest = [row for row in owned if (row.place, row.plugin) not in seen]
    report.missing.extend(row for row in rest if row.plugin in auditing and _should_be(row, busy))
    unlooked = [row for row in rest if row.plugin not in auditing]
    for place, plugin in sorted({(row.place, row.plugin) for row in unlooked}):
        here = [row for row in unlooked if (row.place, row.plugin) == (place, plugin)]
        report.unknown.append(_unknown(place, f"nobody looks there for what plugin {plugin} made", here))


def _identity(thing: Found | OwnedRow) -> tuple[str, str, str]:
    return thing.kind, thing.external_id, thing.place


def _should_be(row: OwnedRow, busy: frozenset[str]) -> bool:
    return row.kind not in OPTIONAL and row.subject not in busy


def _unknown(place: str, fault: str, here: Sequence[OwnedRow]) -> dict[str, Any]:
    return {"place": place, "fault": fault, "owned": [f"{row.kind} {row.external_id}" for row in here]}


CORE = "core"
"""Hosts and storages are looked at for what the core's own steps made there."""
OPTIONAL = frozenset({"seed", "console"})
"""Parts that a driver may do without."""


async def remove(core: Core, orphan: Orphan) -> None:
    """Remove an orphan through the driver or auditor that found it. Raises what that raises."""
    found, auditor = orphan.found, orphan.by.auditor
    if auditor is not None:
        if auditor not in core.registries.auditors:
            raise Conflict(f"plugin {auditor.plugin} was stopped meanwhile", subject=found.place, hint="start it again")
        await core.lanes.call(f"{found.place}:query", auditor.remove_found, found)
        return
    kind, _, ident = found.place.partition(":")
    if kind == "host":
        host = await core.store.read(hosts.find, int(ident))
        driver = core.reach.virtualization(host)
        await core.lanes.call(f"host:{host.id}", driver.remove_found, host, found)
        return
    storage = await core.store.read(places.find_storage, int(ident))
    keeper = core.reach.deployment(storage)
    await core.lanes.call(f"storage:{storage.id}", keeper.remove, storage, found.external_id)
