"""The pages in a real browser: they open without a complaint, do what they say, and can be read without scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qrmd.testing.chromium import Chromium, Tab
from qrmd.testing.daemon import Daemon
from qrmd.testing.needs import require
from qrmd.testing.sites import CARLA, log_in, password_of, running_sites
from qrmd.testing.waiting import wait_until
from qrmd.web.assets import Assets
from qrmd.web.pages import core_pages

require("chromium")

PATHS = [page.path.replace("<int:id>", "1").replace("<name>", "simulated") for page in core_pages()
         if page.site == "admin"]  # fmt: skip
BRIGHTNESS = """(() => {
  const [r, g, b] = getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number);
  return (r + g + b) / 3;
})()"""
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_sites(tmp_path_factory.mktemp("browser"), cloud=True) as running:
        yield running


@pytest.fixture(scope="module")
def browser(daemon: Daemon) -> Iterator[Chromium]:
    with Chromium(daemon.ca_file) as running:
        yield running


def _url(daemon: Daemon, path: str) -> str:
    return f"https://127.0.0.1:{daemon.port}{path}"


@pytest.fixture(scope="module")
def tab(daemon: Daemon, browser: Chromium) -> Tab:
    return log_in(browser.open(), _url(daemon, "/"), "operator", password_of("operator"))


def test_logging_in_leads_to_the_page_that_was_asked_for(daemon: Daemon, browser: Chromium) -> None:
    tab = browser.open()
    tab.go(_url(daemon, "/appliances/1?x=1"))
    assert tab.path.startswith("/login?next=")
    assert tab.run("document.activeElement.id") == "name"
    tab.fill("#name", "operator")
    tab.fill("#password", "wrong")
    tab.press("main button.primary")
    assert "Wrong name, password or token" in tab.text
    assert tab.run("document.activeElement.id") == "password"
    tab.fill("#password", password_of("operator"))
    tab.press("main button.primary")
    assert tab.path == "/appliances/1?x=1"
    tab.press(".who button")
    assert tab.path == "/login"
    assert [each for each in tab.complaints if "401" not in each] == []


@pytest.mark.parametrize("path", PATHS)
def test_each_page_opens_without_a_complaint(daemon: Daemon, browser: Chromium, tab: Tab, path: str) -> None:
    tab.complaints.clear()
    tab.go(_url(daemon, path))
    assert tab.run("document.querySelectorAll('h1').length") == 1
    if path == "/users":
        assert "Not found" in tab.text
        return
    assert tab.complaints == []
    assert tab.run(WIDER) == 0


def test_pages_fit_a_narrow_screen(daemon: Daemon, browser: Chromium) -> None:
    narrow = log_in(browser.open(width=400, height=800), _url(daemon, "/"), "readonly", password_of("readonly"))
    for path in PATHS:
        narrow.go(_url(daemon, path))
        assert narrow.run(WIDER) == 0, path


def test_a_plan_is_shown_then_done_and_its_steps_are_followed(daemon: Daemon, tab: Tab) -> None:
    ident = daemon.call("appliance.add", {"name": "planned", "image": "small", "memory_mb": 256})
    tab.complaints.clear()
    tab.go(_url(daemon, f"/appliances/{ident}"))
    tab.click("details:has(#reason-start) > summary")
    tab.fill("#reason-start", "it's time")
    tab.press("#deed-start button[name=plan]")
    assert "The plan of “Start”" in tab.text
    assert "define planned on node-1" in tab.text
    assert daemon.call("appliance.get", ident)["state"] == "stopped"
    tab.press("#plan button.primary")
    assert tab.path.startswith("/workflows/")
    tab.wait_for("4 of 4 steps")
    wait_until(lambda: tab.run("document.querySelector('#state .badge').innerText") == "done", what="the state")
    event = daemon.call("event.list", {"where": {"subject": f"appliance:{ident}", "kind": "appliance.started"}})[0]
    assert event["reason"] == "it's time"
    assert tab.complaints == []


def test_a_page_follows_what_others_do(daemon: Daemon, tab: Tab) -> None:
    if not Assets().url("htmx.min.js"):
        pytest.fail("web assets are not installed: make assets")
    ident = daemon.call("appliance.add", {"name": "followed", "image": "small", "memory_mb": 256})
    tab.complaints.clear()
    tab.go(_url(daemon, f"/appliances/{ident}"))
    assert tab.run("document.querySelector('#state').innerText") == "stopped"
    wait_until(lambda: tab.run("source && source.readyState") == 1, what="the event stream")
    daemon.finish("appliance.start", ident)
    wait_until(lambda: tab.run("document.querySelector('#state').innerText") == "active", what="the page to follow")
    assert "node-1" in tab.run("document.querySelector('#facts').innerText")
    assert tab.complaints == []


def test_what_is_being_typed_is_not_refreshed_away(daemon: Daemon, tab: Tab) -> None:
    tab.go(_url(daemon, "/workflows/1"))
    tab.go(_url(daemon, "/appliances"))
    wait_until(lambda: tab.run("source && source.readyState") == 1, what="the event stream")
    tab.click("details.adding summary")
    tab.fill("[name='spec.name']", "half-typed")
    daemon.call("appliance.add", {"name": "meanwhile", "image": "small"})
    tab.wait_for("meanwhile")
    assert tab.run("""document.querySelector("[name='spec.name']").value""") == "half-typed"


def test_a_form_keeps_what_was_typed_when_it_is_refused(daemon: Daemon, tab: Tab) -> None:
    tab.go(_url(daemon, "/appliances"))
    tab.click("details.adding summary")
    tab.fill("[name='spec.name']", "No Such Name")
    tab.fill("[name='spec.comment']", "kept")
    tab.press("#deed-add button.primary")
    assert "is not allowed" in tab.run("document.querySelector('[role=alert]').innerText")
    assert tab.run("""document.querySelector("[name='spec.comment']").value""") == "kept"
    tab.fill("[name='spec.name']", "such-a-name")
    tab.press("#deed-add button.primary")
    assert tab.path.startswith("/appliances/")
    assert daemon.call("appliance.get", "such-a-name")["comment"] == "kept"


def test_everything_can_be_read_and_done_without_scripts(daemon: Daemon, browser: Chromium) -> None:
    tab = log_in(browser.open(javascript=False), _url(daemon, "/"), "administrator", password_of("administrator"))
    for path in PATHS:
        tab.go(_url(daemon, path))
        assert tab.run("document.querySelectorAll('h1').length") == 1, path
        assert "Not found" not in tab.text, path
    tab.go(_url(daemon, "/hosts/1"))
    tab.click("details:has(#reason-maintenance) > summary")
    tab.press("#deed-maintenance button.primary")
    assert daemon.call("host.get", 1)["state"] == "maintenance"
    tab.click("details:has(#reason-resume) > summary")
    tab.press("#deed-resume button.primary")
    assert daemon.call("host.get", 1)["state"] == "up"
    assert tab.complaints == []


def test_the_keyboard_is_enough(daemon: Daemon, tab: Tab) -> None:
    tab.go(_url(daemon, "/appliances/1"))
    tab.key("Tab")
    assert tab.run("document.activeElement.className") == "skip"
    assert tab.run("document.activeElement.getBoundingClientRect().x") >= 0
    tab.key("Enter")
    wait_until(lambda: tab.run("document.activeElement.id") == "main", what="the jump to the content")
    for _ in range(40):
        tab.key("Tab")
        if tab.run("document.activeElement.tagName") == "SUMMARY":
            break
    tab.key("Enter")
    assert tab.run("document.activeElement.parentElement.open")
    tab.key("Tab")
    assert tab.run("document.activeElement.matches('input:focus-visible')")


def test_dark_is_dark_and_light_is_light(daemon: Daemon, browser: Chromium, tab: Tab, tmp_path: Path) -> None:
    tab.go(_url(daemon, "/"))
    assert tab.run(BRIGHTNESS) > 200
    dark = log_in(browser.open(dark=True), _url(daemon, "/"), "readonly", password_of("readonly"))
    assert dark.run(BRIGHTNESS) < 60
    dark.photograph(tmp_path / "dark.png")
    assert (tmp_path / "dark.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("path", ["/servers", "/order", "/requests", "/account", "/tokens"])
def test_the_portal_opens_without_a_complaint(daemon: Daemon, browser: Chromium, path: str) -> None:
    tab = browser.open()
    log_in(tab, f"https://127.0.0.1:{daemon.portal_port}{path}", "carla", CARLA)
    assert tab.path == path
    assert tab.run("document.querySelectorAll('h1').length") == 1
    assert tab.complaints == []
    assert tab.run(WIDER) == 0
