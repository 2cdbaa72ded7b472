"""A third party's plugin that raises and hangs, and a mail server that is away: real distributions, real daemon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qrmd.testing.datacentre import DataCentre
from qrmd.testing.distributions import write_distribution
from qrmd.testing.journal import watch
from qrmd.testing.lab import smtp
from qrmd.testing.strikes import Asking, options
from qrmd.testing.waiting import wait_until

NAUGHTY = """
    from dataclasses import dataclass
    from pathlib import Path
    from threading import Event
    from twisted.internet.defer import Deferred
    from qrmd.api import Done, Manifest, OnFailure, Phase, Step, hookimpl

    @dataclass(frozen=True)
    class Config:
        order: str = ""

    class Do:
        name = "naughty.do"
        timeout = 3.0
        retries = 0

        def __init__(self, path):
            self.path = path

        async def do(self, ctx, args):
            order = self.path.read_text()
            if order == "raise in the action":
                raise ZeroDivisionError("naughty")
            if order == "hang in the action":
                await Deferred()
            if order == "hang in a thread":
                await ctx.call("naughty", self.hang)
            return Done()

        async def undo(self, ctx, args):
            return Done()

        def hang(self):
            while self.path.read_text() == "hang in a thread":
                Event().wait(0.05)

    class Plugin:
        manifest = Manifest("naughty", "Naughty", "Fails on order", "test")
        config_type, migrations = Config, None

        def __init__(self, services):
            self.path = Path(services.config.order)

        @hookimpl
        def register_actions(self):
            return [Do(self.path)]

        @hookimpl
        def appliance_start(self, view):
            order = self.path.read_text()
            if order == "raise in the planner":
                raise ZeroDivisionError("naughty")
            if order == "hold the daemon in the planner":
                import time
                time.sleep(60)
            if order.startswith("mail"):
                arguments = {"to": "ann@example.org", "subject": view.appliance.name, "template": "It runs."}
                return [Step("mail.send", arguments, Phase.ANNOUNCE, "tell Ann", on_failure=OnFailure.LATER)]
            later = OnFailure.LATER if order.endswith("later") else OnFailure.UNDO
            return [Step("naughty.do", {}, Phase.CONFIGURE, "be naughty", on_failure=later)]
"""


class Orders:
    """What the plugin is to do next."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.give("behave")

    def give(self, order: str) -> None:
        self.path.write_text(order)


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Orders:
    return Orders(tmp_path_factory.mktemp("orders") / "order")


@pytest.fixture(scope="module")
def centre(
    make_centre: Callable[..., DataCentre], orders: Orders, tmp_path_factory: pytest.TempPathFactory
) -> DataCentre:
    site = tmp_path_factory.mktemp("site")
    write_distribution(site, "naughty", "naughty_plugin", NAUGHTY)
    plugins = {"naughty": {"order": str(orders.path)}}
    made = make_centre(site=site, plugins=plugins, limits={"hold_seconds": 3.0})
    made.build()
    made.daemon.run_plugins("naughty")
    return made


def plugin_state(centre: DataCentre) -> str:
    found: str = centre.daemon.call("plugin.get", "naughty")["state"]
    return found


@pytest.fixture(autouse=True)
def _behaves(centre: DataCentre, orders: Orders) -> None:
    orders.give("behave")
    if not centre.daemon.alive:
        centre.daemon.start()
    if plugin_state(centre) != "started":
        centre.daemon.call("plugin.start", "naughty")


def test_it_is_asked_and_does_its_part(centre: DataCentre) -> None:
    appliance = centre.add_appliance(networks=())
    found = centre.daemon.finish("appliance.start", appliance)
    assert "naughty.do" in {step["action"] for step in found["steps"]}
    centre.give_back(appliance)
    assert centre.leftovers() == {}


def test_a_planner_that_raises_refuses_the_operation_and_changes_nothing(centre: DataCentre, orders: Orders) -> None:
    appliance = centre.add_appliance(networks=())
    orders.give("raise in the planner")
    fault = centre.daemon.fault("appliance.start", appliance)
    assert "naughty" in str(fault)
    assert centre.daemon.call("appliance.get", appliance)["state"] == "stopped"
    assert centre.leftovers() == {}
    orders.give("behave")
    if plugin_state(centre) != "started":
        centre.daemon.call("plugin.start", "naughty")
    centre.daemon.finish("appliance.start", appliance)
    centre.give_back(appliance)


@pytest.mark.parametrize("order", ["raise in the action", "hang in the action"])
def test_an_action_that_fails_undoes_the_start(centre: DataCentre, orders: Orders, order: str) -> None:
    appliance = centre.add_appliance(networks=())
    orders.give(order)
    workflow = centre.daemon.call("appliance.start", appliance)
    found = centre.daemon.wait(workflow, 90)
    assert found["state"] == "undone", found
    assert found["fault"]["message"]
    if order.startswith("raise"):
        assert "ZeroDivisionError" in found["fault"]["message"]
    assert centre.leftovers() == {}
    assert centre.audit()["clean"]
    centre.daemon.finish("appliance.remove", appliance)


