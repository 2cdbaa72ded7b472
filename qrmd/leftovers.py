"""What carries our tag outside, compared with what the rows say is ours."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qrmd.drivers import Found
from qrmd.errors import QrmdError
from qrmd.store import hosts, places
from qrmd.store.audit import OwnedRow

if TYPE_CHECKING:
    from qrmd.core import Core

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """One place that was looked at. ``fault`` set: it can't be known what is there."""

    name: str
    found: tuple[Found, ...] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The audit's result.

    Attributes:
        orphaned: there, and nothing of ours says why.
        missing: ours by the rows, and not there.
        unknown: places that can't be looked at, with what we own there.
        drift: where a cache of ours is not what the rows say.
    """

    orphaned: list[Found] = field(default_factory=list)
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
        looked.append(await _look(core, f"host:{host.id}", driver and driver.owned, host, core.installation))
    for storage in await core.store.read(places.all_storages):
        keeper = core.registries.deployment.get(storage.deployment_type)
        looked.append(await _look(core, f"storage:{storage.id}", keeper and keeper.owned, storage, core.installation))
    for auditor in core.registries.auditors:
        looked.extend([await _look(core, place, auditor.owned, place) for place in auditor.places()])
    return looked


async def _look(core: Core, place: str, function: Any, *args: Any) -> Place:
    if function is None:
        return Place(place, fault="no started plugin serves it")
    try:
        found: Sequence[Found] = await core.reach.ask(f"{place}:query", function, *args)
    except QrmdError as error:
        return Place(place, fault=str(error))
    except Exception as error:
        log.exception("audit of %s", place)
        return Place(place, fault=f"{type(error).__name__}: {error}")
    return Place(place, tuple(found))


def compare(
    looked: Iterable[Place], owned: Sequence[OwnedRow], busy: frozenset[str], ignored: frozenset[tuple[str, str, str]]
) -> Report:
    """Match by kind, external id and place.

    Args:
        busy: subjects with a live workflow: what is missing or over there is on its way.
        ignored: (kind, external id, place) that an admin said to leave alone.
    """
    report = Report()
    known = {(row.kind, row.external_id, row.place) for row in owned}
    for place in looked:
        here = [row for row in owned if row.place == place.name]
        if place.fault:
            report.unknown.append(
                {
                    "place": place.name,
                    "fault": place.fault,
                    "owned": [f"{row.kind} {row.external_id}" for row in here],
                }
            )
            continue
        there = {(each.kind, each.external_id, each.place) for each in place.found}
        for each in place.found:
            identity = (each.kind, each.external_id, each.place)
            if identity not in known and identity not in ignored and each.subject not in busy:
                report.orphaned.append(each)
        looked_kinds = {each.kind for each in place.found} | {"domain", "volume"}
        report.missing.extend(
            row
            for row in here
            if row.kind in looked_kinds
            and row.kind not in OPTIONAL
            and (row.kind, row.external_id, row.place) not in there
            and row.subject not in busy
        )
    return report


OPTIONAL = frozenset({"seed", "console"})
"""Parts that a driver may do without."""


async def remove(core: Core, found: Found) -> None:
    """Remove an orphan through the driver that found it. Raises what the driver raises."""
    kind, _, ident = found.place.partition(":")
    if kind == "host" and ident.isdigit():
        host = await core.store.read(hosts.find, int(ident))
        driver = core.reach.virtualization(host)
        await core.lanes.call(f"host:{host.id}", driver.remove_found, host, found)
        return
    if kind == "storage" and ident.isdigit():
        storage = await core.store.read(places.find_storage, int(ident))
        keeper = core.reach.deployment(storage)
        await core.lanes.call(f"storage:{storage.id}", keeper.remove, storage, found.external_id)
        return
    for auditor in core.registries.auditors:
        if found.place in auditor.places():
            await core.lanes.call(f"{found.place}:query", auditor.remove_found, found)
            return
