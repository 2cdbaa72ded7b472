"""Appliances as people see them."""

from __future__ import annotations

from typing import Any

from qrmd.operations.schema import ListOptions
from qrmd.store.connection import Db
from qrmd.store.find import by_ref, page
from qrmd.store.rows import shape
from qrmd.store.workflows import LIVE

FIELDS = (
    "id", "name", "image_id", "virtualization_type", "cpus", "memory_mb", "disk_mb", "state", "hostname", "kernel_id",
    "resource_id", "host_id", "networks", "ssh_keys", "login", "owner", "comment", "created_at", "active_at",
)  # fmt: skip
_MORE = f""",
    (SELECT json_group_array(json_object('network', network_id, 'mac', mac, 'address', address))
        FROM (SELECT * FROM nics WHERE appliance_id = appliances.id ORDER BY position)) AS nics,
    (SELECT json_group_array(json_object('storage', storage_id, 'name', name, 'size_mb', size_mb,
        'made', json(iif(made, 'true', 'false'))))
        FROM (SELECT * FROM volumes WHERE appliance_id = appliances.id ORDER BY position)) AS volumes,
    (SELECT json_object('id', id, 'operation', operation, 'state', state, 'actor', actor, 'reason', reason)
        FROM workflows WHERE subject = 'appliance:' || appliances.id AND state IN {LIVE}) AS workflow,
    (SELECT json_group_array(json_object('title', s.title, 'fault', json(s.fault), 'workflow_id', s.workflow_id))
        FROM steps s JOIN workflows w ON w.id = s.workflow_id
        WHERE s.state = 'debt' AND w.subject = 'appliance:' || appliances.id) AS debts
"""  # noqa: S608 - our own names


def list_page(db: Db, options: ListOptions) -> list[dict[str, Any]]:
    """A page of appliances. Raises InvalidInput for an unknown field."""
    return page(db, "appliances", FIELDS, options)


def show_one(db: Db, ref: int | str) -> dict[str, Any]:
    """An appliance with its ``nics``, ``volumes``, live ``workflow`` and ``debts``. Raises NotFound."""
    shown = shape(by_ref(db, "appliances", "appliance", ref, _MORE))
    return {**shown, "degraded": bool(shown["debts"])}
