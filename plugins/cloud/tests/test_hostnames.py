"""One holder per host name and network, be it an administrator's appliance or a server that somebody ordered."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from twisted.internet.defer import Deferred, DeferredList

from qrmd.api import Actor, Conflict, Role
from qrmd.operations.call import dispatch
from qrmd_cloud.testing import ADMIN

ORDER = {"image": "micro", "memory_mb": 256, "hostname": "web"}
APPLIANCE = {"name": "mine", "image": "micro", "memory_mb": 256, "hostname": "web", "networks": ["lan"]}


@pytest.fixture
def furnished(house: Any) -> Any:
    house.furnish()
    house.bob_himself = Actor("cloud:bob", Role.CLOUD, house.bob)
    return house


def held(house: Any) -> list[tuple[str, str]]:
    async def look() -> list[tuple[str, str]]:
        rows = await house.store.read(lambda db: db.rows("SELECT hostname, holder FROM hostnames ORDER BY 1, 2"))
        return [tuple(row) for row in rows]

    found: list[tuple[str, str]] = house.loop.run(look())
    return found


def order(house: Any, **changes: Any) -> int:
    return int(house.call("cloud.request.create", {**ORDER, **changes}, actor=house.bob_himself))


def test_who_comes_second_is_refused_before_anything_is_made(furnished: Any) -> None:
    appliance = furnished.call("appliance.add", APPLIANCE)
    with pytest.raises(Conflict) as caught:
        order(furnished)
    assert caught.value.message == "the host name web is taken"
    assert str(appliance) not in str(caught.value.as_dict())
    with pytest.raises(Conflict, match=f"web is held by appliance:{appliance} in network lan"):
        furnished.call("cloud.request.create", {**ORDER, "user": "bob"}, actor=ADMIN)
    assert furnished.call("cloud.request.list") == []
    plan = furnished.call("cloud.request.plan", ORDER, actor=furnished.bob_himself)
    assert plan["objections"] == ["the host name web is taken"]
    request = order(furnished, hostname="shop")
    with pytest.raises(Conflict, match=f"shop is held by cloud_request:{request} in network lan"):
        furnished.call("appliance.add", {**APPLIANCE, "name": "second", "hostname": "shop"})
    assert [each["name"] for each in furnished.call("appliance.list")] == ["mine"]
    assert held(furnished) == [("shop", f"cloud_request:{request}"), ("web", f"appliance:{appliance}")]


def test_a_name_is_held_from_the_order_to_the_end_and_free_then(furnished: Any) -> None:
    request = order(furnished)
    mine = [("web", f"cloud_request:{request}")]
    assert furnished.call("cloud.request.plan", {"id": request})["objections"] == []
    furnished.finish(furnished.call("cloud.request.approve", request))
    assert (furnished.call("cloud.request.get", request)["state"], held(furnished)) == ("active", mine)
    furnished.call("cloud.request.deprovision", request, actor=furnished.bob_himself)
    furnished.until(request, "done")
    assert held(furnished) == []
    appliance = furnished.call("appliance.add", APPLIANCE)
    assert held(furnished) == [("web", f"appliance:{appliance}")]
    furnished.finish(furnished.call("appliance.remove", "mine"))
    assert held(furnished) == []
    for verb in ("cancel", "deny"):
        furnished.call(f"cloud.request.{verb}", order(furnished))
        assert held(furnished) == []


def test_another_network_another_name_space_and_no_network_none(furnished: Any) -> None:
    furnished.call("network.add", {"name": "dmz", "bridge": "br1", "cidr": "10.98.0.0/24"})
    furnished.call("appliance.add", APPLIANCE)
    furnished.call("appliance.add", {**APPLIANCE, "name": "other", "networks": ["dmz"]})
    furnished.call("appliance.add", {**APPLIANCE, "name": "alone", "networks": []})
    assert len(held(furnished)) == 2
    for networks in (["dmz", "lan"], ["lan", "lan"]):
        with pytest.raises(Conflict, match="is held by appliance"):
            furnished.call("appliance.add", {**APPLIANCE, "name": "third", "networks": networks})
    assert len(held(furnished)) == 2


def test_a_new_host_name_is_held_and_the_old_one_is_free(furnished: Any) -> None:
    first = furnished.call("appliance.add", APPLIANCE)
    second = furnished.call("appliance.add", {**APPLIANCE, "name": "second", "hostname": "db"})
    with pytest.raises(Conflict, match=f"web is held by appliance:{first}"):
        furnished.call("appliance.update", "second", {"hostname": "web"})
    furnished.call("appliance.update", "mine", {"hostname": "www"})
    furnished.call("appliance.update", "second", {"hostname": "web"})
    assert held(furnished) == [("web", f"appliance:{second}"), ("www", f"appliance:{first}")]


def test_a_name_of_our_choice_gives_way(furnished: Any) -> None:
    furnished.call("appliance.add", {**APPLIANCE, "hostname": "cloud-1-1"})
    request = order(furnished, hostname="")
    assert ("cloud-1-1-2", f"cloud_request:{request}") in held(furnished)


@pytest.mark.parametrize("turn", [lambda calls: calls, reversed])
def test_of_two_at_once_exactly_one_has_it(furnished: Any, turn: Callable[[Any], Any]) -> None:
    for number in range(10):
        name = f"web-{number}"
        calls = [
            partial(dispatch, furnished.core, furnished.bob_himself, "cloud.request.create",
                    [{**ORDER, "hostname": name}]),
            partial(dispatch, furnished.core, ADMIN, "appliance.add",
                    [{**APPLIANCE, "name": f"mine-{number}", "hostname": name}]),
        ]  # fmt: skip
        outcomes = furnished.loop.run(at_once(list(turn(calls))))
        assert sorted(good for good, _ in outcomes) == [False, True]
        (refused,) = (failure.value for good, failure in outcomes if not good)
        assert isinstance(refused, Conflict)
        assert [each for each, _ in held(furnished)].count(name) == 1


async def at_once(calls: list[Callable[[], Any]]) -> list[tuple[bool, Any]]:
    begun = [Deferred.fromCoroutine(call()) for call in calls]
    outcomes: list[tuple[bool, Any]] = await DeferredList(begun, consumeErrors=True)
    return outcomes
