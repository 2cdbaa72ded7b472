"""What appliances that run already have of a plugin."""

from __future__ import annotations

import json
from typing import Any

from qrmd.store.connection import Db

Thing = tuple[str, str, str]
"""Kind, external id, place."""

RUNNING = "('active', 'paused')"


def running(db: Db, after: int, limit: int) -> list[int]:
    """Ids of appliances that run, a page at a time."""
    rows = db.rows(
        f"SELECT id FROM appliances WHERE state IN {RUNNING} AND id > ? ORDER BY id LIMIT ?",  # noqa: S608
        (after, limit),
    )
    return [row["id"] for row in rows]


def holding(db: Db, plugin: str) -> list[int]:
    """Ids of appliances for which a plugin has something outside."""
    rows = db.rows(
        "SELECT DISTINCT a.id FROM owned o JOIN appliances a ON o.subject = 'appliance:' || a.id WHERE o.plugin = ?"
        " AND a.state IN ('active', 'paused', 'error', 'stopped') ORDER BY a.id",
        (plugin,),
    )
    return [row["id"] for row in rows]


def owned(db: Db, appliance: int, plugin: str) -> frozenset[Thing]:
    """What a plugin has outside for an appliance."""
    rows = db.rows(
        "SELECT kind, external_id, place FROM owned WHERE subject = ? AND plugin = ?",
        (f"appliance:{appliance}", plugin),
    )
    return frozenset((row["kind"], row["external_id"], row["place"]) for row in rows)


def slots(db: Db, appliance: int) -> dict[str, Any]:
    """What the steps of its last start published. Its events lead there: they have an index."""
    rows = db.rows(
        "SELECT result FROM steps WHERE state = 'done' AND workflow_id = (SELECT workflow_id FROM events"
        " WHERE subject = ? AND kind = 'appliance.started' ORDER BY id DESC LIMIT 1) ORDER BY position",
        (f"appliance:{appliance}",),
    )
    return {name: value for row in rows for name, value in json.loads(row["result"]).items()}
