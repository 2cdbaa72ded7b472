"""kill -9 around the bill: while a line is written, and while a request that fits in part is half there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from qrmd.process import run
from qrmd.testing.customer import Customer
from qrmd.testing.datacentre import DataCentre, data_centre
from qrmd.testing.journal import Journal, watch
from qrmd.testing.needs import require
from qrmd.testing.strikes import Asking, deadly, options
from qrmd.testing.waiting import wait_until

require("strace")

FIT, ASKED = 2, 3


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataCentre]:
    """With two addresses to give out; a ledger line is written every few seconds."""
    cloud = {"stop_seconds": 1, "line_seconds": 1}
    directory = tmp_path_factory.mktemp("bills")
    with data_centre(f"b{os.getpid()}", directory, range_size=FIT, plugins={"cloud": cloud}) as made:
        yield made


@pytest.fixture(scope="module")
def customer(centre: DataCentre) -> Customer:
    return Customer(centre)


def charges(journal: Journal) -> int:
    return int(journal.db.value("SELECT count(*) FROM cloud_ledger WHERE kind = 'charge'"))


def wait_for_lines(centre: DataCentre, more: int) -> None:
    """Until the ledger has so many lines more."""
    with centre.daemon.journal() as journal:
        before = charges(journal)
        wait_until(lambda: charges(journal) >= before + more, timeout=60, what="lines of the ledger")


def test_bills_survive_kills_before_in_and_after_their_writing(
    centre: DataCentre, customer: Customer, tmp_path: Path
) -> None:
    """One server all the time. Death on the way into a sync, and right after a line was committed."""
    daemon, request = centre.daemon, customer.order()
    customer.activate(request)
    customer.check_active(request)
    with deadly(daemon, "fdatasync", 1, tmp_path / "calls"):
        daemon.wait_killed(60)
    daemon.start()
    kill_at_a_line(centre)
    daemon.start()
    wait_for_lines(centre, 1)
    customer.check_active(request)
    customer.give_back(request)


def kill_at_a_line(centre: DataCentre) -> None:
    """As soon as it can be seen from outside."""
    with centre.daemon.journal() as journal:
        before = charges(journal)
        watch(lambda: charges(journal) > before, 60.0, "a line of the ledger")
        centre.daemon.kill()


@contextmanager
def held(centre: DataCentre, name: str) -> Iterator[None]:
    """While inside, a guest that boots stands still; at the end it goes on."""
    virsh = ["virsh", "--connect", centre.access.libvirt_uri]
    domain = next(each for each in centre.outside().domains if each.endswith(name))
    run([*virsh, "suspend", domain], timeout=20)
    try:
        yield
    finally:
        run([*virsh, "resume", domain], timeout=20)


def test_a_partial_request_killed_half_way_has_as_many_servers_as_fit(centre: DataCentre, customer: Customer) -> None:
    """Three are asked for, there are addresses for two: one is active, one is not when the daemon dies, twice."""
    daemon, request = centre.daemon, customer.order(quantity=ASKED, partial=True)
    with daemon.journal() as journal:
        before = journal.newest()
        asking = Asking(daemon, "cloud.request.approve", request, options())
        one = wait_until(lambda: journal.find("appliance.start", before), timeout=30, what="the first server")
        two = wait_until(lambda: journal.find("appliance.start", one), timeout=30, what="the second server")
        state = journal.step_state
        wait_until(lambda: state(two, "core.await_answer") == "waiting", timeout=30, what="the second guest")
        with held(centre, f"cloud-{request}-2"):
            wait_until(lambda: journal.state(one) == "done", timeout=60, what="the first to be active")
            for _ in range(2):
                assert (journal.state(one), journal.state(two)) == ("done", "running")
                daemon.kill()
                daemon.start()
    daemon.wait(asking.answer())
    customer.check_active(request, FIT)
    found = customer.get(request)
    assert [each["state"] for each in found["servers"]] == ["active"] * FIT + ["removed"]
    price = Decimal(customer.account()["price_per_hour"])
    assert price == FIT * Decimal(found["price_per_server_hour"])
    customer.give_back(request)
