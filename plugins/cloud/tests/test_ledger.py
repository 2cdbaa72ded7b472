"""The ledger in the real store: append-only, never below zero, recomputed to the last digit."""

from __future__ import annotations

import random
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from qrmd.api import SECOND, InvalidInput, NoCapacity, now_us
from qrmd.testing.loop import Loop
from qrmd_cloud import billing, decisions
from qrmd_cloud.actions import note_dropped
from qrmd_cloud.billing import Due
from qrmd_cloud.limits import Amounts
from qrmd_cloud.model import LineKind, MarkKind
from qrmd_cloud.money import MICRO
from qrmd_cloud.rules import Rules
from qrmd_cloud.states import RequestState
from qrmd_cloud.store import bills, ledger, mails, meter, requests, servers
from qrmd_cloud.testing import ADMIN, HOUR, Town, request


def lines_of(town: Town, user: int) -> list[Any]:
    return town.do(lambda db: db.rows("SELECT * FROM cloud_ledger WHERE user_id = ? ORDER BY id", (user,)))


@pytest.mark.parametrize("table", ["cloud_ledger", "cloud_marks"])
@pytest.mark.parametrize(
    "deed", ["UPDATE {0} SET at = 1", "DELETE FROM {0}", "INSERT OR REPLACE INTO {0} SELECT * FROM {0} WHERE id = 1"]
)
def test_history_is_append_only(town: Town, table: str, deed: str) -> None:
    ident = town.active(town.user(), now_us() - HOUR)
    town.do(bills.settle, ident, now_us(), town.rules, whole=True)
    with pytest.raises(Exception, match=r"append-only|not the sum"):
        town.do(lambda db: db.execute(deed.format(table)))
    assert town.do(bills.settle, ident, now_us(), town.rules, whole=True) < MICRO


def test_a_line_that_does_not_sum_or_goes_below_zero_is_refused_by_the_database(town: Town) -> None:
    user = town.user(ccus=5)
    sql = (
        "INSERT INTO cloud_ledger (user_id, at, kind, amount_micro, balance_micro, actor, reason)"
        " VALUES (?, 1, 'debit', ?, ?, '', '')"
    )
    for amount, balance, why in ((-1, 5 * MICRO, "not the sum"), (-6 * MICRO, -MICRO, "balance_micro >= 0")):
        with pytest.raises(Exception, match=why):
            town.do(lambda db, a=amount, b=balance: db.execute(sql, (user, a, b)))
    assert town.do(ledger.balance, user) == 5 * MICRO


def test_a_from_time_of_a_server_is_charged_once(town: Town) -> None:
    ident = town.active(town.user(), now_us() - HOUR)
    (server,) = town.do(servers.of_request, ident)
    bill = ledger.Bill(town.do(requests.get, ident), server.id)
    due = Due(LineKind.CHARGE, 10, 10, 20, 1)
    town.do(ledger.append, bill, due, 0, "")
    with pytest.raises(Exception, match="UNIQUE"):
        town.do(ledger.append, bill, due, 0, "")


def test_giving_and_taking(town: Town) -> None:
    user = town.user(ccus=10)
    town.do(ledger.give, user, -4 * MICRO, "user:admin", "too much")
    assert town.do(ledger.balance, user) == 6 * MICRO
    with pytest.raises(InvalidInput):
        town.do(ledger.give, user, -7 * MICRO, "user:admin", "more than there is")
    assert [row["kind"] for row in lines_of(town, user)] == ["credit", "debit"]


def test_an_hour_costs_an_hour_and_two_looks_cost_no_more(town: Town) -> None:
    user, now = town.user(), now_us()
    ident = town.active(user, now - HOUR)
    assert town.do(bills.settle, ident, now, town.rules, whole=True) == 4 * MICRO
    assert town.do(bills.settle, ident, now, town.rules, whole=True) == 0
    assert town.do(ledger.balance, user) == 996 * MICRO


def test_nothing_is_billed_before_it_is_active(town: Town) -> None:
    user, now = town.user(), now_us()
    ident = town.order(user)
    town.approve(ident)
    town.do(requests.move, ident, RequestState.PROVISIONING)
    (server,) = town.do(servers.of_request, ident)
    town.do(meter.mark, server.id, now - HOUR, MarkKind.ON, "its appliance came first")
    assert town.do(bills.settle, ident, now, town.rules, whole=True) == 0
    assert town.do(ledger.balance, user) == 1000 * MICRO


