"""kill -9 around each step of a cloud request, from approval to its end: no server, mail or charge too many."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import zip_longest

import pytest

from qrmd.cli.connection import CallFailed
from qrmd.testing.customer import Customer, check_letter
from qrmd.testing.datacentre import DataCentre, data_centre
from qrmd.testing.journal import Journal, watch
from qrmd.testing.lab import smtp
from qrmd.testing.strikes import (
    ATTEMPTS,
    Asking,
    Point,
    Reached,
    options,
    strike,
    strike_again,
    strike_workflow,
    uncovered,
)
from qrmd.testing.waiting import wait_until

SENT = Point("mail.send", "running", "mail/*.eml")
READY, GIVEN_BACK = "ready", "given back"


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataCentre]:
    cloud = {"stop_seconds": 1}
    with data_centre(f"k{os.getpid()}", tmp_path_factory.mktemp("cloud"), plugins={"cloud": cloud}) as made:
        yield made


@pytest.fixture(scope="module")
def customer(centre: DataCentre) -> Customer:
    return Customer(centre)


def begun(journal: Journal, workflow: int) -> bool:
    return bool(journal.state(workflow))


def over(journal: Journal, workflow: int) -> bool:
    return journal.state(workflow) == "done"


def child_at(operation: str, action: str, state: str = "running") -> Reached:
    """The child operation of the request's server is there, not the request itself."""

    def look(journal: Journal, workflow: int) -> bool:
        child = journal.find(operation, workflow)
        return bool(child) and journal.step_state(child, action) == state

    return look


PROVISION: dict[str, Point | Reached] = {
    "begun": begun,
    "make-servers": Point("cloud.make_servers"),
    "child-disk": child_at("appliance.start", "core.provide_disk"),
    "child-power": child_at("appliance.start", "core.power_on"),
    "child-answer": child_at("appliance.start", "core.await_answer", "waiting"),
    "mail": Point("mail.send"),
    "mail-sent": SENT,
    "done": over,
}
DEPROVISION: dict[str, Point | Reached] = {
    "begun": begun,
    "remove-servers": Point("cloud.remove_servers"),
    "waiting": Point("cloud.remove_servers", "waiting"),
    "child-off": child_at("appliance.stop", "core.shut_down", "waiting"),
    "child-undefine": child_at("appliance.stop", "core.undefine_machine"),
    "child-release": child_at("appliance.stop", "dnsmasq.release"),
    "child-disk": child_at("appliance.remove", "core.remove_disk"),
    "mail": Point("mail.send"),
    "mail-sent": SENT,
    "done": over,
}
MOMENTS = list(zip_longest(PROVISION, DEPROVISION, fillvalue="done"))


def test_each_step_of_a_request_has_its_moments(centre: DataCentre, customer: Customer) -> None:
    """The workflows say which steps there were; what their servers' own workflows do is struck beside."""
    request, daemon = customer.order(), centre.daemon
    customer.activate(request)
    customer.check_active(request)
    customer.give_back(request)
    with daemon.journal() as journal:
        for operation, moments in (("cloud.provision", PROVISION), ("cloud.deprovision", DEPROVISION)):
            actions = [each.action for each in journal.steps(journal.find(operation, 0))]
            points = [each for each in moments.values() if isinstance(each, Point)]
            assert len(actions) == 2
            assert uncovered(actions, points, quiet={"cloud.make_servers", "cloud.remove_servers"}) == []


@pytest.mark.parametrize(("beginning", "end"), MOMENTS)
def test_a_request_survives_a_kill_at_each_of_its_ends(customer: Customer, beginning: str, end: str) -> None:
    for _ in range(ATTEMPTS):
        request = customer.order()
        first = strike_request(customer, request, "provision", "approve", PROVISION[beginning])
        customer.check_active(request)
        check_letter(customer.letters(f"request {request} are {READY}"), 2 if beginning.startswith("mail") else 1)
        second = strike_request(customer, request, "deprovision", "deprovision", DEPROVISION[end])
        customer.check_over(request)
        check_letter(customer.letters(f"request {request} are {GIVEN_BACK}"), 2 if end.startswith("mail") else 1)
        if first and second:
            if beginning == "mail-sent":
                assert len(customer.letters(f"request {request} are {READY}")) == 2
            return
    raise AssertionError(f"a moment was missed {ATTEMPTS} times: {beginning} {first}, {end} {second}")


