"""kill -9 around each step of a cloud request, from approval to the last bill: no server, mail or charge too many."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from qrmd.testing.datacentre import GUEST_MB, IMAGE, DataCentre
from qrmd.testing.journal import Journal
from qrmd.testing.lab import lab
from qrmd.testing.strikes import Point, Reached, options, settle, strike
from qrmd.testing.waiting import wait_until

USER, CREDIT = "carla", Decimal(1000)


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataCentre]:
    """With the cloud, a user and a mail server."""
    directory: Path = tmp_path_factory.mktemp("cloud")
    access = lab.up(f"k{os.getpid()}")
    try:
        made = DataCentre(access, directory)
        try:
            made.build()
            daemon = made.daemon
            daemon.run_plugins("cloud")
            mail = {"smtp.host": access.smtp_host, "smtp.port": access.smtp_port, "mail.from": "qrmd@example.org"}
            daemon.call("settings.set", mail)
            daemon.call("cloud.user.add", {"name": USER, "email": "carla@example.org"})
            daemon.call("cloud.user.set_ccus", USER, str(CREDIT), {"reason": "for tests"})
            yield made
        finally:
            made.close()
    finally:
        lab.down(access.name)


def child_at(point: Point) -> Reached:
    """The start of the request's server is there, not the request itself."""

    def look(journal: Journal, workflow: int) -> bool:
        child = journal.find("appliance.start", workflow)
        return bool(child) and journal.step_state(child, point.action) == point.state

    return look


def over(journal: Journal, workflow: int) -> bool:
    return journal.state(workflow) == "done"


def begun(journal: Journal, workflow: int) -> bool:
    return bool(journal.state(workflow))


PROVISION: dict[str, Reached] = {
    "begun": begun,
    "make-servers": Point("cloud.make_servers").reached({}),
    "child-disk": child_at(Point("core.provide_disk")),
    "child-power": child_at(Point("core.power_on")),
    "child-answer": child_at(Point("core.await_answer", "waiting")),
    "mail": Point("mail.send").reached({}),
    "done": over,
}
DEPROVISION: dict[str, Reached] = {
    "begun": begun,
    "remove-servers": Point("cloud.remove_servers").reached({}),
    "waiting": Point("cloud.remove_servers", "waiting").reached({}),
    "mail": Point("mail.send").reached({}),
    "done": over,
}


@pytest.mark.parametrize("moment", PROVISION)
def test_a_request_survives_a_kill_while_it_is_provisioned(centre: DataCentre, moment: str) -> None:
    request = order(centre)
    strike(centre.daemon, "cloud.provision", PROVISION[moment], "cloud.request.approve", request, options())
    settle(centre.daemon)
    check_active(centre, request)
    centre.daemon.finish("cloud.request.deprovision", request, options())
    check_over(centre, request)


@pytest.mark.parametrize("moment", DEPROVISION)
def test_a_request_survives_a_kill_while_it_is_given_back(centre: DataCentre, moment: str) -> None:
    request = order(centre)
    centre.daemon.wait(centre.daemon.call("cloud.request.approve", request, options()))
    check_active(centre, request)
    asked = options()
    strike(centre.daemon, "cloud.deprovision", DEPROVISION[moment], "cloud.request.deprovision", request, asked)
    check_over(centre, request)


def order(centre: DataCentre) -> int:
    wanted = {"image": IMAGE, "memory_mb": GUEST_MB, "user": USER}
    ident: int = centre.daemon.call("cloud.request.create", wanted, options())
    return ident


def check_active(centre: DataCentre, request: int) -> None:
    """One server, one machine, one mail that says so."""
    found = centre.daemon.call("cloud.request.get", request)
    assert found["state"] == "active", found
    assert [each["state"] for each in found["servers"]] == ["active"]
    assert {kind: len(each) for kind, each in centre.leftovers().items() if kind in {"domains", "guests"}} == {
        "domains": 1,
        "guests": 1,
    }
    assert found["servers"][0]["address"] in " ".join(centre.leftovers()["leases"])
    assert centre.audit()["clean"]
    account = centre.daemon.call
    wait_until(lambda: Decimal(account("cloud.account.get", USER)["unbilled"]) > 0, what="a second to bill")


def check_over(centre: DataCentre, request: int) -> None:
    """Nothing is left, nothing is held, and the ledger says each second once."""
    settle(centre.daemon)
    assert centre.daemon.call("cloud.request.get", request)["state"] == "done"
    assert centre.audit()["clean"]
    assert centre.leftovers() == {}
    account = centre.daemon.call("cloud.account.get", USER)
    assert Decimal(account["held"]) == 0
    lines = centre.daemon.call("cloud.account.transactions", {}, USER)
    check_ledger(lines, request)
    assert Decimal(account["balance"]) == sum(Decimal(each["amount"]) for each in lines)


def check_ledger(lines: list[dict[str, Any]], request: int) -> None:
    """Charges of a server follow each other without overlap; the balance after each line is the sum so far."""
    mine = [each for each in lines if each["request"] == request and each["kind"] == "charge"]
    assert mine, "it ran, so it is billed"
    assert max(Counter((each["server"], each["from"]) for each in mine).values()) == 1
    spans = sorted((each["server"], each["from"], each["to"]) for each in mine)
    for one, two in pairwise(spans):
        assert one[0] != two[0] or one[2] <= two[1], f"charged twice: {one} {two}"
    total = Decimal(0)
    for each in lines:
        total += Decimal(each["amount"])
        assert Decimal(each["balance"]) == total
