"""Forms beside the rows of a table: each shows its plan, for its own row, and does it from there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qrmd.testing.chromium import Chromium, Tab
from qrmd.testing.daemon import Daemon
from qrmd.testing.needs import require
from qrmd.testing.sites import CARLA, log_in, password_of, running_sites
from qrmd.testing.waiting import wait_until

require("chromium")

OPENED = "[...document.querySelectorAll('tbody details[open] summary')].map(each => each.textContent)"
PLAN = "document.querySelector('#plan').innerText"
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """With something in each table: users, kernels, tokens, prices, and two servers of carla."""
    directory = tmp_path_factory.mktemp("rows")
    with running_sites(directory, cloud=True) as running:
        for name in ("abel", "zoe"):
            running.call("user.add", name, "readonly", password_of(name))
        running.call("kernel.add", {"name": "rescue", "path": str(directory / "disk.raw")})
        for name in ("backup", "report"):
            running.call("token.create", name)
        running.call("cloud.user.set_ccus", "carla", "1000")
        order = {"user": "carla", "image": "small", "memory_mb": 256, "quantity": 2, "hostname": "shop"}
        running.finish("cloud.request.approve", running.call("cloud.request.create", order))
        yield running


@pytest.fixture(scope="module")
def browser(daemon: Daemon) -> Iterator[Chromium]:
    with Chromium(daemon.ca_file) as running:
        yield running


@pytest.fixture(scope="module")
def admin(daemon: Daemon, browser: Chromium) -> Tab:
    return log_in(browser.open(), f"https://127.0.0.1:{daemon.port}/", "administrator", password_of("administrator"))


@pytest.fixture(scope="module")
def carla(daemon: Daemon, browser: Chromium) -> Tab:
    return log_in(browser.open(), f"https://127.0.0.1:{daemon.portal_port}/", "carla", CARLA)


def newest(daemon: Daemon) -> int:
    return int(daemon.call("event.list", {"order": "-id", "limit": 1})[0]["id"])


def plan(daemon: Daemon, tab: Tab, path: str, form: str, **fields: str) -> None:
    """Ask a form for its plan; nothing has changed then, and that row alone is open."""
    port = daemon.portal_port if path == "/servers" else daemon.port
    before, tab.complaints[:] = newest(daemon), []
    tab.go(f"https://127.0.0.1:{port}{path}")
    tab.click(f"td details:has(#{form}) > summary")
    for name, value in fields.items():
        tab.fill(f"#{form} [name='{name.replace('__', '.')}']", value)
    tab.press(f"#{form} button[name=plan]")
    assert newest(daemon) == before
    assert len(tab.run(OPENED)) == 1
    assert tab.run(f"document.querySelector('details[open] #{form}') !== null")
    assert tab.run(WIDER) == 0
    assert tab.complaints == []


@pytest.mark.parametrize(
    ("path", "form", "title", "name", "listed"),
    [
        ("/users", "deed-remove-zoe", "Remove", "zoe", "user.list"),
        ("/kernels", "deed-remove-rescue", "Forget", "rescue", "kernel.list"),
        ("/tokens", "deed-revoke-2", "Revoke", "report", "token.list"),
        ("/cloud/products", "deed-remove-1", "Remove", "processor", "cloud.product.list"),
    ],
)
def test_what_is_lost_with_a_row_is_planned_and_confirmed_by_name(
    daemon: Daemon, admin: Tab, path: str, form: str, title: str, name: str, listed: str
) -> None:
    plan(daemon, admin, path, form, reason="spring")
    assert f"The plan of “{title}” for {name}" in admin.run(PLAN)
    assert admin.run("document.querySelector('#plan button') === null"), "it is done where the name is typed"
    kept = "[...document.querySelectorAll('tbody [name=reason]')].map(each => each.value).filter(each => each)"
    assert admin.run(kept) == ["spring"], "of this form only"
    admin.fill(f"#{form} [name=confirm]", "another")
    admin.press(f"#{form} button.danger")
    assert admin.path == path
    assert admin.run("document.querySelectorAll('[aria-invalid=true]').length") == 1
    assert name in {each["name"] for each in daemon.call(listed)}
    admin.fill(f"#{form} [name=confirm]", name)
    admin.press(f"#{form} button.danger")
    assert name not in {each["name"] for each in daemon.call(listed)}
    assert admin.run(OPENED) == []


def test_what_was_chosen_is_kept_and_done_from_the_plan(daemon: Daemon, admin: Tab) -> None:
    plan(daemon, admin, "/users", "deed-role-abel", role="operator")
    assert "The plan of “Set role” for abel" in admin.run(PLAN)
    assert admin.run("document.querySelector('#deed-role-abel select').value") == "operator"
    assert admin.run("document.querySelector('#deed-role-operator select').value") == "operator"
    admin.press("#plan button.primary")
    assert {each["name"]: each["role"] for each in daemon.call("user.list")}["abel"] == "operator"


def test_a_price_and_ccus_are_planned_with_their_result(daemon: Daemon, admin: Tab) -> None:
    plan(daemon, admin, "/cloud/products", "deed-update-4", change__price="7.5")
    assert "7.5" in admin.run(PLAN)
    admin.press("#plan button.primary")
    assert {each["name"]: each["price"] for each in daemon.call("cloud.product.list")}["network card"] == "7.5"
    before = daemon.call("cloud.account.get", "carla")["balance"]
    plan(daemon, admin, "/cloud/users", "deed-ccus-1", ccus="+5000")
    assert daemon.call("cloud.account.get", "carla")["balance"] == before
    admin.press("#plan button.primary")
    assert float(daemon.call("cloud.account.get", "carla")["balance"]) > 5000


def test_a_cloud_user_sees_what_a_stop_does_before_it_is_done(daemon: Daemon, carla: Tab) -> None:
    plan(daemon, carla, "/servers", "deed-stop-2")
    shown = carla.run(PLAN)
    assert "The plan of “Stop” for shop-2" in shown
    assert "withdraw disk 0 of cloud-1-2 on pool" in shown
    assert carla.run("document.querySelector('#plan a[href^=\"/appliances\"]') === null"), "no page of the portal"
    carla.press("#plan button.primary")
    assert carla.path == "/servers"
    wait_until(lambda: daemon.call("cloud.server.get", 2)["state"] == "stopped", timeout=60, what="the stop")
    assert daemon.call("cloud.server.get", 1)["state"] == "active"


def test_a_request_is_given_back_after_its_plan(daemon: Daemon, carla: Tab) -> None:
    carla.go(f"https://127.0.0.1:{daemon.portal_port}/requests/1")
    carla.click("details:has(#deed-deprovision) > summary")
    carla.press("#deed-deprovision button[name=plan]")
    assert "stop and remove shop-1, shop-2" in carla.run(PLAN)
    assert daemon.call("cloud.request.get", 1)["state"] == "active"
    carla.fill("#deed-deprovision [name=confirm]", "1")
    carla.press("#deed-deprovision button.danger")
    assert carla.path == "/requests/1"
    wait_until(lambda: daemon.call("cloud.request.get", 1)["state"] == "done", timeout=60, what="its end")