def test_the_price_is_frozen_at_approval(town: Town) -> None:
    user, now = town.user(), now_us()
    ident = town.active(user, now - HOUR)
    town.do(lambda db: db.execute("UPDATE cloud_products SET price_micro = price_micro * 100"))
    assert town.do(bills.settle, ident, now, town.rules, whole=True) == 4 * MICRO


def test_holds_cover_a_day_and_shrink_by_what_is_billed_out_of_them(town: Town) -> None:
    user, now = town.user(ccus=100), now_us()
    ident = town.active(user, now - HOUR)
    assert town.do(ledger.hold_of, ident) == 96 * MICRO
    town.do(bills.settle, ident, now, town.rules, whole=True)
    assert town.do(ledger.balance, user) == 96 * MICRO
    assert town.do(ledger.hold_of, ident) == 96 * MICRO  # renewed
    assert town.do(ledger.available, user) == 0


@pytest.mark.parametrize("hours", [0, 10], ids=["open end", "a lease"])
def test_what_a_partial_request_goes_without_is_free_at_that_instant(town: Town, hours: int) -> None:
    price = 4 * (hours or 24)
    user, stop = town.user(ccus=3 * price), now_us() + hours * HOUR if hours else 0
    ident = town.order(user, quantity=3, partial=True, stop_at=stop)
    town.approve(ident)
    town.do(requests.move, ident, RequestState.PROVISIONING)
    assert town.do(ledger.available, user) < 1 * MICRO
    for left in (2, 1):
        server = town.do(servers.of_request, ident)[left]
        town.do(note_dropped, server, {"message": "512 memory_mb are missing"}, town.rules)
        assert town.do(ledger.hold_of, ident) <= left * price * MICRO
        assert town.do(ledger.available, user) >= (3 - left) * price * MICRO
        town.do(note_dropped, server, {"message": "seen again after a crash"}, town.rules)
        assert len(town.do(servers.of_request, ident)) == left
    town.order(user, stop_at=stop)


def test_a_hold_that_was_less_already_does_not_grow_with_a_drop(town: Town) -> None:
    user = town.user(ccus=1000)
    ident = town.order(user, quantity=2, partial=True)
    town.approve(ident)
    town.do(requests.move, ident, RequestState.PROVISIONING)
    town.do(ledger.set_hold, town.do(requests.get, ident), 5 * MICRO)
    town.do(note_dropped, town.do(servers.of_request, ident)[1], {"message": "no room"}, town.rules)
    assert town.do(ledger.hold_of, ident) == 5 * MICRO


def test_approval_without_ccus_names_what_is_missing_and_changes_nothing(town: Town) -> None:
    user = town.user(ccus=96)
    first, second = town.order(user), town.order(user)
    town.approve(first)
    with pytest.raises(NoCapacity) as raised:
        town.approve(second)
    assert raised.value.data["missing"] == {"ccus": "96"}
    assert town.do(requests.get, second).state == "new"
    assert town.do(ledger.hold_of, second) == 0
    with pytest.raises(NoCapacity):
        town.order(user)


def test_fifty_approvals_at_once_with_ccus_for_thirty(town: Town, loop: Loop) -> None:
    user = town.user(ccus=30 * 96)
    idents = [town.order(user) for _ in range(50)]
    town.store.start()

    def approve(ident: int) -> Deferred[bool]:
        found = town.store.write(decisions.approve, ident, town.rules, "user:admin", "")
        return found.addCallbacks(lambda _answer: True, lambda failure: failure.trap(NoCapacity) is None)

    answers: list[list[bool]] = []
    gatherResults([approve(ident) for ident in idents]).addCallback(answers.append)
    loop.run_until(lambda: bool(answers), what="fifty approvals")
    assert answers[0].count(True) == 30
    states: list[list[str]] = []
    town.store.read(
        lambda db: [db.value("SELECT state FROM cloud_requests WHERE id = ?", (i,)) for i in idents]
    ).addCallback(states.append)
    loop.run_until(lambda: bool(states), what="the states")
    assert states[0].count("approved") == 30
    assert states[0].count("new") == 20


