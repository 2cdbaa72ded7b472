"""The reservation ledger of addresses and MACs: a row is a reservation, the unique indexes are the lock."""

from __future__ import annotations

import ipaddress
import secrets as randomness
from functools import lru_cache

from qrmd.errors import NoCapacity
from qrmd.model import Network, Nic
from qrmd.store.connection import Db, Transaction
from qrmd.store.rows import load

MAC_PREFIX = "52:54:00"


def reserve(db: Transaction, appliance_id: int, position: int, network: Network) -> Nic:
    """Give an appliance a MAC and the next free address of a network.

    It walks on from the address given last, so that one just freed rests the longest.

    Raises:
        NoCapacity: no address is free; names the network and its size.
    """
    first, size = _pool(network.range_first, network.range_last)
    last = db.value("SELECT address FROM nics WHERE network_id = ? ORDER BY id DESC LIMIT 1", (network.id,))
    start = (int(ipaddress.ip_address(last)) - first + 1) if last else 0
    for offset in range(size):
        address = str(ipaddress.ip_address(first + (start + offset) % size))
        if address == network.gateway or address in network.dns:
            continue
        nic = _take(db, appliance_id, position, network.id, address)
        if nic is not None:
            return nic
    raise NoCapacity(
        f"all {size} addresses are taken",
        subject=f"network:{network.id}",
        hint="enlarge the range, or remove appliances",
        missing={"addresses": 1},
    )


def _take(db: Transaction, appliance_id: int, position: int, network_id: int, address: str) -> Nic | None:
    """The row is the reservation; None: the address is taken."""
    while True:
        mac = f"{MAC_PREFIX}:{randomness.token_bytes(3).hex(':')}"
        done = db.execute(
            "INSERT INTO nics (appliance_id, position, network_id, mac, address) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (network_id, address) DO NOTHING ON CONFLICT (mac) DO NOTHING",
            (appliance_id, position, network_id, mac, address),
        )
        if done.rowcount and done.lastrowid is not None:
            return Nic(done.lastrowid, appliance_id, position, network_id, mac, address)
        if db.value("SELECT 1 FROM nics WHERE network_id = ? AND address = ?", (network_id, address)):
            return None


@lru_cache(maxsize=256)
def _pool(first: str, last: str) -> tuple[int, int]:
    begin = int(ipaddress.ip_address(first))
    return begin, int(ipaddress.ip_address(last)) - begin + 1


def of_appliance(db: Db, appliance_id: int) -> list[Nic]:
    """NICs in order of position."""
    rows = db.rows("SELECT * FROM nics WHERE appliance_id = ? ORDER BY position", (appliance_id,))
    return [load(Nic, row) for row in rows]


def release(db: Transaction, appliance_id: int) -> None:
    """Forget all NICs of an appliance; their addresses are free from now on."""
    db.execute("DELETE FROM nics WHERE appliance_id = ?", (appliance_id,))


def free(db: Db, network: Network) -> int:
    """How many addresses of the range are free."""
    first, size = _pool(network.range_first, network.range_last)
    kept = {each for each in (network.gateway, *network.dns) if each}
    inside = sum(0 <= int(ipaddress.ip_address(each)) - first < size for each in kept)
    taken = db.value("SELECT count(*) FROM nics WHERE network_id = ?", (network.id,))
    return size - inside - int(taken)
