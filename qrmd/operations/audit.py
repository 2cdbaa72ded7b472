"""The leftovers audit."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from qrmd import leftovers
from qrmd.errors import Forbidden, InvalidInput, QrmdError
from qrmd.leftovers import Orphan, Report
from qrmd.model import Role
from qrmd.operations.call import Call
from qrmd.operations.registry import LOOK, verb
from qrmd.operations.schema import Options
from qrmd.settings import one_of
from qrmd.store import audit
from qrmd.store.audit import OwnedRow
from qrmd.store.connection import Db


@dataclass(frozen=True, slots=True)
class AuditOptions(Options):
    """What to do with what is found.

    Attributes:
        action: ``report`` only; ``remove`` orphans outside and rows of missing things; ``adopt`` orphans whose tag
            names an object that exists; ``ignore`` orphans from now on.
        only: external ids that the action is limited to (empty: all that was found).
    """

    action: one_of("report", "remove", "adopt", "ignore") = "report"  # type: ignore[valid-type]
    only: tuple[str, ...] = ()


_OPTIONS = AuditOptions()


@verb("audit.leftovers", roles=LOOK)
async def audit_leftovers(call: Call, options: AuditOptions = _OPTIONS) -> dict[str, Any]:
    """Compare what carries our tag outside with our rows: orphaned, missing, and places that can't be looked at.

    ``clean`` is true when there is none of these. The actions ``remove``, ``adopt`` and ``ignore`` need an operator;
    ``acted`` says what was done, of a dry run what would be.
    """
    if options.action != "report" and call.actor.role not in {Role.ADMINISTRATOR, Role.OPERATOR}:
        raise Forbidden(f"the role {call.actor.role} may only look", subject=call.actor.name)
    if options.action == "ignore" and not options.reason:
        raise InvalidInput("ignoring needs a reason", hint="options.reason")
    if options.action == "report":
        return {**_shown(await _report(call)), "acted": []}
    if options.dry_run:
        report = await _report(call)
        return {**_shown(report), "acted": _rehearsed(report, options)}
    return await call.once(options, partial(_acted, call, options))


async def _acted(call: Call, options: AuditOptions) -> dict[str, Any]:
    acted = await _act(call, await _report(call), options)
    return {**_shown(await _report(call)), "acted": acted}


async def _report(call: Call) -> Report:
    owned, busy, ignored = await call.read(_rows)
    looked = await leftovers.look_everywhere(call.core)
    after_owned, after_busy, _ = await call.read(_rows)
    settled = [row for row in owned if row in after_owned]
    both = {(row.kind, row.external_id, row.place): row for row in (*owned, *after_owned)}
    auditing = frozenset(each.plugin for each in call.core.registries.auditors)
    report = leftovers.compare(looked, list(both.values()), busy | after_busy, ignored, auditing)
    report.missing[:] = [row for row in report.missing if row in settled]
    report.drift.extend(await call.core.store.write(call.core.capacity.differences_now))
    return report


def _rows(db: Db) -> tuple[list[OwnedRow], frozenset[str], frozenset[tuple[str, str, str]]]:
    return audit.owned(db), audit.busy_subjects(db), audit.ignored(db)


def _chosen(report: Report, options: AuditOptions) -> tuple[list[Orphan], list[OwnedRow]]:
    """Orphans, and rows of missing things, that an action is about."""
    orphans = [each for each in report.orphaned if not options.only or each.found.external_id in options.only]
    missing = report.missing if options.action == "remove" else []
    return orphans, [each for each in missing if not options.only or each.external_id in options.only]


def _rehearsed(report: Report, options: AuditOptions) -> list[dict[str, Any]]:
    orphans, missing = _chosen(report, options)
    would = [{**_named(each), "would": options.action} for each in orphans]
    rows = [{"place": each.place, "external_id": each.external_id, "would": "forget the row"} for each in missing]
    return would + rows


async def _act(call: Call, report: Report, options: AuditOptions) -> list[dict[str, Any]]:
    orphans, missing = _chosen(report, options)
    acted = [await _act_on(call, orphan, options) for orphan in orphans]
    for row in missing:
        await _forget(call, row.kind, row.external_id, row.place, options.reason)
        acted.append({"place": row.place, "external_id": row.external_id, "done": "row forgotten"})
    return acted


async def _act_on(call: Call, orphan: Orphan, options: AuditOptions) -> dict[str, Any]:
    found, outcome = orphan.found, _named(orphan)
    try:
        match options.action:
            case "remove":
                await leftovers.remove(call.core, orphan)
                await _forget(call, found.kind, found.external_id, found.place, options.reason)
            case "adopt":
                await _adopt(call, orphan, options.reason)
            case _:
                await call.core.store.write(
                    audit.ignore, found.kind, found.external_id, found.place, call.actor.name, options.reason
                )
    except QrmdError as error:
        return {**outcome, "fault": error.as_dict()}
    return {**outcome, "done": options.action}


async def _adopt(call: Call, orphan: Orphan, reason: str) -> None:
    found = orphan.found
    if not await call.read(audit.exists, found.subject):
        raise InvalidInput(f"its tag names {found.subject or 'nobody'}, which does not exist", hint="remove it instead")
    await call.core.store.write(audit.adopt, found, orphan.by.plugin, call.actor.name, reason)


async def _forget(call: Call, kind: str, external_id: str, place: str, reason: str) -> None:
    await call.core.store.write(audit.forget, kind, external_id, place, call.actor.name, reason)


def _named(orphan: Orphan) -> dict[str, Any]:
    return {"place": orphan.found.place, "external_id": orphan.found.external_id, "plugin": orphan.by.plugin}


def _shown(report: Report) -> dict[str, Any]:
    return {
        "clean": report.clean,
        "orphaned": [{**asdict(each.found), "plugin": each.by.plugin} for each in report.orphaned],
        "missing": [asdict(each) for each in report.missing],
        "unknown": report.unknown,
        "drift": report.drift,
    }
