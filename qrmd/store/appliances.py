"""Rows of appliances with their NICs, volumes and resources, and what planners see of them."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from qrmd import events
from qrmd.clock import now_us
from qrmd.errors import Conflict
from qrmd.model import (
    Appliance,
    ApplianceView,
    Host,
    Image,
    NicView,
    Resource,
    Volume,
    VolumeView,
)
from qrmd.store import addresses, hostnames, hosts, images, places, secrets
from qrmd.store.connection import Db, Transaction
from qrmd.store.find import by_ref
from qrmd.store.rows import dump, load


def find(db: Db, ref: int | str) -> Appliance:
    """One appliance by id or name. Raises NotFound."""
    return load(Appliance, by_ref(db, "appliances", "appliance", ref))


def add(db: Transaction, appliance: Appliance, actor: str, reason: str, parent: int | None = None) -> int:
    """Insert an appliance in state ``stopped`` (id and time are ours).

    Args:
        parent: workflow whose step asks; the host name may be held by its subject.

    Raises:
        Conflict: its name is taken, or its host name in one of its networks.
    """
    hostname = appliance.hostname or appliance.name
    try:
        ident = db.insert(
            "INSERT INTO appliances (name, image_id, virtualization_type, cpus, memory_mb, disk_mb, state, hostname,"
            " kernel_id, networks, ssh_keys, login, owner, comment, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?, 'stopped', ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                appliance.name,
                appliance.image_id,
                appliance.virtualization_type,
                appliance.cpus,
                appliance.memory_mb,
                appliance.disk_mb,
                hostname,
                appliance.kernel_id,
                dump(appliance.networks),
                dump(appliance.ssh_keys),
                appliance.login,
                appliance.owner,
                appliance.comment,
                now_us(),
            ),
        )
    except sqlite3.IntegrityError:
        raise Conflict("an appliance of that name exists already", subject=f"appliance:{appliance.name}") from None
    hostnames.reserve(db, f"appliance:{ident}", hostname, appliance.networks, parent=parent)
    events.append(
        db, "appliance.added", f"appliance:{ident}", actor=actor, reason=reason, data={"name": appliance.name}
    )
    return ident


def view(db: Db, ident: int, arguments: Mapping[str, Any], workflow: int, installation: str) -> ApplianceView:
    """The appliance and all that is reserved for it."""
    appliance = load(Appliance, _by_id(db, "appliances", ident))
    image = images.find(db, appliance.image_id)
    return ApplianceView(
        installation,
        appliance,
        image,
        places.find_storage(db, image.storage_id),
        places.find_kernel(db, appliance.kernel_id) if appliance.kernel_id else None,
        load(Resource, _by_id(db, "resources", appliance.resource_id)) if appliance.resource_id else None,
        hosts.find(db, appliance.host_id) if appliance.host_id else None,
        tuple(NicView(nic, places.find_network(db, nic.network_id)) for nic in addresses.of_appliance(db, ident)),
        tuple(VolumeView(volume, places.find_storage(db, volume.storage_id)) for volume in volumes(db, ident)),
        secrets.named(db, workflow),
        dict(arguments),
    )


def _by_id(db: Db, table: str, ident: int) -> sqlite3.Row:
    row = db.row(f"SELECT * FROM {table} WHERE id = ?", (ident,))  # noqa: S608 - our own table names
    assert row is not None, (table, ident)  # noqa: S101 - foreign keys hold
    return row


def volumes(db: Db, appliance_id: int) -> list[Volume]:
    """Disks in order of position."""
    rows = db.rows("SELECT * FROM volumes WHERE appliance_id = ? ORDER BY position", (appliance_id,))
    return [load(Volume, row) for row in rows]


def add_volume(db: Transaction, appliance: Appliance, image: Image, position: int) -> Volume:
    """Promise a disk of the appliance on the storage of its image."""
    size = max(appliance.disk_mb, image.size_mb)
    name = f"appliance-{appliance.id}-disk{position}"
    ident = db.insert(
        "INSERT INTO volumes (appliance_id, storage_id, position, name, format, size_mb) VALUES (?, ?, ?, ?, ?, ?)",
        (appliance.id, image.storage_id, position, name, image.format, size),
    )
    return Volume(ident, appliance.id, image.storage_id, position, name, image.format, size)


def mark_made(db: Transaction, appliance_id: int) -> None:
    """Its disks exist outside now."""
    db.execute("UPDATE volumes SET made = 1 WHERE appliance_id = ?", (appliance_id,))


def drop_volumes(db: Transaction, appliance_id: int) -> list[Volume]:
    """Forget its disks; returns what was promised."""
    gone = volumes(db, appliance_id)
    db.execute("DELETE FROM volumes WHERE appliance_id = ?", (appliance_id,))
    return gone


def assign_resource(
    db: Transaction, appliance: Appliance, host: Host, installation: str, placement: Mapping[str, Any]
) -> int:
    """Make the virtual machine's resource row, assigned to the appliance on a host.

    Args:
        placement: why it is placed there: verdicts of the best ``candidates``, and how many ``others`` there were.
    """
    resource_id = int(db.value("SELECT seq FROM sqlite_sequence WHERE name = 'resources'") or 0) + 1
    db.execute(
        "INSERT INTO resources (id, name, virtualization_type, uuid, state, host_id, cpus, memory_mb, appliance_id)"
        " VALUES (?, ?, ?, ?, 'assigned', ?, ?, ?, ?)",
        (
            resource_id,
            appliance.name,
            host.virtualization_type,
            str(uuid.uuid5(_parsed(installation), f"resource:{resource_id}")),
            host.id,
            appliance.cpus,
            appliance.memory_mb,
            appliance.id,
        ),
    )
    db.execute(
        "UPDATE appliances SET resource_id = ?, host_id = ?, placement = ? WHERE id = ?",
        (resource_id, host.id, dump(placement), appliance.id),
    )
    return resource_id


_parsed = lru_cache(maxsize=1)(uuid.UUID)


def detach_resource(db: Transaction, appliance_id: int) -> None:
    """The appliance holds no resource any more."""
    db.execute("UPDATE appliances SET resource_id = NULL, host_id = NULL WHERE id = ?", (appliance_id,))


def set_active_since_now(db: Transaction, appliance_id: int) -> None:
    """It answers from now on."""
    db.execute("UPDATE appliances SET active_at = ? WHERE id = ?", (now_us(), appliance_id))


def machine_of(db: Db, appliance_id: int) -> tuple[int | None, str]:
    """Id and state of the resource it holds."""
    row = db.row(
        "SELECT r.id, r.state FROM appliances a JOIN resources r ON r.id = a.resource_id WHERE a.id = ?",
        (appliance_id,),
    )
    return (None, "") if row is None else (row[0], row[1])


def change(db: Transaction, ident: int, values: Mapping[str, Any]) -> None:
    """Set columns of a stopped appliance; names are ours, never a caller's.

    Raises:
        Conflict: its new host name is held by somebody else in one of its networks.
    """
    before = find(db, ident)
    if values.get("hostname", before.hostname) != before.hostname:
        hostnames.reserve(db, f"appliance:{ident}", values["hostname"], before.networks)
        hostnames.release(db, f"appliance:{ident}", before.hostname)
    names = ", ".join(f"{name} = ?" for name in values)
    db.execute(f"UPDATE appliances SET {names} WHERE id = ?", (*values.values(), ident))  # noqa: S608 - our names