def strike_request(customer: Customer, request: int, operation: str, verb: str, moment: Point | Reached) -> bool:
    """Strike a request's workflow; returns whether it was met there."""
    reached = moment.reached(customer.centre.roots) if isinstance(moment, Point) else moment
    asked = (f"cloud.request.{verb}", request, options())
    _, said = strike(customer.centre.daemon, f"cloud.{operation}", reached, *asked)
    return moment.was_hit(said) if isinstance(moment, Point) else True


def test_a_mail_cut_off_in_the_middle_is_sent_once(centre: DataCentre, customer: Customer) -> None:
    """The mail server has taken the connection and says nothing when the daemon dies."""
    request, daemon = customer.order(), centre.daemon
    smtp.set_mode(centre.access, "mute")
    try:
        sending = Point("mail.send").reached({})
        strike(daemon, "cloud.provision", sending, "cloud.request.approve", request, options())
    finally:
        smtp.set_mode(centre.access, "accept")
    customer.check_active(request)
    wait_until(lambda: customer.letters(f"request {request} are {READY}"), timeout=90, what="the mail")
    wait_until(lambda: not daemon.call("workflow.debts"), timeout=90, what="no debts")
    check_letter(customer.letters(f"request {request} are {READY}"), 1)
    customer.give_back(request)


def test_a_kill_while_a_debt_is_paid_mails_the_same_again(centre: DataCentre, customer: Customer) -> None:
    daemon = centre.daemon
    for _ in range(ATTEMPTS):
        smtp.set_mode(centre.access, "refuse")
        request = customer.order()
        customer.activate(request)
        assert len(daemon.call("workflow.debts")) == 1
        hit = strike_debt(customer, request)
        wait_until(lambda: not daemon.call("workflow.debts"), timeout=120, what="the debt to be paid")
        customer.check_active(request)
        letters = customer.letters(f"request {request} are {READY}")
        check_letter(letters, 2)
        assert "Password:" in letters[-1].get_content()
        customer.give_back(request)
        if hit:
            assert len(letters) == 2
            return
    raise AssertionError(f"the moment was missed {ATTEMPTS} times")


def strike_debt(customer: Customer, request: int) -> bool:
    """Kill the daemon when the mail server has the mail that was owed, and start it again."""
    daemon, access = customer.centre.daemon, customer.centre.access
    before = set(access.mail_dir.glob("*.eml"))
    with daemon.journal() as journal:
        workflow = customer.get(request)["workflow"]
        smtp.set_mode(access, "accept")
        watch(lambda: set(access.mail_dir.glob("*.eml")) != before, 120.0, "the mail")
        daemon.kill()
        hit = journal.step_state(workflow, "mail.send") == "debt"
    daemon.start()
    return hit


@pytest.mark.parametrize("operation", ["provision", "deprovision"])
def test_a_request_survives_two_kills_in_a_row(customer: Customer, operation: str) -> None:
    request = customer.order()
    if operation == "provision":
        strike_twice(customer, operation, "cloud.make_servers", lambda: ("cloud.request.approve", request, options()))
        customer.check_active(request)
        customer.give_back(request)
        return
    customer.activate(request)
    customer.check_active(request)
    asked = ("cloud.request.deprovision", request, options())
    strike_twice(customer, operation, "cloud.remove_servers", lambda: asked)
    customer.check_over(request)


def strike_twice(customer: Customer, operation: str, action: str, asked: Callable[[], tuple[object, ...]]) -> None:
    daemon = customer.centre.daemon
    with daemon.journal() as journal:
        before = journal.newest()
        method, *arguments = asked()
        asking = Asking(daemon, str(method), *arguments)
        workflow = watch(lambda: journal.find(f"cloud.{operation}", before), 30.0, operation)
        strike_workflow(daemon, journal, workflow, Point(action).reached({}))
    strike_again(daemon, workflow, action)
    daemon.start()
    with suppress(CallFailed):  # its second death may have met the call
        assert asking.answer() == workflow
