"""What a live workflow holds nobody else changes or forgets; the refusal names holder, purpose and workflow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qrmd.deployment.lifecycle import Lifecycle
from qrmd.errors import Busy
from qrmd.model import Actor, Image, Role
from qrmd.plugins.registries import Registries
from qrmd.states import ImageState
from qrmd.store import claims, images, migrations, workflows
from qrmd.store.capacity import Capacity
from qrmd.store.connection import Transaction
from qrmd.store.database import Store
from qrmd.testing.daemon import Daemon, Setting
from qrmd.testing.sites import populate
from qrmd.testing.waiting import wait_until
from qrmd.vault import Vault
from qrmd.workflow.request import Request

ANNA = Actor("user:anna", Role.OPERATOR)


# ------------------------------------------------------------ a start under way


@pytest.fixture
def daemon(tmp_path: Path, faults: Path) -> Iterator[Daemon]:
    """With an appliance whose start hangs on its host."""
    with Daemon(Setting(tmp_path, plugins={"simulated": {"faults": str(faults), "blocking": True}})) as made:
        populate(made, tmp_path)
        made.call("kernel.add", {"name": "own", "path": str(tmp_path / "disk.raw")})
        spec = {"name": "held", "image": "small", "memory_mb": 64, "networks": ["tenants"], "kernel": "own"}
        made.call("appliance.add", spec)
        faults.write_text(json.dumps([{"verb": "define", "effect": "hang"}]), encoding="utf-8")
        yield made


def test_what_a_start_is_made_from_and_placed_on_is_held(daemon: Daemon) -> None:
    workflow = daemon.call("appliance.start", "held", "", {"reason": "spring sale"})
    wait_until(
        lambda: any(each["state"] == "running" for each in daemon.call("workflow.get", workflow)["steps"]),
        timeout=30,
        what="the step that hangs",
    )
    held = {each["name"]: each["purpose"] for each in daemon.call("workflow.get", workflow)["claims"]}
    assert set(held) == {"appliance:3", "image:1", "host:1", "kernel:1", "network:1", "storage:1"}
    assert held["storage:1"] == "a disk of held is on it"
    calls: list[tuple[Any, ...]] = [
        ("image.remove", "small"), ("image.resize", "small", 8), ("host.remove", "node-1"), ("storage.remove", "pool"),
        ("network.remove", "tenants"), ("kernel.remove", "own"),
    ]  # fmt: skip
    for method, *arguments in calls:
        refused = daemon.fault(method, *arguments)
        assert refused.code == 409
        assert "appliance.start of appliance:3 (" in str(refused), method
        assert "held " in str(refused), method
        assert f"workflow {workflow}, by user:admin: spring sale" in str(refused), method
    assert {each["name"] for each in daemon.call("storage.list")} == {"pool"}


def test_nothing_is_held_after_the_end(tmp_path: Path) -> None:
    with Daemon(Setting(tmp_path)) as daemon:
        populate(daemon, tmp_path)
        daemon.finish("appliance.stop", "web-1", {"grace_seconds": 0})
        done = daemon.finish("appliance.remove", "web-1")
        assert daemon.call("workflow.get", done["id"])["claims"] == []
        daemon.finish("appliance.remove", "web-2")
        daemon.finish("image.remove", "small")
        for noun, name in (("storage", "pool"), ("network", "tenants"), ("host", "node-1")):
            daemon.call(f"{noun}.remove", name)
            assert daemon.call(f"{noun}.list") == []
        spec = {"name": "late", "location": "simulated://late", "type": "simulated", "host": 1}
        assert "it was removed" in str(daemon.fault("storage.add", spec))


# ------------------------------------------------------------ while the other is being planned, or is stuck


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "db", Vault(tmp_path / "key"), lambda function: function())
    made.write_now(furnish)
    yield made
    made.stop()


def furnish(db: Transaction) -> None:
    migrations.core.apply(db.toolkit)
    db.execute("INSERT INTO storages (name, deployment_type, location, capacity_mb) VALUES ('s', 'dir', '/x', 1000)")
    db.execute(
        "INSERT INTO images (name, storage_id, volume, format, size_mb, state) VALUES ('i', 1, 'i', 'raw', 1, 'idle')"
    )


def add_appliance(db: Transaction) -> None:
    db.execute(
        "INSERT INTO appliances (name, image_id, virtualization_type, cpus, memory_mb, disk_mb, state, hostname,"
        " networks, ssh_keys, login, owner, created_at)"
        " VALUES ('a', 1, 'any', 1, 1, 1, 'stopped', 'x', '[]', '[]', 'root', '', 0)"
    )


def make_copy(db: Transaction) -> int:
    copy = Image(0, "copy", 1, "", "raw", 1, ImageState.NEW, source="image:1")
    return images.add(db, copy, "user:anna", "")


def begin(store: Store, operation: str, subject: int = 1, **given: Any) -> int:
    """Move 1 of an operation: from then on it is being planned."""
    capacity = Capacity()
    store.write_now(capacity.rebuild)
    kinds = {each.operation: each for each in Lifecycle(capacity, Registries(), "x").kinds()}
    request = Request(kinds[operation], subject, given.pop("arguments", {}), ANNA, "moving", **given)
    return store.write_now(workflows.begin, request).workflow_id


@pytest.mark.parametrize(
    ("operation", "arguments"), [("image.remove", {}), ("image.resize", {"size_mb": 2, "from_mb": 1})]
)
def test_an_image_that_is_worked_on_is_not_used(store: Store, operation: str, arguments: dict[str, int]) -> None:
    holder = begin(store, operation, arguments=arguments)
    store.write_now(add_appliance)
    said = rf"{operation} is planning \(workflow {holder}, by user:anna: moving\)"
    with pytest.raises(Busy, match=said):
        begin(store, "appliance.start")
    with pytest.raises(Busy, match=said):
        begin(store, "image.clone", 0, create=make_copy)


@pytest.mark.parametrize("state", ["planning", "stuck"])
def test_the_source_of_a_copy_stays_as_it_is(store: Store, state: str) -> None:
    holder = begin(store, "image.clone", 0, create=make_copy)
    store.write_now(lambda db: db.execute("UPDATE workflows SET state = ?", (state,)))
    store.write_now(lambda db: db.execute("UPDATE images SET state = 'error' WHERE id = 2 AND ? = 'stuck'", (state,)))
    said = rf"image.clone of image:2 \(copy is copied from it\) is {state} \(workflow {holder}, by user:anna: moving\)"
    for operation, arguments in (("image.remove", {}), ("image.resize", {"size_mb": 2, "from_mb": 1})):
        with pytest.raises(Busy, match=said):
            begin(store, operation, arguments=arguments)
    other = begin(store, "image.clone", 0, create=lambda db: images.add(
        db, Image(0, "other", 1, "", "raw", 1, ImageState.NEW, source="image:1"), "user:anna", ""
    ))  # fmt: skip
    assert {each["name"] for each in store.write_now(claims.of_workflow, other)} == {"image:3", "image:1", "storage:1"}
