"""Rows of storages, networks and kernels: where things can be put, and what machines boot."""

from __future__ import annotations

import ipaddress
import sqlite3
from typing import Any

from qrmd import events
from qrmd.errors import Conflict
from qrmd.model import Kernel, Network, Storage
from qrmd.operations.schema import ListOptions
from qrmd.store import addresses, audit, claims
from qrmd.store.capacity import PROMISING, promised_on
from qrmd.store.connection import Db, Transaction
from qrmd.store.find import by_ref, page, show
from qrmd.store.rows import dump, load
from qrmd.store.transitions import state_of

STORAGE_FIELDS = (
    "id", "name", "deployment_type", "location", "host_id", "capacity_mb", "overcommit", "promised_mb",
)  # fmt: skip
NETWORK_FIELDS = ("id", "name", "bridge", "cidr", "range_first", "range_last", "gateway", "dns", "domain")
KERNEL_FIELDS = ("id", "name", "path", "initrd", "cmdline")


def find_storage(db: Db, ref: int | str) -> Storage:
    """One storage by id or name. Raises NotFound."""
    return db.recall("storages", ref, lambda: load(Storage, by_ref(db, "storages", "storage", ref)))


def all_storages(db: Db) -> list[Storage]:
    """Every storage."""
    return [load(Storage, row) for row in db.rows("SELECT * FROM storages ORDER BY id")]


def find_network(db: Db, ref: int | str) -> Network:
    """One network by id or name. Raises NotFound."""
    return db.recall("networks", ref, lambda: load(Network, by_ref(db, "networks", "network", ref)))


def all_networks(db: Db) -> list[Network]:
    """Every managed network."""
    return [load(Network, row) for row in db.rows("SELECT * FROM networks ORDER BY id")]


def find_kernel(db: Db, ref: int | str) -> Kernel:
    """One kernel by id or name. Raises NotFound."""
    return db.recall("kernels", ref, lambda: load(Kernel, by_ref(db, "kernels", "kernel", ref)))


def list_storages(db: Db, options: ListOptions) -> list[dict[str, Any]]:
    """A page of storages with what they have promised. Raises InvalidInput for an unknown field."""
    return page(db, "storages", STORAGE_FIELDS, options, query=PROMISING)


def show_storage(db: Db, ident: int) -> dict[str, Any]:
    """A storage, what it has promised, and the images and disks on it."""
    images = db.rows("SELECT id, name, size_mb FROM images WHERE storage_id = ? AND state <> 'removed'", (ident,))
    volumes = db.rows("SELECT id, name, size_mb, appliance_id FROM volumes WHERE storage_id = ?", (ident,))
    return {
        **show(db, "storages", "storage", ident),
        "promised_mb": promised_on(db, ident),
        "images": [dict(each) for each in images],
        "volumes": [dict(each) for each in volumes],
    }


def list_networks(db: Db, options: ListOptions) -> list[dict[str, Any]]:
    """A page of networks. Raises InvalidInput for an unknown field."""
    return page(db, "networks", NETWORK_FIELDS, options)


def show_network(db: Db, ref: int | str) -> dict[str, Any]:
    """A network, how many of its addresses are free, and who holds the others. Raises NotFound."""
    found = find_network(db, ref)
    nics = db.rows(
        "SELECT n.address, n.mac, n.appliance_id, a.name AS appliance FROM nics n JOIN appliances a"
        " ON a.id = n.appliance_id WHERE n.network_id = ? ORDER BY n.id LIMIT 1000",
        (found.id,),
    )
    return {
        **show(db, "networks", "network", found.id),
        "free_addresses": addresses.free(db, found),
        "nics": [dict(each) for each in nics],
    }


def list_kernels(db: Db, options: ListOptions) -> list[dict[str, Any]]:
    """A page of kernels. Raises InvalidInput for an unknown field."""
    return page(db, "kernels", KERNEL_FIELDS, options)


def add_storage(db: Transaction, storage: Storage, actor: str, reason: str) -> int:
    """Insert a storage (its id is ignored). Raises Conflict when the name is taken, or its host was removed."""
    if storage.host_id is not None and state_of(db, "host", storage.host_id) == "removed":
        raise Conflict("it was removed", subject=f"host:{storage.host_id}", hint="qrm host list")
    ident = _insert(
        db,
        "storage",
        storage.name,
        "INSERT INTO storages (name, deployment_type, location, host_id, capacity_mb, overcommit)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            storage.name,
            storage.deployment_type,
            storage.location,
            storage.host_id,
            storage.capacity_mb,
            storage.overcommit,
        ),
    )
    _added(db, "storage", ident, storage.name, actor, reason)
    return ident


