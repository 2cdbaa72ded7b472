"""Appliances as people see them."""

from __future__ import annotations

import json
from typing import Any

from qrmd.operations.schema import ListOptions
from qrmd.store.connection import Db
from qrmd.store.find import page, show
from qrmd.store.workflows import LIVE

FIELDS = (
    "id", "name", "image_id", "virtualization_type", "cpus", "memory_mb", "disk_mb", "state", "hostname", "kernel_id",
    "resource_id", "host_id", "networks", "ssh_keys", "login", "owner", "comment", "created_at", "active_at",
)  # fmt: skip
_PARTS = f"""
SELECT
    (SELECT json_group_array(json_object('network', network_id, 'mac', mac, 'address', address))
        FROM (SELECT * FROM nics WHERE appliance_id = :id ORDER BY position)),
    (SELECT json_group_array(json_object('storage', storage_id, 'name', name, 'size_mb', size_mb,
        'made', json(iif(made, 'true', 'false'))))
        FROM (SELECT * FROM volumes WHERE appliance_id = :id ORDER BY position)),
    (SELECT json_object('id', id, 'operation', operation, 'state', state, 'actor', actor, 'reason', reason)
        FROM workflows WHERE subject = :subject AND state IN {LIVE}),
    (SELECT json_group_array(json_object('title', s.title, 'fault', json(s.fault), 'workflow_id', s.workflow_id))
        FROM steps s JOIN workflows w ON w.id = s.workflow_id WHERE s.state = 'debt' AND w.subject = :subject)
"""  # noqa: S608 - our own names


def list_page(db: Db, options: ListOptions) -> list[dict[str, Any]]:
    """A page of appliances. Raises InvalidInput for an unknown field."""
    return page(db, "appliances", FIELDS, options)


def show_one(db: Db, ref: int | str) -> dict[str, Any]:
    """An appliance with its ``nics``, ``volumes``, live ``workflow`` and ``debts``. Raises NotFound."""
    shown = show(db, "appliances", "appliance", ref)
    parts = db.rows(_PARTS, {"id": shown["id"], "subject": f"appliance:{shown['id']}"})[0]
    nics, volumes, workflow, debts = (None if part is None else json.loads(part) for part in parts)
    return {
        **shown,
        "nics": nics,
        "volumes": volumes,
        "workflow": workflow,
        "degraded": bool(debts),
        "debts": debts,
    }