def test_limits_are_exact_under_concurrent_approvals(town: Town, loop: Loop) -> None:
    rich = Amounts(servers=7)
    user = town.user(ccus=100_000)
    idents = [town.order(user) for _ in range(20)]
    town.do(lambda db: db.execute("UPDATE cloud_users SET limit_servers = ?", (rich.servers,)))
    town.store.start()
    outcomes: list[bool] = []
    for ident in idents:
        found = town.store.write(decisions.approve, ident, town.rules, "user:admin", "")
        found.addCallbacks(lambda _a: outcomes.append(True), lambda f: outcomes.append(f.trap(NoCapacity) is None))
    loop.run_until(lambda: len(outcomes) == 20, what="twenty approvals")
    assert outcomes.count(True) == 7


def test_a_limit_holds_at_the_order_already(town: Town) -> None:
    user = town.user(limits=Amounts(servers=3, memory_mb=512))
    with pytest.raises(NoCapacity) as raised:
        town.order(user, quantity=4)
    assert raised.value.data["missing"] == {"servers": 1}
    with pytest.raises(NoCapacity) as raised:
        town.order(user, quantity=3)
    assert raised.value.data["missing"] == {"memory_mb": 256}
    town.order(user, quantity=2)
    with pytest.raises(NoCapacity):
        town.order(user)


def test_the_last_line_is_cut_to_what_there_is_and_the_meter_stops(town: Town) -> None:
    user, now = town.user(ccus=96), now_us()
    ident = town.active(user, now - 30 * HOUR)
    assert town.do(bills.settle, ident, now, town.rules) == 96 * MICRO
    assert town.do(ledger.balance, user) == 0
    request_row = town.do(requests.get, ident)
    assert request_row.exhausted_at == now
    (server,) = town.do(servers.of_request, ident)
    assert billing.intervals(town.do(meter.marks, server.id))[-1].end == now
    (line,) = town.do(ledger.of_server, server.id)
    assert line.waived_micro == 24 * MICRO
    assert line.amount_micro == billing.expected(line)
    assert town.do(bills.settle, ident, now + HOUR, town.rules) == 0
    assert town.do(servers.unpaid) == [server.appliance_id]


def test_mail_at_a_low_balance_once_and_again_after_it_was_filled_up(town: Town) -> None:
    user, now = town.user(ccus=120), now_us()
    ident = town.active(user, now - HOUR)

    def kinds() -> list[str]:
        return town.do(lambda db: [row["template"] for row in db.rows("SELECT template FROM cloud_mails")])

    town.do(bills.settle, ident, now, town.rules, whole=True)
    assert kinds() == []
    town.do(bills.settle, ident, now + 8 * HOUR, town.rules, whole=True)
    town.do(bills.settle, ident, now + 9 * HOUR, town.rules, whole=True)
    assert kinds() == ["low_balance"]
    town.do(ledger.give, user, 500 * MICRO, "user:admin", "")
    town.do(bills.settle, ident, now + 10 * HOUR, town.rules, whole=True)
    assert town.do(requests.get, ident).warned_at == 0
    assert len(town.do(mails.queued)) == 1


def test_ccus_in_the_grace_end_it(town: Town) -> None:
    user, now = town.user(ccus=96), now_us()
    ident = town.active(user, now - 30 * HOUR)
    town.do(bills.settle, ident, now, town.rules)
    grace = town.rules.grace_seconds * SECOND
    assert town.do(requests.ending, now + grace, grace) == [(ident, "no CCUs, and the grace is over")]
    town.do(ledger.give, user, 50 * MICRO, "user:admin", "")
    town.do(bills.settle, ident, now + HOUR, town.rules)
    assert town.do(requests.get, ident).exhausted_at == 0
    assert town.do(requests.ending, now + grace, grace) == []


def test_a_request_never_spends_what_another_one_holds(town: Town) -> None:
    user, now = town.user(ccus=96 * 2), now_us()
    greedy = town.active(user, now - 60 * HOUR)
    modest = town.active(user, now)
    town.do(bills.settle, greedy, now, town.rules)
    assert town.do(ledger.hold_of, modest) == 96 * MICRO
    assert town.do(ledger.balance, user) == 96 * MICRO
    assert town.do(requests.get, greedy).exhausted_at == now


