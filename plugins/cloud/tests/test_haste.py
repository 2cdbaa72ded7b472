"""Orders without end, too many servers, and mails that nobody takes: what is refused, and what is shown of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qrmd.api import SECOND, Actor, InvalidInput, NoCapacity, Role, TooManyRequests, now_us
from qrmd_cloud import decisions
from qrmd_cloud.store import requests
from qrmd_cloud.testing import ADMIN, HOUR, Town

ORDER = {"image": "micro", "memory_mb": 256}


def cancelled(town: Town, user: int, **changes: Any) -> None:
    town.do(decisions.cancel, town.order(user, **changes), "cloud:bob", "", "cancel")


def test_orders_cancelled_at_once_are_bounded_per_user_and_hour(town: Town) -> None:
    bob, ann = town.user("bob"), town.user("ann")
    town.rules = replace(town.rules, orders_per_hour=3, admin_mail="admin@example.org")
    for _ in range(3):
        cancelled(town, bob)
    with pytest.raises(TooManyRequests, match="bob has made 3 requests within an hour") as caught:
        town.order(bob)
    assert 0 < caught.value.data["retry_after"] <= 3600
    assert "minutes" in caught.value.hint
    for table in ("cloud_requests", "cloud_mails"):
        assert town.do(lambda db, table=table: db.value(f"SELECT count(*) FROM {table}")) == 3  # noqa: S608
    cancelled(town, ann)


def test_an_hour_later_one_may_order_again(town: Town) -> None:
    bob, long_ago = town.user(), now_us() - HOUR - SECOND
    town.rules = replace(town.rules, orders_per_hour=2)
    for at in (long_ago, now_us() - HOUR // 2):
        cancelled(town, bob, created_at=at)
    cancelled(town, bob)
    with pytest.raises(TooManyRequests) as caught:
        town.order(bob)
    assert 29 * 60 <= caught.value.data["retry_after"] <= 30 * 60
    assert town.do(requests.nth_latest, bob, 3) == long_ago
    assert town.do(requests.nth_latest, bob, 4) == 0


def test_the_setting_counts_at_once_and_a_plan_is_no_order(house: Any) -> None:
    house.furnish()
    house.call("settings.set", {"cloud.orders_per_hour": 2})
    bob = Actor("cloud:bob", Role.CLOUD, house.bob)
    for _ in range(2):
        house.call("cloud.request.create", ORDER, {"dry_run": True}, actor=bob)
        house.call("cloud.request.cancel", house.call("cloud.request.create", ORDER, actor=bob), actor=bob)
    for actor, order in ((bob, ORDER), (ADMIN, {**ORDER, "user": "bob"})):
        with pytest.raises(TooManyRequests):
            house.call("cloud.request.create", order, actor=actor)
    house.call("settings.set", {"cloud.orders_per_hour": 3})
    assert house.call("cloud.request.create", ORDER, actor=bob)


def test_quantity_and_limits_name_the_number_that_is_too_much(house: Any) -> None:
    house.furnish()
    bob = Actor("cloud:bob", Role.CLOUD, house.bob)
    house.call("settings.set", {"cloud.max_quantity": 2})
    house.call("cloud.user.set_limits", "bob", {"servers": 3})
    for verb in ("cloud.request.create", "cloud.request.plan"):
        with pytest.raises(InvalidInput, match="quantity may be at most 2 here, not 3"):
            house.call(verb, {**ORDER, "quantity": 3}, actor=bob)
    first = house.call("cloud.request.create", {**ORDER, "quantity": 2}, actor=bob)
    with pytest.raises(NoCapacity, match="the limit of 3 servers leaves 1, 2 are asked for") as caught:
        house.call("cloud.request.create", {**ORDER, "quantity": 2}, actor=bob)
    assert caught.value.data["missing"] == {"servers": 1}
    house.call("cloud.user.set_limits", "bob", {"servers": 1})
    with pytest.raises(NoCapacity, match="the limit of 1 servers"):
        house.call("cloud.request.approve", first)
    assert [each["state"] for each in house.call("cloud.request.list")] == ["new"]


def test_a_mail_that_is_a_debt_is_owed_and_sent_when_it_is_paid(house: Any) -> None:
    house.furnish()
    port = house.inbox.port
    house.call("settings.set", {"mail.admin": "admin@example.org", "smtp.port": 1})

    async def look() -> str:
        return str(await house.store.read(lambda db: db.value("SELECT state FROM cloud_mails")))

    def state() -> str:
        return str(house.loop.run(look()))

    house.call("cloud.request.create", {**ORDER, "user": "bob"})
    house.loop.run_until(lambda: state() == "owed", 60.0, "the mail to be owed")
    (debt,) = house.call("workflow.debts")
    assert (debt["operation"], house.call("workflow.get", debt["workflow_id"])["state"]) == ("cloud.mail", "done")
    assert house.inbox.mails == []
    house.call("settings.set", {"smtp.port": port})
    house.core.engine.debts.pay_now()
    house.loop.run_until(lambda: state() == "sent", 60.0, "the mail to be sent")
    assert house.call("workflow.debts") == []
    assert house.mail("request 1")
