"""Whoever reads: on a narrow screen, in the dark, by ear, by keyboard, and whatever somebody wrote somewhere."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from qrmd.testing.chromium import Chromium, Tab
from qrmd.testing.daemon import Daemon
from qrmd.testing.needs import require
from qrmd.testing.sites import CARLA, log_in, password_of, running_sites
from qrmd.testing.waiting import wait_until
from qrmd.web.pages import core_pages

require("chromium")

EVIL = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>'\"{{7*7}}"
ADMIN = [page.path.replace("<int:id>", "1").replace("<name>", "cloud") for page in core_pages() if page.site == "admin"]
CLOUD = ["/cloud/requests", "/cloud/requests/1", "/cloud/users", "/cloud/products"]
PORTAL = ["/servers", "/order", "/order?image=small", "/requests", "/requests/1", "/account", "/tokens"]
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
UNNAMED = """[...document.querySelectorAll('input:not([type=hidden]), select, textarea, button, a[href], summary')]
  .filter(e => !(e.labels && [...e.labels].some(l => l.textContent.trim())) && !e.getAttribute('aria-label')
               && !e.textContent.trim()).map(e => e.outerHTML.slice(0, 200))"""
TWICE = """(() => { const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
  return ids.filter((id, place) => ids.indexOf(id) !== place); })()"""
JUMPS = """(() => [...document.querySelectorAll('[tabindex]')].filter(e => e.tabIndex > 0).length)()"""
FAINT = """(() => {
  const parse = text => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const light = c => { const [r, g, b] = c.slice(0, 3).map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const ground = e => { const all = []; for (let n = e; n; n = n.parentElement)
    all.unshift(parse(getComputedStyle(n).backgroundColor));
    return all.reduce((under, top) => over(top, under), [255, 255, 255, 1]); };
  const found = [];
  for (const details of document.querySelectorAll('details')) details.open = true;
  for (const e of document.querySelectorAll('body *')) {
    const says = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!says || e.closest('svg') || !e.getClientRects().length || e.disabled) continue;
    const under = ground(e), [a, b] = [light(over(parse(getComputedStyle(e).color), under)), light(under)];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${e.outerHTML.slice(0, 120)}`);
  }
  return found;
})()"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_sites(tmp_path_factory.mktemp("reading"), cloud=True) as running:
        _write_evil(running)
        yield running


@pytest.fixture(scope="module")
def browser(daemon: Daemon) -> Iterator[Chromium]:
    with Chromium(daemon.ca_file) as running:
        yield running


def _write_evil(daemon: Daemon) -> None:
    """Into every field that takes free text."""
    call, why = daemon.call, {"reason": EVIL}
    spec = {"name": "evil", "image": "small", "memory_mb": 256, "comment": EVIL, "owner": EVIL}
    call("appliance.add", spec, why)
    daemon.finish("appliance.start", "evil", "", why)
    call("host.maintenance", 1, {"enabled": True, **why})
    call("host.maintenance", 1, {"enabled": False, **why})
    call("kernel.add", {"name": "evil", "path": "/usr/bin/true", "cmdline": EVIL.replace("\n", " ")})
    call("settings.set", {"smtp.user": EVIL}, why)
    call("cloud.user.set_ccus", "carla", "1000", why)
    call("cloud.user.add", {"name": "mallory", "email": "<script>@example.org".replace("<script>", "{x}'/")}, why)
    ordered = call("cloud.request.create", {"user": "carla", "image": "small", "memory_mb": 64, "reason": EVIL})
    call("cloud.request.deny", ordered, why)


def _call(daemon: Daemon, verb: str, *arguments: Any) -> Any:
    """On a connection of its own: one that is kept is closed while a browser is busy."""
    return daemon.login("admin", daemon.password).call(verb, *arguments)


def _log_in(tab: Tab, daemon: Daemon, name: str) -> Tab:
    portal = name == "carla"
    url = f"https://127.0.0.1:{daemon.portal_port if portal else daemon.port}/login"
    return log_in(tab, url, name, CARLA if portal else password_of(name))


def _visit(tab: Tab, daemon: Daemon, paths: list[str]) -> Iterator[str]:
    port = daemon.portal_port if paths is PORTAL else daemon.port
    for path in paths:
        tab.complaints.clear()
        tab.go(f"https://127.0.0.1:{port}{path}")
        yield path


SITES = [("administrator", [*ADMIN, *CLOUD]), ("carla", PORTAL)]


@pytest.mark.parametrize(("name", "paths"), SITES)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out_from_its_ground(
    daemon: Daemon, browser: Chromium, name: str, paths: list[str], dark: bool
) -> None:
    tab = _log_in(browser.open(dark=dark), daemon, name)
    assert {path: faint for path in _visit(tab, daemon, paths) if (faint := tab.run(FAINT))} == {}


@pytest.mark.parametrize(("name", "paths"), SITES)
@pytest.mark.parametrize("width", [390, 800])
def test_nothing_is_wider_than_the_screen(
    daemon: Daemon, browser: Chromium, name: str, paths: list[str], width: int
) -> None:
    tab = _log_in(browser.open(width=width, height=800), daemon, name)
    for path in _visit(tab, daemon, paths):
        tab.run("document.querySelectorAll('details').forEach(e => { e.removeAttribute('name'); e.open = true; })")
        assert tab.run(WIDER) == 0, path


@pytest.mark.parametrize(("name", "paths"), SITES)
def test_everything_that_can_be_used_has_a_name(daemon: Daemon, browser: Chromium, name: str, paths: list[str]) -> None:
    tab = _log_in(browser.open(), daemon, name)
    for path in _visit(tab, daemon, paths):
        assert tab.run(UNNAMED) == [], path
        assert tab.run(TWICE) == [], path
        assert tab.run(JUMPS) == 0, path
        assert tab.complaints == [], path


@pytest.mark.parametrize(("name", "paths"), SITES)
def test_what_somebody_wrote_is_text(daemon: Daemon, browser: Chromium, name: str, paths: list[str]) -> None:
    tab = _log_in(browser.open(), daemon, name)
    for path in _visit(tab, daemon, paths):
        assert "owned" not in tab.run("document.title"), path
        assert tab.run("document.querySelector('main img, main script')") is None, path
        assert tab.complaints == [], path
    seen = {"administrator": "/events", "carla": "/requests/1"}[name]
    tab.go(f"https://127.0.0.1:{daemon.portal_port if name == 'carla' else daemon.port}{seen}")
    assert EVIL in tab.text


def test_the_keyboard_goes_through_a_page_in_the_order_of_reading(daemon: Daemon, browser: Chromium) -> None:
    tab = _log_in(browser.open(), daemon, "operator")
    tab.go(f"https://127.0.0.1:{daemon.port}/appliances")
    places: list[Any] = []
    for _ in range(40):
        tab.key("Tab")
        places.append(tab.run("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
    assert all(before < after for before, after in pairwise(places))


def test_a_fault_is_told_at_its_field(daemon: Daemon, browser: Chromium) -> None:
    tab = _log_in(browser.open(), daemon, "operator")
    tab.go(f"https://127.0.0.1:{daemon.port}/appliances")
    tab.click("details.adding summary")
    tab.fill("[name='spec.name']", "No Such Name")
    tab.fill("[name='reason']", "kept")
    tab.press("#deed-add button.primary")
    field = "document.querySelector('[aria-invalid=true]')"
    assert tab.run(f"{field}.name") == "spec.name"
    assert tab.run(f"{field}.value") == "No Such Name"
    told = f"document.getElementById({field}.getAttribute('aria-describedby'))"
    assert "is not allowed" in tab.run(f"{told}.innerText")
    assert tab.run("document.querySelector('#deed-add [name=reason]').value") == "kept"


def test_a_fault_of_an_order_is_told_at_its_field(daemon: Daemon, browser: Chromium) -> None:
    tab = _log_in(browser.open(), daemon, "carla")
    tab.go(f"https://127.0.0.1:{daemon.portal_port}/order")
    tab.fill("[name=hostname]", "-wrong-")
    tab.fill("#reason-order", "shop")
    tab.press("#order button.primary")
    assert tab.run("document.querySelector('[aria-invalid=true]').name") == "hostname"
    assert tab.run("document.querySelector('#reason-order').value") == "shop"


def test_what_loses_something_is_planned_and_confirmed_by_name(daemon: Daemon, browser: Chromium) -> None:
    _call(daemon, "appliance.add", {"name": "doomed", "image": "small", "memory_mb": 64})
    tab = _log_in(browser.open(), daemon, "operator")
    ident = _call(daemon, "appliance.get", "doomed")["id"]
    tab.go(f"https://127.0.0.1:{daemon.port}/appliances/{ident}")
    tab.click("details:has(#reason-remove) > summary")
    tab.press("#deed-remove button[name=plan]")
    assert "The plan of “Remove”" in tab.text
    assert _call(daemon, "appliance.get", ident)["state"] == "stopped"
    tab.fill("#confirm-remove", "evil")
    tab.press("#deed-remove button.danger")
    assert tab.run("document.querySelector('[aria-invalid=true]').name") == "confirm"
    assert _call(daemon, "appliance.get", ident)["state"] == "stopped"
    tab.fill("#confirm-remove", "doomed")
    tab.press("#deed-remove button.danger")
    assert tab.path.startswith("/workflows/")
    wait_until(lambda: _call(daemon, "appliance.get", ident)["state"] == "removed", what="its end")


def test_going_back_repeats_nothing(daemon: Daemon, browser: Chromium) -> None:
    tab = _log_in(browser.open(), daemon, "operator")
    tab.go(f"https://127.0.0.1:{daemon.port}/appliances")
    tab.click("details.adding summary")
    tab.fill("[name='spec.name']", "once")
    tab.press("#deed-add button.primary")
    assert tab.path.startswith("/appliances/")
    many = len(_call(daemon, "appliance.list"))
    tab.run("history.back()")
    wait_until(lambda: tab.path == "/appliances", what="the page before")
    tab.run("history.forward()")
    wait_until(lambda: tab.path.startswith("/appliances/"), what="the page after")
    tab.reload()
    assert len(_call(daemon, "appliance.list")) == many


def test_a_list_is_searched_ordered_and_chosen_from(daemon: Daemon, browser: Chromium) -> None:
    tab = _log_in(browser.open(javascript=False), daemon, "readonly")
    names = "[...document.querySelectorAll('#rows tbody th')].map(e => e.innerText)"
    tab.go(f"https://127.0.0.1:{daemon.port}/appliances")
    assert tab.run(names) == sorted(tab.run(names))
    tab.fill("[name=q]", "EVI")
    tab.press("form[role=search] button")
    assert tab.run(names) == ["evil"]
    tab.go(f"https://127.0.0.1:{daemon.port}/appliances")
    tab.press("thead th:first-child a")
    assert tab.run(names) == sorted(tab.run(names), reverse=True)
    assert tab.run("document.querySelector('thead th').getAttribute('aria-sort')") == "descending"
    tab.press("nav.states a[href*='state=stopped']")
    assert set(tab.run("[...document.querySelectorAll('#rows tbody td:nth-child(2)')].map(e => e.innerText)")) == {
        "stopped"
    }