def test_a_call_that_never_ends_is_stuck_by_name_and_can_be_retried(centre: DataCentre, orders: Orders) -> None:
    appliance = centre.add_appliance(networks=())
    orders.give("hang in a thread")
    workflow = centre.daemon.call("appliance.start", appliance)
    found = centre.daemon.wait(workflow, 90)
    assert found["state"] == "stuck", found
    assert "did not end" in found["fault"]["message"]
    orders.give("behave")
    centre.daemon.call("workflow.retry", workflow, {"reason": "it has ended now"})
    assert centre.daemon.wait(workflow)["state"] in {"done", "undone"}
    centre.give_back(appliance)
    assert centre.leftovers() == {}
    assert centre.audit()["clean"]


def test_a_planner_that_holds_the_daemon_is_quarantined_by_its_restart(centre: DataCentre, orders: Orders) -> None:
    daemon = centre.daemon
    appliance = centre.add_appliance(networks=())
    orders.give("hold the daemon in the planner")
    asking = Asking(daemon, "appliance.start", appliance, "", options())  # it ends itself during the call
    daemon.wait_killed(60)
    orders.give("behave")  # the client asks again
    daemon.start()
    assert plugin_state(centre) == "quarantined"
    assert daemon.wait(asking.answer())["state"] == "done"
    found = daemon.call("plugin.get", "naughty")
    assert "held" in found["fault"] or "hold" in found["fault"], found
    centre.give_back(appliance)
    assert centre.leftovers() == {}
    assert centre.audit()["clean"]


def kill_while_planning(centre: DataCentre, orders: Orders, appliance: int, then: str) -> int:
    """Kill the daemon while it plans a start; ``then`` is the planner's order when it runs again. The workflow's id."""
    daemon = centre.daemon
    orders.give("hold the daemon in the planner")
    with daemon.journal() as journal:
        before = journal.newest()
        asking = Asking(daemon, "appliance.start", appliance, "", options())
        workflow = watch(lambda: journal.find("appliance.start", before), 30.0, "the start")
        assert journal.state(workflow) == "planning"
        daemon.kill()
        assert journal.steps(workflow) == []
    orders.give(then)
    daemon.start()
    assert asking.answer() == workflow
    return workflow


def test_a_daemon_killed_while_it_plans_plans_again(centre: DataCentre, orders: Orders) -> None:
    """The reservations are rows then, the steps are not."""
    daemon, appliance = centre.daemon, centre.add_appliance()
    workflow = kill_while_planning(centre, orders, appliance, "behave")
    found = daemon.wait(workflow)
    assert found["state"] == "done"
    assert "naughty.do" in {step["action"] for step in found["steps"]}
    assert len(centre.leftovers()["leases"]) == 1
    centre.give_back(appliance)
    assert centre.leftovers() == {}
    assert centre.audit()["clean"]


def test_a_plan_that_a_restart_finds_refused_releases_its_reservations(centre: DataCentre, orders: Orders) -> None:
    daemon, appliance = centre.daemon, centre.add_appliance()
    workflow = kill_while_planning(centre, orders, appliance, "raise in the planner")
    assert daemon.wait(workflow)["state"] == "undone"
    shown = daemon.call("appliance.get", appliance)
    assert (shown["state"], shown["nics"]) == ("stopped", [])
    orders.give("behave")
    daemon.finish("appliance.remove", appliance)
    assert centre.leftovers() == {}
    assert centre.audit()["clean"]


def mails(centre: DataCentre, subject: str) -> list[Path]:
    found = centre.access.mail_dir.glob("*.eml")
    return [path for path in found if f"Subject: {subject}" in path.read_text(errors="replace")]


@pytest.mark.parametrize("mode", ["refuse", "mute", "gone"])
def test_a_mail_server_that_is_away_leaves_a_debt_that_is_paid(centre: DataCentre, orders: Orders, mode: str) -> None:
    daemon, name = centre.daemon, f"mail-{mode}"
    daemon.call("settings.set", {"smtp.host": centre.access.smtp_host, "smtp.port": centre.access.smtp_port})
    if mode == "gone":
        daemon.call("settings.set", {"smtp.port": 2526})
    else:
        smtp.set_mode(centre.access, mode)  # type: ignore[arg-type]
    orders.give("mail")
    appliance = centre.add_appliance(name, networks=())
    found = daemon.finish("appliance.start", appliance, timeout=120)
    assert "debt" in {step["state"] for step in found["steps"]}
    shown = daemon.call("appliance.get", appliance)
    assert shown["state"] == "active"
    assert shown["degraded"]
    assert [each["title"] for each in daemon.call("workflow.debts")] == ["tell Ann"]
    assert mails(centre, name) == []

    smtp.set_mode(centre.access, "accept")
    daemon.call("settings.set", {"smtp.port": centre.access.smtp_port})
    wait_until(lambda: mails(centre, name), timeout=90, what="the mail")
    wait_until(lambda: not daemon.call("workflow.debts"), timeout=30, what="the debt to be paid")
    assert not daemon.call("appliance.get", appliance)["degraded"]
    assert len(mails(centre, name)) == 1
    orders.give("behave")
    centre.give_back(appliance)
    assert centre.leftovers() == {}