def test_concurrent_bills_never_go_below_zero(town: Town, loop: Loop) -> None:
    user, now = town.user(ccus=96 * 5 + 7), now_us()
    idents = [town.active(user, now - 50 * HOUR) for _ in range(5)]
    town.store.start()
    finished: list[int] = []
    for ident in idents * 10:
        town.store.write(bills.settle, ident, now, town.rules).addCallback(finished.append)
    loop.run_until(lambda: len(finished) == 50, what="fifty bills")
    balances: list[list[int]] = []
    town.store.read(lambda db: [row[0] for row in db.rows("SELECT balance_micro FROM cloud_ledger")]).addCallback(
        balances.append
    )
    loop.run_until(lambda: bool(balances), what="the balances")
    assert sum(finished) == (96 * 5 + 7) * MICRO
    assert balances[0][-1] == 0
    assert min(balances[0]) == 0


@pytest.mark.parametrize("seed", range(8))
def test_the_bill_is_recomputed_to_the_last_digit(town: Town, seed: int) -> None:
    """A month of stops, faults, late events and looks at odd times; then from the marks alone."""
    luck = random.Random(seed)  # noqa: S311 - a story, not a secret
    user, start = town.user(ccus=10**6), now_us() - 720 * HOUR
    town.do(lambda db: db.execute("UPDATE cloud_products SET price_micro = ?", (luck.randrange(1, 9_999_999),)))
    idents = [town.active(user, start + luck.randrange(HOUR), quantity=luck.randrange(1, 4)) for _ in range(3)]
    at = start + HOUR
    while at < start + 720 * HOUR:
        at += luck.randrange(20 * HOUR)
        ident = luck.choice(idents)
        server = luck.choice(town.do(servers.of_request, ident))
        late = at - luck.randrange(2 * HOUR)
        town.do(meter.mark, server.id, late, luck.choice([MarkKind.ON, MarkKind.OFF]), "story")
        town.do(bills.settle, ident, at, town.rules, whole=luck.random() < 0.3)
    end, expected = at + HOUR, 0
    for ident in idents:
        town.do(bills.settle, ident, end, town.rules, whole=True)
        price = town.do(requests.get, ident).price_micro
        for server in town.do(servers.of_request, ident):
            expected += billing.recompute(price, billing.intervals(town.do(meter.marks, server.id)), end)
            assert all(line.amount_micro == billing.expected(line) for line in town.do(ledger.of_server, server.id))
    assert town.do(ledger.balance, user) == 10**6 * MICRO - expected
    assert sum(row["amount_micro"] for row in lines_of(town, user)) == town.do(ledger.balance, user)


def test_an_extension_holds_what_it_costs(town: Town) -> None:
    user, now = town.user(ccus=20), now_us()
    ident = town.active(user, now, start_at=now, stop_at=now + 2 * HOUR)
    assert town.do(ledger.hold_of, ident) == 8 * MICRO
    town.do(decisions.extend, ident, now + 4 * HOUR, town.rules, "cloud:bob", "")
    assert town.do(ledger.hold_of, ident) == 16 * MICRO
    with pytest.raises(NoCapacity):
        town.do(decisions.extend, ident, now + 9 * HOUR, town.rules, "cloud:bob", "")
    assert town.do(requests.get, ident).stop_at == now + 4 * HOUR


def test_a_free_price_list_bills_and_stops_nothing(town: Town) -> None:
    town.do(lambda db: db.execute("DELETE FROM cloud_products"))
    user, now = town.user(ccus=0), now_us()
    ident = town.active(user, now - HOUR)
    assert town.do(bills.settle, ident, now, Rules(), whole=True) == 0
    assert town.do(requests.get, ident).exhausted_at == 0


def test_an_order_refused_leaves_nothing(town: Town) -> None:
    user = town.user(ccus=1)
    with pytest.raises(NoCapacity):
        town.do(decisions.create, request(user), town.rules, ADMIN, ())
    assert town.do(lambda db: db.value("SELECT COUNT(*) FROM cloud_requests")) == 0
