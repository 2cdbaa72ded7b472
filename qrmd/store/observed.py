"""What was seen outside, written where it changes a state."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from qrmd.clock import now_us
from qrmd.model import Severity
from qrmd.states import ApplianceState, HostState
from qrmd.store.capacity import Capacity
from qrmd.store.connection import Db, Transaction
from qrmd.store.transitions import state_of, transition
from qrmd.store.workflows import live_on


@dataclass(frozen=True, slots=True)
class Expected:
    """A machine as the rows say it should be. ``state`` is its appliance's."""

    uuid: str
    appliance_id: int
    state: str


@dataclass(frozen=True, slots=True)
class Change:
    """An appliance that is not in the state its machine is in."""

    appliance_id: int
    source: str
    target: str
    reason: str


_EXPECTED = (
    "SELECT r.uuid, a.id, a.state FROM resources r JOIN appliances a ON a.id = r.appliance_id AND a.resource_id = r.id"
    " WHERE r.state <> 'removed' AND a.state IN ('active', 'paused', 'error')"
)


def expected(db: Db, host_id: int) -> list[Expected]:
    """Machines of a host whose appliances have no workflow under way."""
    return [Expected(*row) for row in db.rows(f"{_EXPECTED} AND r.host_id = ?", (host_id,))]


def expected_of(db: Db, uuid: str) -> Expected | None:
    """One machine, None when nothing is expected of it now."""
    row = db.row(f"{_EXPECTED} AND r.uuid = ?", (uuid,))
    return None if row is None else Expected(*row)


def note_machines(db: Transaction, changes: Sequence[Change]) -> None:
    """Apply what is still so; a workflow that began meanwhile knows better."""
    for change in changes:
        subject = f"appliance:{change.appliance_id}"
        if live_on(db, subject) or state_of(db, "appliance", change.appliance_id) != change.source:
            continue
        if change.target != ApplianceState.ERROR and _is_on_fenced_host(db, change.appliance_id):
            continue
        transition(
            db,
            "appliance",
            change.appliance_id,
            change.target,
            event=_event(change),
            reason=change.reason,
            severity=Severity.INFO if change.target == "active" else Severity.ERROR,
        )


def _is_on_fenced_host(db: Db, appliance_id: int) -> bool:
    """What it shows proves nothing, an answer that was on its way when it was fenced neither."""
    sql = "SELECT h.state FROM appliances a JOIN hosts h ON h.id = a.host_id WHERE a.id = ?"
    return bool(db.value(sql, (appliance_id,)) == HostState.FENCED)


def _event(change: Change) -> str:
    if change.target == "active":
        return "appliance.resumed" if change.source == "paused" else "appliance.recovered"
    return "appliance.paused" if change.target == "paused" else "appliance.failed"


def note_host(db: Transaction, host_id: int, capacity: Capacity) -> None:
    """A host answered."""
    state = state_of(db, "host", host_id)
    if state in {HostState.UNREACHABLE, HostState.NEW}:
        target = HostState.MAINTENANCE if _was_in_maintenance(db, host_id) else HostState.UP
        transition(db, "host", host_id, target, event="host.reached", reason="it answers")
        capacity.refresh_hosts(db)
        db.execute("UPDATE hosts SET seen_at = ? WHERE id = ?", (now_us(), host_id))


def _was_in_maintenance(db: Db, host_id: int) -> bool:
    """Whether it was out of placement when it was lost: it comes back as it went."""
    lost = db.value(
        "SELECT data FROM events WHERE subject = ? AND kind = 'host.lost' ORDER BY id DESC LIMIT 1",
        (f"host:{host_id}",),
    )
    return lost is not None and json.loads(lost)["from"] == HostState.MAINTENANCE


def note_silence(db: Transaction, host_id: int, fault: str, capacity: Capacity) -> None:
    """A host does not answer."""
    if state_of(db, "host", host_id) in {HostState.UP, HostState.NEW, HostState.MAINTENANCE}:
        transition(db, "host", host_id, HostState.UNREACHABLE, event="host.lost", reason=fault, severity=Severity.ERROR)
        capacity.refresh_hosts(db)
