"""The monitor compares what a host shows with what the rows said before the look, not with what they say after it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from qrmd.deployment.reach import Reach
from qrmd.drivers import MachineInfo, MachineSpec, OwnerTag
from qrmd.model import Host
from qrmd.monitor import Monitor
from qrmd.plugins.registries import Offered, Registries
from qrmd.states import HostState
from qrmd.store import migrations
from qrmd.store.capacity import Capacity
from qrmd.store.connection import Db, Transaction
from qrmd.store.database import Store
from qrmd.testing.loop import Loop
from qrmd.threads import Lanes
from qrmd.vault import Vault
from qrmd_simulated.config import Config
from qrmd_simulated.driver import SimulatedDriver

INSTALLATION = "0b5ad7a8-67f1-4b2c-9d3b-0c1d2e3f4a5b"
HOST = Host(1, "h1", "simulated://h1?cpus=8&memory_mb=8192", "simulated-vm", HostState.UP)


class SlowToTell(SimulatedDriver):
    """Looks at once, and tells what it saw when it may: a host far away."""

    def __init__(self, directory: Path) -> None:
        super().__init__(INSTALLATION, Config(blocking=True), directory)
        self.looked, self.may_tell = threading.Event(), threading.Event()

    def machines(self, host: Host, installation: str) -> Sequence[MachineInfo]:
        seen = super().machines(host, installation)
        self.looked.set()
        assert self.may_tell.wait(60)
        return seen


class Place:
    """One host, one store, one monitor."""

    def __init__(self, directory: Path, loop: Loop) -> None:
        self.loop = loop
        self.driver = SlowToTell(directory)
        self.store = Store(directory / "db", Vault(directory / "key"), loop.deliver)
        self.store.write_now(furnish)
        self.lanes, registries = Lanes(loop.deliver), Registries()
        registries.put("simulated", Offered(virtualization_types=(self.driver,)))
        reach = Reach(registries, self.lanes, loop)
        self.monitor = Monitor(self.store, reach, Capacity(), loop.deliver, lambda _subject: False, INSTALLATION)
        self.store.start()

    def run_machine(self, ident: int) -> str:
        """A machine runs on the host; its UUID."""
        uuid = f"00000000-0000-4000-8000-{ident:012d}"
        tag = OwnerTag(INSTALLATION, f"appliance:{ident}")
        self.driver.define(HOST, MachineSpec(uuid, f"m{ident}", 1, 256, (), (), tag))
        self.driver.power_on(HOST, uuid)
        return uuid

    def write_active(self, ident: int, uuid: str) -> None:
        """As the workflow that started it ends: its appliance is active there."""

        async def write() -> None:
            await self.store.write(add_active, ident, uuid)

        self.loop.run(write())

    def change(self, statement: str) -> None:
        """As other parts of the daemon write meanwhile."""

        async def write() -> None:
            await self.store.write(execute, statement)

        self.loop.run(write())

    def state(self, ident: int) -> str:
        async def look() -> str:
            return str(await self.store.read(state_of, ident))

        return self.loop.run(look())

    def begin_poll(self) -> Deferred[None]:
        """A poll whose look was taken and not told yet."""
        self.driver.looked.clear()
        self.driver.may_tell.clear()
        polled = Deferred.fromCoroutine(self.monitor.poll())
        self.loop.run_until(self.driver.looked.is_set, 60.0, "the look")
        return polled

    def end_poll(self, polled: Deferred[None]) -> None:
        self.driver.may_tell.set()

        async def wait() -> None:
            await polled

        self.loop.run(wait())

    def stop(self) -> None:
        self.monitor.stop()
        self.lanes.stop()
        self.store.stop()
        self.driver.close()


def furnish(db: Transaction) -> None:
    migrations.core.apply(db.toolkit)
    db.execute(
        "INSERT INTO hosts (id, name, uri, virtualization_type, state, cpus, memory_mb)"
        " VALUES (?, ?, ?, ?, 'up', 8, 8192)",
        (HOST.id, HOST.name, HOST.uri, HOST.virtualization_type),
    )
    db.execute("INSERT INTO storages (id, name, deployment_type, location) VALUES (1, 's', 'x', '/x')")
    db.execute("INSERT INTO images (id, name, storage_id, volume, format, size_mb, state)"
               " VALUES (1, 'i', 1, 'i', 'raw', 1, 'idle')")  # fmt: skip


def add_active(db: Transaction, ident: int, uuid: str) -> None:
    db.execute(
        "INSERT INTO resources (id, name, virtualization_type, uuid, state, host_id, cpus, memory_mb, appliance_id)"
        " VALUES (?, ?, 'simulated-vm', ?, 'active', 1, 1, 256, ?)",
        (ident, f"m{ident}", uuid, ident),
    )
    db.execute(
        "INSERT INTO appliances (id, name, image_id, virtualization_type, cpus, memory_mb, disk_mb, state, hostname,"
        " resource_id, host_id, networks, ssh_keys, login, owner, created_at)"
        " VALUES (?, ?, 1, 'any', 1, 256, 1, 'active', ?, ?, 1, '[]', '[]', 'root', '', 0)",
        (ident, f"a{ident}", f"a{ident}", ident),
    )


def execute(db: Transaction, statement: str) -> None:
    db.execute(statement)


def state_of(db: Db, ident: int) -> str:
    return str(db.value("SELECT state FROM appliances WHERE id = ?", (ident,)))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, Loop())
    yield made
    made.stop()


def test_a_machine_that_came_after_the_look_is_not_missed(place: Place) -> None:
    polled = place.begin_poll()
    place.write_active(1, place.run_machine(1))
    place.end_poll(polled)
    assert place.state(1) == "active"
    place.end_poll(place.begin_poll())
    assert place.state(1) == "active"


def test_a_machine_that_was_gone_at_the_look_is_missed(place: Place) -> None:
    uuid = place.run_machine(1)
    place.write_active(1, uuid)
    place.driver.power_off(HOST, uuid)
    place.driver.undefine(HOST, uuid)
    place.end_poll(place.begin_poll())
    assert place.state(1) == "error"


def test_what_a_host_showed_before_it_was_fenced_revives_nothing(place: Place) -> None:
    place.write_active(1, place.run_machine(1))
    place.change("UPDATE appliances SET state = 'error'")
    polled = place.begin_poll()
    place.change("UPDATE hosts SET state = 'fenced'")
    place.end_poll(polled)
    assert place.state(1) == "error"
    place.change("UPDATE hosts SET state = 'up'")
    place.end_poll(place.begin_poll())
    assert place.state(1) == "active"
