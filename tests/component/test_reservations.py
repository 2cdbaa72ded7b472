"""Reservations: the capacity index is what the rows say after whatever happened, and no address is given twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.internet.defer import Deferred, gatherResults

from qrmd.errors import Conflict, NoCapacity
from qrmd.loads import OLD, OLD_AFTER, Loads
from qrmd.placement import Requirement, rank
from qrmd.store import addresses, migrations
from qrmd.store.capacity import Capacity
from qrmd.store.connection import Transaction
from qrmd.store.database import Store
from qrmd.store.places import find_network
from qrmd.testing.loop import Loop
from qrmd.vault import Vault


def furnish(db: Transaction, appliances: int) -> None:
    migrations.core.apply(db.toolkit)
    for number in (1, 2):
        db.execute(
            "INSERT INTO hosts (name, uri, virtualization_type, state, cpus, memory_mb)"
            " VALUES (?, ?, 'x', 'up', 8, 9000)",
            (f"h{number}", f"x://{number}"),
        )
        db.execute(
            "INSERT INTO storages (name, deployment_type, location, capacity_mb) VALUES (?, 'dir', '/x', 1000)",
            (f"s{number}",),
        )
    db.execute(
        "INSERT INTO images (name, storage_id, volume, format, size_mb, state) VALUES ('i', 1, 'i', 'raw', 0, 'idle')"
    )
    db.execute(
        "INSERT INTO networks (name, bridge, cidr, range_first, range_last, gateway, dns, domain)"
        " VALUES ('n', 'b', '10.9.0.0/24', '10.9.0.2', '10.9.0.201', '10.9.0.7', '[\"10.9.0.9\"]', '')"
    )
    for number in range(appliances):
        db.execute(
            "INSERT INTO appliances (name, image_id, virtualization_type, cpus, memory_mb, disk_mb, state, hostname,"
            " networks, ssh_keys, login, owner, created_at)"
            " VALUES (?, 1, 'any', 1, 1, 1, 'stopped', 'x', '[1]', '[]', 'root', '', 0)",
            (f"a{number}",),
        )


WANTED, TYPES = Requirement("any", 1, 100), frozenset({"x"})


def busy(capacity: Capacity) -> dict[int, float]:
    """By host: what its load adds."""
    return {each.host_id: each.load.now.busy for each in capacity.ranking(WANTED, TYPES).best(2)}


class _Lost(Exception):
    """Roll this member back."""


class Reserving(RuleBasedStateMachine):
    """Machines come and go on hosts, volumes on storages, hosts change; some of it is rolled back."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(self.fresh.mktemp("capacity"))
        self.store = Store(self.directory / "db", Vault(self.directory / "key"), lambda function: function())
        self.store.write_now(furnish, 1)
        self.capacity = Capacity()
        self.store.write_now(self.capacity.rebuild)
        self.number = 0

    fresh: Any

    def write(self, function: Any, lost: bool) -> None:
        def member(db: Transaction) -> None:
            function(db)
            if lost:
                raise _Lost

        try:
            self.store.write_now(member)
        except _Lost:
            assert lost

    @rule(host=st.sampled_from([1, 2]), cpus=st.integers(1, 8), memory=st.integers(1, 999), lost=st.booleans())
    def place(self, host: int, cpus: int, memory: int, lost: bool) -> None:
        self.number += 1

        def change(db: Transaction) -> None:
            db.execute(
                "INSERT INTO resources (name, virtualization_type, uuid, state, host_id, cpus, memory_mb)"
                " VALUES ('r', 'x', ?, 'assigned', ?, ?, ?)",
                (str(self.number), host, cpus, memory),
            )
            self.capacity.take(db, host, cpus, memory)

        self.write(change, lost)

    @rule(lost=st.booleans())
    def leave(self, lost: bool) -> None:
        def change(db: Transaction) -> None:
            row = db.row("SELECT * FROM resources WHERE state <> 'removed' LIMIT 1")
            if row is not None:
                db.execute("UPDATE resources SET state = 'removed' WHERE id = ?", (row["id"],))
                self.capacity.take(db, row["host_id"], -row["cpus"], -row["memory_mb"])

        self.write(change, lost)

    @rule(storage=st.sampled_from([1, 2]), size=st.integers(1, 99), lost=st.booleans())
    def promise(self, storage: int, size: int, lost: bool) -> None:
        self.number += 1

        def change(db: Transaction) -> None:
            db.execute(
                "INSERT INTO volumes (appliance_id, storage_id, position, name, format, size_mb)"
                " VALUES (1, ?, ?, ?, 'raw', ?)",
                (storage, self.number, f"v{self.number}", size),
            )
            self.capacity.take_storage(db, storage, size)

        self.write(change, lost)

    @rule(state=st.sampled_from(["up", "maintenance"]), overcommit=st.integers(1, 4), lost=st.booleans())
    def change_host(self, state: str, overcommit: int, lost: bool) -> None:
        def change(db: Transaction) -> None:
            db.execute("UPDATE hosts SET state = ?, cpu_overcommit = ? WHERE id = 1", (state, overcommit))
            self.capacity.refresh_hosts(db)

        self.write(change, lost)

    @rule(host=st.sampled_from([1, 2]), cpu=st.floats(0, 1))
    def measure(self, host: int, cpu: float) -> None:
        self.capacity.loads.note(host, cpu, 0)

    @invariant()
    def ranked_is_what_comparing_all_hosts_gives(self) -> None:
        compared = self.store.write_now(lambda db: rank(WANTED, self.capacity.candidates_of_rows(db), 2))
        assert self.capacity.ranking(WANTED, TYPES).best(2) == compared

    @invariant()
    def index_is_what_the_rows_say(self) -> None:
        assert self.store.write_now(self.capacity.differences_now) == []

    def teardown(self) -> None:
        self.store.stop()


