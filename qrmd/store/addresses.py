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

    Raises:
        NoCapacity: no address is free; names the network and its size.
    """
    address = _next_free(db, network)
    while True:
        mac = f"{MAC_PREFIX}:" + ":".join(f"{byte:02x}" for byte in randomness.token_bytes(3))
        if db.value("SELECT 1 FROM nics WHERE mac = ?", (mac,)) is None:
            break
    ident = db.insert(
        "INSERT INTO nics (appliance_id, position, network_id, mac, address) VALUES (?, ?, ?, ?, ?)",
        (appliance_id, position, network.id, mac, address),
    )
    return Nic(ident, appliance_id, position, network.id, mac, address)


def _next_free(db: Transaction, network: Network) -> str:
    """Walk on from the address given last, so that one just freed rests the longest."""
    first, size = _pool(network.range_first, network.range_last)
    skipped = {network.gateway, *network.dns}
    last = db.value("SELECT address FROM nics WHERE network_id = ? ORDER BY id DESC LIMIT 1", (network.id,))
    start = (int(ipaddress.ip_address(last)) - first + 1) if last else 0
    for offset in range(size):
        candidate = str(ipaddress.ip_address(first + (start + offset) % size))
        taken = db.value("SELECT 1 FROM nics WHERE network_id = ? AND address = ?", (network.id, candidate))
        if taken is None and candidate not in skipped:
            return candidate
    raise NoCapacity(
        f"all {size} addresses are taken",
        subject=f"network:{network.id}",
        hint="enlarge the range, or remove appliances",
        missing={"addresses": 1},
    )


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
