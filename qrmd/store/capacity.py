"""What hosts and storages have promised. Rows are the truth; the index is a cache of their sums.

It is touched in the writer thread only, follows roll-backs, is rebuilt at start and compared by the audit. The loads of
hosts are beside it: no rows, noted by the monitor, read by any thread.
"""

from __future__ import annotations

import sqlite3

from qrmd.loads import Loads
from qrmd.placement import Candidate, Requirement
from qrmd.ranking import Ranking
from qrmd.store.connection import Db, Transaction

RANKINGS = 16
"""How many requirements are remembered: servers come in few sizes, and each placement updates all."""
_HOSTS = """
SELECT h.id, h.name, h.virtualization_type, h.state, h.cpus * h.cpu_overcommit AS cpus,
    max(0, h.memory_mb * h.memory_overcommit - h.reserved_memory_mb) AS memory_mb,
    coalesce(sum(r.cpus), 0) AS used_cpus, coalesce(sum(r.memory_mb), 0) AS used_memory_mb, count(r.id) AS machines
FROM hosts h LEFT JOIN resources r ON r.host_id = h.id AND r.state <> 'removed'
WHERE h.state <> 'removed' GROUP BY h.id ORDER BY h.id
"""
PROMISING = """
SELECT s.*, (SELECT coalesce(sum(size_mb), 0) FROM volumes WHERE storage_id = s.id)
    + (SELECT coalesce(sum(size_mb), 0) FROM images WHERE storage_id = s.id AND state <> 'removed') AS promised_mb
FROM storages s
"""
"""Storages with what they have promised."""


class Capacity:
    """Sums per host and storage, and how busy hosts are."""

    def __init__(self, loads: Loads | None = None) -> None:
        self.loads = loads or Loads()
        self._hosts: dict[int, Candidate] = {}
        self._storages: dict[int, int] = {}
        self._rankings: dict[tuple[Requirement, frozenset[str]], Ranking] = {}
        self._loads_seen = -1

    def rebuild(self, db: Db) -> None:
        """Read everything from the rows."""
        self._know(self._read(db))
        self._storages = read_storages(db)

    def ranking(self, requirement: Requirement, types: frozenset[str]) -> Ranking:
        """The hosts of these virtualization types in order; the same one while no host and no load changes."""
        self.loads.forget_old()
        if self._loads_seen != self.loads.changes:
            self._loads_seen = self.loads.changes
            self._rankings.clear()
        found = self._rankings.get((requirement, types))
        if found is None:
            while len(self._rankings) >= RANKINGS:
                del self._rankings[next(iter(self._rankings))]
            hosts = [each for each in self._hosts.values() if each.virtualization_type in types]
            found = self._rankings[requirement, types] = Ranking(requirement, hosts)
        return found

    def candidates_of_rows(self, db: Db) -> list[Candidate]:
        """All hosts as the rows of any transaction say, by id; the caller may try things with them."""
        self.loads.forget_old()
        return list(self._read(db).values())

    def storage_used(self, storage_id: int) -> int:
        """MiB promised on a storage."""
        return self._storages.get(storage_id, 0)

    def take(self, db: Transaction, host_id: int, cpus: int, memory_mb: int) -> None:
        """A machine was placed on a host (negative: it left)."""
        self._add(host_id, cpus, memory_mb)
        db.on_rollback(lambda: self._add(host_id, -cpus, -memory_mb))

    def take_storage(self, db: Transaction, storage_id: int, size_mb: int) -> None:
        """A volume was promised on a storage (negative: it is gone)."""
        self._storages[storage_id] = self._storages.get(storage_id, 0) + size_mb
        db.on_rollback(lambda: self._give_storage(storage_id, size_mb))

    def refresh_hosts(self, db: Transaction) -> None:
        """Hosts were added, changed or removed: read them again now, and once more when that is rolled back."""
        before = self._hosts
        self._know(self._read(db))
        db.on_rollback(lambda: self._know(before))

    def differences(self, db: Db) -> list[str]:
        """Where the index is not what the rows say (the audit shows it; empty is right)."""
        wrong = [
            f"host {true.name}: index {mine}, rows {true}"
            for true in self._read(db).values()
            if (mine := self._hosts.get(true.host_id)) != true
        ]
        wrong += [
            f"storage {ident}: index {self._storages.get(ident, 0)} MiB, rows {used} MiB"
            for ident, used in read_storages(db).items()
            if self._storages.get(ident, 0) != used
        ]
        return wrong

    def differences_now(self, db: Transaction) -> list[str]:
        """``differences``, in the writer thread, where index and rows belong together."""
        return self.differences(db)

    def _know(self, hosts: dict[int, Candidate]) -> None:
        self._hosts = hosts
        self._rankings.clear()

    def _read(self, db: Db) -> dict[int, Candidate]:
        return {row["id"]: _candidate(row, self.loads) for row in db.rows(_HOSTS)}

    def _add(self, host_id: int, cpus: int, memory_mb: int) -> None:
        candidate = self._hosts[host_id]
        candidate.used_cpus += cpus
        candidate.used_memory_mb += memory_mb
        candidate.machines += 1 if memory_mb > 0 else -1
        for ranking in self._rankings.values():
            ranking.update(host_id)

    def _give_storage(self, storage_id: int, size_mb: int) -> None:
        self._storages[storage_id] -= size_mb


def _candidate(row: sqlite3.Row, loads: Loads) -> Candidate:
    return Candidate(
        row["id"],
        row["name"],
        row["virtualization_type"],
        row["state"],
        row["cpus"],
        row["memory_mb"],
        row["used_cpus"],
        row["used_memory_mb"],
        row["machines"],
        loads.of(row["id"]),
    )


def read_storages(db: Db) -> dict[int, int]:
    """MiB promised per storage, from the rows."""
    return {row["id"]: row["promised_mb"] for row in db.rows(PROMISING)}


def promised_on(db: Db, storage_id: int) -> int:
    """MiB promised on one storage, from the rows."""
    return int(db.value(f"SELECT promised_mb FROM ({PROMISING}) WHERE id = ?", (storage_id,)))  # noqa: S608 - ours