def test_the_index_is_what_the_rows_say(tmp_path_factory: pytest.TempPathFactory) -> None:
    Reserving.fresh = tmp_path_factory
    case = Reserving.TestCase
    case.settings = settings(
        max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
    )
    case().runTest()


@pytest.fixture
def store(tmp_path: Path, loop: Loop) -> Iterator[Store]:
    made = Store(tmp_path / "db", Vault(tmp_path / "key"), loop.deliver)
    made.write_now(furnish, 200)
    made.start()
    yield made
    made.stop()


def test_a_load_that_was_not_renewed_counts_no_more_for_start_and_explanation(store: Store, loop: Loop) -> None:
    seconds = [1000.0]
    capacity = Capacity(Loads(lambda: seconds[0]))
    loop.run(_await(store.write(capacity.rebuild)))
    for host in (1, 2):
        capacity.loads.note(host, 0.5, 0)
    seconds[0] += OLD_AFTER - 1
    capacity.loads.note(2, 0.5, 0)
    assert busy(capacity) == {1: 0.125, 2: 0.125}
    seconds[0] += 1
    assert busy(capacity) == {1: 0, 2: 0.125}
    seconds[0] += OLD_AFTER
    explained = loop.run(_await(store.read(capacity.candidates_of_rows)))
    assert [each.load.now for each in explained] == [OLD, OLD]


def test_two_hundred_at_once_get_different_addresses_and_the_rest_is_refused(store: Store, loop: Loop) -> None:
    def reserve(db: Transaction, ident: int) -> str:
        nic = addresses.reserve(db, ident, 0, find_network(db, 1))
        if ident % 10 == 0:
            raise Conflict("this one is rolled back")
        return nic.address

    results: list[Any] = []

    async def all_of_them() -> None:
        free = await store.read(lambda db: addresses.free(db, find_network(db, 1)))
        assert free == 198
        asked = [store.write(reserve, ident).addBoth(results.append) for ident in range(1, 201)]
        await gatherResults(asked)

    loop.run(all_of_them())
    network = loop.run(_await(store.read(find_network, 1)))
    given = [each for each in results if isinstance(each, str)]
    assert len(given) == len(set(given)) == 180
    assert not {"10.9.0.7", "10.9.0.9"} & set(given)
    for ident in range(10, 190, 10):
        loop.run(_await(store.write(addresses.reserve, ident, 0, network)))
    with pytest.raises(NoCapacity, match="all 200 addresses"):
        loop.run(_await(store.write(addresses.reserve, 200, 0, network)))
    assert loop.run(_await(store.read(addresses.free, network))) == 0


async def _await(deferred: Deferred[Any]) -> Any:
    return await deferred
