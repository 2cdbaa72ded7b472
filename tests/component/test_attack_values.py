"""Numbers and times that nothing can hold: refused where they come in, and nobody's list is poisoned."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qrmd.testing.attack import Target, refusal, target
from qrmd.testing.web import web_client

HUGE = "9999999999999999999"
OUTSIDE = ("9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "1969-12-31T23:59:59Z", "2026-12-31T23:59:60Z")


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with target(tmp_path_factory.mktemp("values")) as running:
        yield running


@pytest.mark.parametrize("number", [2**63, -(2**63), int(HUGE)])
def test_integers_that_no_row_holds_are_refused(attacked: Target, number: int) -> None:
    admin = attacked.login("operator")
    for method in ("appliance.get", "image.get", "host.get", "storage.get", "network.get", "appliance.stop"):
        assert refusal(admin, method, str(number)).code in {400, 404}
    body = f"<value><i8>{number}</i8></value>"
    for method in ("appliance.get", "token.revoke", "appliance.explain", "cloud.user.get"):
        assert attacked.raw_code(method, body) == 400
    for method in ("appliance.list", "event.list", "workflow.list", "cloud.request.list", "token.list"):
        for name in ("id", "state", "subject"):
            where = f"<value><struct><member><name>{name}</name>{body}</member></struct></value>"
            listing = f"<value><struct><member><name>where</name>{where}</member></struct></value>"
            assert attacked.raw_code(method, listing) == 400
    assert refusal(admin, "token.revoke", HUGE).code == 400


@pytest.mark.parametrize("moment", OUTSIDE)
def test_a_time_out_of_range_is_refused_wherever_it_is_given(attacked: Target, moment: str) -> None:
    alice = attacked.login("alice")
    assert refusal(alice, "token.create", "far", moment).code == 400
    for name in ("start", "stop"):
        assert refusal(alice, "cloud.request.create", {"image": "im", name: moment}).code == 400
        assert refusal(alice, "cloud.request.plan", {"image": "im", name: moment}).code == 400


def test_the_last_moment_of_all_poisons_no_list(attacked: Target) -> None:
    alice, last = attacked.login("alice"), "9999-12-31T23:59:59.999999Z"
    alice.call("token.create", "last", last)
    request = attacked.order("alice", start=last)
    assert [each["expires_at"] for each in attacked.daemon.call("token.list")] == [last]
    assert [each["start"] for each in attacked.daemon.call("cloud.request.list")] == [last]
    alice.call("cloud.request.cancel", request)


def test_a_lease_that_ends_before_it_begins_is_refused(attacked: Target) -> None:
    lease = {"image": "im", "start": "2031-01-01T00:00:00Z", "stop": "2030-01-01T00:00:00Z"}
    assert refusal(attacked.login("alice"), "cloud.request.create", lease).code == 400


@pytest.mark.parametrize(
    "order", ["-", "--id", " id", "ID", "rowid", "id DESC", "id, (SELECT 1)", "password_hash", "-facts;"]
)
def test_lists_are_ordered_by_their_fields_only(attacked: Target, order: str) -> None:
    for noun in ("appliance", "resource", "image", "host", "storage", "network", "kernel", "workflow", "event", "user"):
        assert attacked.daemon.fault(f"{noun}.list", {"order": order}).code == 400, noun


def test_forms_refuse_what_verbs_refuse(attacked: Target) -> None:
    client = web_client(attacked.daemon)
    client.login("operator", "operator-password")
    for digits in ("9" * 30, "9" * 5000, "\u0661" * 5000):
        spec = {"spec.name": "digits", "spec.image": digits}
        assert client.submit("/appliances", "add", spec).status in {400, 404}
    assert client.submit("/tokens", "create", {"name": "no-plan", "plan": "1"}).status == 200


def test_a_namesake_has_no_answers_of_the_one_before(attacked: Target) -> None:
    daemon, made = attacked.daemon, []
    for number in range(2):
        daemon.call("user.add", "eve", "operator", "eve-password")
        network = {"name": f"eves-{number}", "bridge": f"brx{number}", "cidr": f"10.9{number}.0.0/24"}
        eve = attacked.login("eve")
        made.append(eve.call("network.add", network, {"key": "same"}))
        assert eve.call("network.add", network, {"key": "same"}) == made[-1]
        daemon.call("user.remove", "eve")
    assert len(set(made)) == 2


def test_a_plugin_is_left_or_withdrawn_not_both(attacked: Target) -> None:
    for verb in ("plugin.stop", "plugin.disable"):
        assert attacked.daemon.fault(verb, "cloud", {"leave": True, "withdraw": True}).code == 400
