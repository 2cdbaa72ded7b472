"""Rows of resources: machines, physical and virtual."""

from __future__ import annotations

from typing import Any

from qrmd import events
from qrmd.errors import NotFound
from qrmd.model import Host, Resource
from qrmd.operations.schema import ListOptions
from qrmd.store import hosts
from qrmd.store.connection import Db, Row, Transaction
from qrmd.store.find import page
from qrmd.store.rows import load, shape, shapes

FIELDS = ("id", "name", "virtualization_type", "uuid", "state", "host_id", "cpus", "memory_mb", "appliance_id")


def find(db: Db, ident: int) -> Resource:
    """One resource by id, a removed one too. Raises NotFound."""
    return load(Resource, _row(db, ident))


def _row(db: Db, ident: int) -> Row:
    row = db.row("SELECT * FROM resources WHERE id = ?", (ident,))
    if row is None:
        raise NotFound(f"there is no resource {ident}", hint="qrm resource list")
    return row


def list_page(db: Db, options: ListOptions) -> list[dict[str, Any]]:
    """A page of resources. Raises InvalidInput for an unknown field."""
    return page(db, "resources", FIELDS, options)


def show_one(db: Db, ident: int) -> dict[str, Any]:
    """A resource's row. Raises NotFound."""
    return shape(_row(db, ident))


def find_with_host(db: Db, ident: int) -> tuple[Resource, Host | None]:
    """A resource and the host it is on. Raises NotFound."""
    found = find(db, ident)
    return found, hosts.find(db, found.host_id) if found.host_id else None


def note_power(db: Transaction, ident: int, action: str, actor: str, reason: str) -> None:
    """Somebody presses a button of it now."""
    events.append(db, "resource.power_asked", f"resource:{ident}", actor=actor, reason=reason, data={"action": action})


def explain(db: Db, ident: int) -> dict[str, Any]:
    """Its state, why its appliance was placed there, and the latest events of both. Raises NotFound."""
    found = find(db, ident)
    placed = db.rows("SELECT placement FROM appliances WHERE id = ?", (found.appliance_id,))
    subjects = (f"resource:{ident}", f"appliance:{found.appliance_id}")
    seen = db.rows("SELECT * FROM events WHERE subject IN (?, ?) ORDER BY id DESC LIMIT 20", subjects)
    return {
        "resource": ident,
        "state": found.state.value,
        "placement": shape(placed[0])["placement"] if placed else {},
        "events": shapes(seen),
    }
