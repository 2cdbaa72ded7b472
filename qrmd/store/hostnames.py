"""The ledger of host names: one holder per name and network, whoever asks; the primary key is the lock."""

from __future__ import annotations

from collections.abc import Iterable

from qrmd.errors import Conflict
from qrmd.operations.schema import Ref
from qrmd.store import places
from qrmd.store.connection import Db, Transaction


def reserve(db: Transaction, holder: str, hostname: str, networks: Iterable[Ref], *, parent: int | None = None) -> None:
    """Hold a name in networks.

    Args:
        holder: subject, ``appliance:12``; what it holds already stays its own.
        parent: workflow whose step asks; what the workflow's subject holds is meant for this one, and stays there.

    Raises:
        Conflict: somebody else holds it; names who. For ears that may not know, catch it and say less.
        NotFound: no such network.
    """
    for network in dict.fromkeys(places.find_network(db, each).id for each in networks):
        held = _holder(db, hostname, network)
        if held is None:
            db.execute(
                "INSERT INTO hostnames (network_id, hostname, holder) VALUES (?, ?, ?)", (network, hostname, holder)
            )
        elif held != holder and (parent is None or held != _subject(db, parent)):
            raise Conflict(
                f"the host name {hostname} is held by {held} in network {places.find_network(db, network).name}",
                hint="choose another host name",
                hostname=hostname,
                holder=held,
            )


def is_taken(db: Db, hostname: str, networks: Iterable[Ref], but: str = "") -> bool:
    """Whether somebody, other than ``but``, holds a name in one of the networks. Raises NotFound."""
    held = {_holder(db, hostname, places.find_network(db, each).id) for each in networks}
    return bool(held - {None, but})


def release(db: Transaction, holder: str, hostname: str = "") -> None:
    """Forget what a holder holds: this name, or (empty) all of it."""
    if hostname:
        db.execute("DELETE FROM hostnames WHERE holder = ? AND hostname = ?", (holder, hostname))
    else:
        db.execute("DELETE FROM hostnames WHERE holder = ?", (holder,))


def _holder(db: Db, hostname: str, network: int) -> str | None:
    found: str | None = db.value(
        "SELECT holder FROM hostnames WHERE network_id = ? AND hostname = ?", (network, hostname)
    )
    return found


def _subject(db: Db, workflow: int) -> str:
    return str(db.value("SELECT subject FROM workflows WHERE id = ?", (workflow,)))
