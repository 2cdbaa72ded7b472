"""Who holds what: claims are the rows that live workflows hold anyway, read the other way round.

A live workflow has its subject for itself, and what the subject is made from or placed on in common with others.
"""

from __future__ import annotations

from typing import Any

from qrmd.store.connection import Db, Row
from qrmd.store.workflows import LIVE, busy, live_on


def _joined(kind: str, alias: str) -> str:
    """Live workflows with their subjects, which are found by id: a comparison of texts would read them all."""
    return (
        f"FROM workflows w JOIN {kind}s {alias} ON {alias}.id = CAST(substr(w.subject, {len(kind) + 2}) AS INTEGER)"
        f" AND w.subject LIKE '{kind}:%' AND w.state IN {LIVE}"
    )


_APPLIANCE, _IMAGE = _joined("appliance", "a"), _joined("image", "i")
_COLUMNS = "w.id, w.operation, w.subject, w.state, w.actor, w.reason"
_CLAIMS = f"""
SELECT {_COLUMNS}, w.subject AS name, 'works on it' AS purpose FROM workflows w WHERE w.state IN {LIVE}
UNION ALL SELECT {_COLUMNS}, 'image:' || a.image_id, a.name || ' is made from it' {_APPLIANCE}
UNION ALL SELECT {_COLUMNS}, 'host:' || a.host_id, a.name || ' is on it' {_APPLIANCE} WHERE a.host_id IS NOT NULL
UNION ALL SELECT {_COLUMNS}, 'kernel:' || a.kernel_id, a.name || ' boots it' {_APPLIANCE} WHERE a.kernel_id IS NOT NULL
UNION ALL SELECT {_COLUMNS}, 'network:' || n.value, a.name || ' is on it' {_APPLIANCE}, json_each(a.networks) n
UNION ALL SELECT {_COLUMNS}, 'storage:' || v.storage_id, 'a disk of ' || a.name || ' is on it'
    {_APPLIANCE} JOIN volumes v ON v.appliance_id = a.id
UNION ALL SELECT {_COLUMNS}, 'storage:' || i.storage_id, 'image ' || i.name || ' is on it' {_IMAGE}
UNION ALL SELECT {_COLUMNS}, i.source, i.name || ' is copied from it' {_IMAGE} WHERE i.source LIKE 'image:%'
"""  # noqa: S608 - our own names


def of_workflow(db: Db, workflow: int) -> list[dict[str, Any]]:
    """What a live workflow holds: ``{"name": "image:3", "purpose": …}``; nothing once it has ended."""
    rows = db.rows(f"SELECT name, purpose FROM ({_CLAIMS}) WHERE id = ? ORDER BY name", (workflow,))  # noqa: S608
    return [dict(row) for row in rows]


def on(db: Db, name: str) -> list[Row]:
    """Claims on an object, the oldest first."""
    return db.rows(f"SELECT * FROM ({_CLAIMS}) WHERE name = ? ORDER BY id", (name,))  # noqa: S608 - our own names


def require_free(db: Db, name: str, workflow: int = 0) -> None:
    """Nobody may hold an object that is to be changed or forgotten.

    Args:
        workflow: whose own claims don't count.

    Raises:
        Busy: names holder, purpose and workflow.
    """
    for claim in on(db, name):
        if claim["id"] != workflow:
            raise busy(claim, name, purpose=f" of {claim['subject']} ({claim['purpose']})")


def require_settled(db: Db, name: str) -> None:
    """An object that is to be used with others must not be worked on.

    Raises:
        Busy: names the workflow that has it for itself.
    """
    holder = live_on(db, name)
    if holder is not None:
        raise busy(holder, name)
