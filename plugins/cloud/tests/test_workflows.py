"""Requests from order to end with the real engine, outbox, storage and mail; hosts are simulated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qrmd.api import Actor, Conflict, InvalidInput, NoCapacity, NotFound, Role

ORDER = {"image": "micro", "memory_mb": 1024, "disk_mb": 16}


def test_two_servers_from_order_to_nothing_left(house: Any) -> None:
    house.furnish()
    plan = house.call("cloud.request.plan", {**ORDER, "user": "bob", "quantity": 2})
    assert plan["placement"]["hosts"] == ["h1", "h1"]
    assert plan["objections"] == []
    first, second = (each["steps"] for each in plan["steps"] if each["action"] == "appliance.start")
    assert first[-1]["title"] == "wait until cloud-0-1 answers at 10.99.0.2"
    assert second[-1]["title"] == "wait until cloud-0-2 answers at 10.99.0.3"
    ident = house.call("cloud.request.create", {**ORDER, "user": "bob", "quantity": 2, "hostname": "web"})
    workflow = house.call("cloud.request.approve", ident, {"reason": "fine"})
    assert house.finish(workflow)["state"] == "done"
    found = house.until(ident, "active")
    assert [server["state"] for server in found["servers"]] == ["active", "active"]
    text = house.mail("ready")
    for server in found["servers"]:
        assert server["hostname"] in text
        assert server["address"] in text
    assert text.count("Password:") == 2
    journal = house.store.path.read_bytes() + Path(f"{house.store.path}-wal").read_bytes()
    for line in text.splitlines():
        if line.startswith("Password:"):
            assert line.split()[1].encode() not in journal
    assert house.finish(house.call("cloud.request.deprovision", ident))["state"] == "done"
    found = house.until(ident, "done")
    assert found["held"] == "0"
    assert found["billed"] in house.mail("given back")
    assert house.call("appliance.list") == []
    assert house.call("cloud.account.get", "bob")["held"] == "0"
    assert list((house.directory / "disks").rglob("*cloud*")) == []


def test_no_room_is_explained_never_billed_and_served_in_order_once_there_is(house: Any) -> None:
    house.furnish(memory_mb=1024)
    first, second, third = (house.call("cloud.request.create", {**ORDER, "user": "bob"}) for _ in range(3))
    house.finish(house.call("cloud.request.approve", first))
    for ident in (second, third):
        house.call("cloud.request.approve", ident)
        found = house.until(ident, "no_resource")
        assert found["explanation"]["data"]["missing"]["memory_mb"] == 1024
        assert (found["billed"], found["held"]) == ("0", "0")
    assert "1024 memory_mb" in house.mail(f"request {second}")
    house.call("cloud.request.deprovision", first)
    house.until(second, "active")
    house.until(third, "no_resource")
    house.call("cloud.request.deprovision", second)
    house.until(third, "active")
    assert [each["name"] for each in house.call("appliance.list")] == [f"cloud-{third}-1"]


def test_all_or_nothing_unless_partial(house: Any) -> None:
    house.furnish(memory_mb=2048)
    whole = house.call("cloud.request.create", {**ORDER, "user": "bob", "quantity": 3})
    house.call("cloud.request.approve", whole)
    house.until(whole, "no_resource")
    assert house.call("appliance.list") == []
    house.call("cloud.request.cancel", whole)
    part = house.call("cloud.request.create", {**ORDER, "user": "bob", "quantity": 3, "partial": True})
    house.call("cloud.request.approve", part)
    found = house.until(part, "active")
    assert [server["state"] for server in found["servers"]] == ["active", "active", "removed"]
    price = float(found["price_per_server_hour"])
    assert 0 < float(found["held"]) <= 2 * 24 * price, "nothing is held for what is missing"
    house.call("cloud.request.deprovision", part)
    house.until(part, "done")
    assert house.call("appliance.list") == []


@pytest.mark.parametrize("verb", ["cancel", "deprovision"])
def test_giving_up_while_it_is_provisioned_undoes_all(house: Any, verb: str) -> None:
    house.furnish()
    ident = house.call("cloud.request.create", {**ORDER, "user": "bob", "quantity": 4})
    workflow = house.call("cloud.request.approve", ident)
    assert house.call("cloud.request.get", ident)["state"] == "provisioning"
    house.call(f"cloud.request.{verb}", ident)
    assert house.finish(workflow)["state"] == "undone"
    found = house.until(ident, "cancelled")
    assert (found["billed"], found["held"]) == ("0", "0")
    assert house.call("appliance.list") == []


def test_a_user_stops_and_starts_and_pays_for_neither_pause(house: Any) -> None:
    house.furnish()
    ident = house.call("cloud.request.create", {**ORDER, "user": "bob"})
    house.finish(house.call("cloud.request.approve", ident))
    (server,) = house.call("cloud.server.list")
    bob = Actor("cloud:bob", Role.CLOUD, house.bob)
    house.finish(house.call("cloud.server.stop", server["id"], actor=bob))
    assert house.call("cloud.server.get", server["id"])["state"] == "stopped"
    assert house.call("cloud.account.get", actor=bob)["price_per_hour"] == "0"
    house.finish(house.call("cloud.server.start", server["id"], actor=bob))
    assert house.call("cloud.server.get", server["id"])["state"] == "active"
    assert house.call("cloud.account.get", actor=bob)["price_per_hour"] != "0"


def test_ccus_that_end_stop_the_servers_and_after_the_grace_they_are_gone(house: Any) -> None:
    house.furnish()
    house.call("settings.set", {"cloud.grace_seconds": 0})
    ident = house.call("cloud.request.create", {**ORDER, "user": "bob"})
    house.finish(house.call("cloud.request.approve", ident))
    house.call("cloud.user.set_ccus", "bob", "0.0005")
    house.until(ident, "done")
    assert house.call("cloud.user.get", "bob")["balance"] == "0"
    assert house.call("cloud.request.get", ident)["billed"] == "0.0005"
    assert "used up" in house.mail("No CCUs left")
    assert house.call("appliance.list") == []


def test_what_is_not_ones_own_is_not_found(house: Any) -> None:
    house.furnish()
    ident = house.call("cloud.request.create", {**ORDER, "user": "bob"})
    eve = house.call("cloud.user.add", {"name": "eve", "email": "eve@example.org", "ccus": "500"})["id"]
    actor = Actor("cloud:eve", Role.CLOUD, eve)
    (server,) = house.call("cloud.server.list")
    for verb in ("get", "cancel", "deprovision", "extend"):
        with pytest.raises(NotFound):
            house.call(f"cloud.request.{verb}", ident, actor=actor)
    for verb in ("get", "start", "stop", "restart", "console_log"):
        with pytest.raises(NotFound):
            house.call(f"cloud.server.{verb}", server["id"], actor=actor)
    with pytest.raises(NotFound):
        house.call("cloud.request.plan", {"id": ident}, actor=actor)
    with pytest.raises(NotFound):
        house.call("cloud.account.get", "bob", actor=actor)
    with pytest.raises(NotFound):
        house.call("cloud.request.create", {**ORDER, "user": "bob"}, actor=actor)
    assert house.call("cloud.request.list", actor=actor) == []
    assert house.call("cloud.request.get", ident)["state"] == "new"


def test_the_same_key_orders_once_and_a_dry_run_never(house: Any) -> None:
    house.furnish()
    order = {**ORDER, "user": "bob"}
    assert house.call("cloud.request.create", order, {"dry_run": True})["held"]
    assert house.call("cloud.request.list") == []
    first = house.call("cloud.request.create", order, {"key": "a"})
    assert house.call("cloud.request.create", order, {"key": "a"}) == first
    started = house.call("cloud.request.approve", first, {"key": "b"})
    assert house.call("cloud.request.approve", first, {"key": "b"}) == started
    assert len(house.call("cloud.request.list")) == 1


def test_what_can_never_be_is_refused_and_nothing_changes(house: Any) -> None:
    house.furnish()
    with pytest.raises(NotFound):
        house.call("cloud.request.create", {**ORDER, "image": "nonesuch", "user": "bob"})
    with pytest.raises(InvalidInput):
        house.call("cloud.request.create", ORDER)
    house.call("cloud.request.create", {**ORDER, "user": "bob", "hostname": "web"})
    with pytest.raises(Conflict):
        house.call("cloud.request.create", {**ORDER, "user": "bob", "hostname": "web"})
    house.call("cloud.user.set_ccus", "bob", "1")
    with pytest.raises(NoCapacity) as raised:
        house.call("cloud.request.create", {**ORDER, "user": "bob"})
    assert "ccus" in raised.value.data["missing"]
    assert len(house.call("cloud.request.list")) == 1


def test_denied_with_a_reason_in_the_mail(house: Any) -> None:
    house.furnish()
    ident = house.call("cloud.request.create", {**ORDER, "user": "bob"})
    house.call("cloud.request.deny", ident, {"reason": "ask your boss"})
    assert "ask your boss" in house.mail("denied")
    with pytest.raises(Conflict):
        house.call("cloud.request.approve", ident)


def test_a_policy_approves_by_itself(house: Any) -> None:
    house.furnish()
    house.call("settings.set", {"cloud.approval": "auto"})
    bob = Actor("cloud:bob", Role.CLOUD, house.bob)
    ident = house.call("cloud.request.create", {**ORDER, "ssh_key": "ssh-ed25519 " + "A" * 68}, actor=bob)
    house.until(ident, "active")
    assert "log in with your ssh key" in house.mail("ready")


def test_a_hundred_at_once_where_sixty_fit(house: Any) -> None:
    house.furnish(memory_mb=60 * 1024)
    house.call("cloud.user.set_ccus", "bob", "100000")
    order = {**ORDER, "user": "bob"}
    idents = [house.call("cloud.request.create", order) for _ in range(100)]
    for ident in idents:
        house.call("cloud.request.approve", ident)

    def settled() -> dict[str, list[int]] | None:
        rows = house.call("cloud.request.list", {"fields": ["id", "state"]})
        states: dict[str, list[int]] = {}
        for row in rows:
            states.setdefault(row["state"], []).append(row["id"])
        return states if set(states) <= {"active", "no_resource", "done"} else None

    states = house.loop.run_until(settled, 60.0, "all to end")
    assert {state: len(ids) for state, ids in states.items()} == {"active": 60, "no_resource": 40}
    appliances = [house.call("appliance.get", row["id"]) for row in house.call("appliance.list")]
    assert len({nic["address"] for each in appliances for nic in each["nics"]}) == 60
    waiting = states["no_resource"]
    for ident in states["active"][:3]:
        house.call("cloud.request.deprovision", ident)
        house.until(ident, "done")
        house.until(waiting.pop(0), "active")
    states = house.loop.run_until(settled, 60.0, "all to end")
    assert states["no_resource"] == waiting