def add_network(db: Transaction, network: Network, actor: str, reason: str) -> int:
    """Insert a network (its id is ignored). Raises Conflict when name, bridge or some of its addresses are taken."""
    cidr = ipaddress.ip_network(network.cidr)
    for other in all_networks(db):
        theirs = ipaddress.ip_network(other.cidr)
        if theirs.version == cidr.version and theirs.overlaps(cidr):
            raise Conflict(
                f"{cidr} overlaps {theirs} of network {other.name}",
                subject=f"network:{network.name}",
                hint="an address must mean one machine only; choose another cidr",
            )
    ident = _insert(
        db,
        "network",
        network.name,
        "INSERT INTO networks (name, bridge, cidr, range_first, range_last, gateway, dns, domain)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            network.name,
            network.bridge,
            network.cidr,
            network.range_first,
            network.range_last,
            network.gateway,
            dump(network.dns),
            network.domain,
        ),
    )
    _added(db, "network", ident, network.name, actor, reason)
    return ident


def add_kernel(db: Transaction, kernel: Kernel, actor: str, reason: str) -> int:
    """Insert a kernel (its id is ignored). Raises Conflict when the name is taken."""
    ident = _insert(
        db,
        "kernel",
        kernel.name,
        "INSERT INTO kernels (name, path, initrd, cmdline) VALUES (?, ?, ?, ?)",
        (kernel.name, kernel.path, kernel.initrd, kernel.cmdline),
    )
    _added(db, "kernel", ident, kernel.name, actor, reason)
    return ident


def _insert(db: Transaction, kind: str, name: str, sql: str, values: tuple[object, ...]) -> int:
    try:
        return db.insert(sql, values)
    except sqlite3.IntegrityError as error:
        what = "bridge" if "bridge" in str(error) else "name"
        raise Conflict(f"a {kind} with that {what} exists already", subject=f"{kind}:{name}") from None


def _added(db: Transaction, kind: str, ident: int, name: str, actor: str, reason: str) -> None:
    events.append(db, f"{kind}.added", f"{kind}:{ident}", actor=actor, reason=reason, data={"name": name})


_USERS = {
    "storage": "SELECT 'image ' || name FROM images WHERE storage_id = ? AND state <> 'removed'"
    " UNION ALL SELECT 'volume ' || name FROM volumes WHERE storage_id = ?",
    "network": "SELECT 'nic of appliance ' || appliance_id || ' (' || address || ')' FROM nics WHERE network_id = ?"
    " UNION ALL SELECT 'appliance ' || name FROM appliances, json_each(networks) AS each"
    " WHERE each.value = ? AND state <> 'removed'",
    "kernel": "SELECT 'appliance ' || name FROM appliances WHERE kernel_id = ? AND state <> 'removed'"
    " AND kernel_id = ?",
}
_TABLES = {"storage": "storages", "network": "networks", "kernel": "kernels"}


def remove(db: Transaction, kind: str, ref: int | str, actor: str, reason: str) -> int:
    """Delete a storage, network or kernel that nothing uses. Raises Busy naming a holder, Conflict naming the users."""
    row = by_ref(db, _TABLES[kind], kind, ref)
    claims.require_free(db, f"{kind}:{row['id']}")
    users = [each[0] for each in db.rows(_USERS[kind], (row["id"], row["id"]))]
    if users:
        raise Conflict(
            f"{len(users)} things use it: {', '.join(users[:5])}",
            subject=f"{kind}:{row['id']}",
            hint="remove those first",
            users=users[:100],
        )
    owned = audit.count_at(db, f"{kind}:{row['id']}")
    if owned:
        raise Conflict(
            f"{owned} things of ours are still there", subject=f"{kind}:{row['id']}", hint="qrm audit leftovers"
        )
    db.execute(f"DELETE FROM {_TABLES[kind]} WHERE id = ?", (row["id"],))  # noqa: S608 - our own table names
    events.append(db, f"{kind}.removed", f"{kind}:{row['id']}", actor=actor, reason=reason, data={"name": row["name"]})
    return int(row["id"])
