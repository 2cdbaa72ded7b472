"""Every page for every role: there, or as if it were not."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from qrmd.model import Role
from qrmd.testing.daemon import Daemon
from qrmd.testing.sites import CARLA, ROLES, password_of, running_sites
from qrmd.testing.web import Answer, WebClient, web_client
from qrmd.web.pages import core_pages

PAGES = [page for page in core_pages() if page.site == "admin"]
SECURE = {
    "content-security-policy": "script-src 'self'",
    "strict-transport-security": "max-age=31536000",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "server": "qrmd",
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_sites(tmp_path_factory.mktemp("pages"), cloud=True) as running:
        yield running


@pytest.fixture(scope="module")
def clients(daemon: Daemon) -> dict[str, WebClient]:
    made = {role: web_client(daemon) for role in ROLES}
    for role, client in made.items():
        assert client.login(role, password_of(role)).status == 303
    return made


def _path(path: str) -> str:
    return path.replace("<int:id>", "1").replace("<name>", "simulated")


def _check_headers(answer: Answer) -> None:
    for name, value in SECURE.items():
        assert value in answer.header(name), name
    policy = answer.header("content-security-policy")
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_each_page_is_there_for_its_roles_only(clients: dict[str, WebClient], page: object, role: str) -> None:
    path, roles = _path(page.path), page.roles  # type: ignore[attr-defined]
    answer = clients[role].get(path)
    assert answer.status == (200 if Role(role) in roles else 404), answer.text
    assert answer.header("cache-control") == "no-store"
    _check_headers(answer)
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=|javascript:", answer.text)
    if answer.status == 200:
        assert answer.text.count("<h1") == 1
        assert answer.text.count("<main") == 1
        assert f'href="{page.path}"' in answer.text or not page.section  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_nobody_sees_a_page_without_logging_in(daemon: Daemon, page: object) -> None:
    answer = web_client(daemon).get(_path(page.path))  # type: ignore[attr-defined]
    assert answer.status == 303
    assert answer.header("location").startswith("/login?next=/")
    _check_headers(answer)
    assert web_client(daemon).post(_path(page.path), {}).header("location") == "/login"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "path", ["/nothing", "/appliances/77", "/appliances/x", "/plugins/nothing", "/static/nothing", "/events/stream/x"]
)
def test_what_is_not_there_is_404(clients: dict[str, WebClient], path: str) -> None:
    answer = clients["administrator"].get(path)
    assert answer.status == 404
    _check_headers(answer)


def test_what_is_not_there_and_what_is_forbidden_look_alike_to_nobody(daemon: Daemon) -> None:
    client = web_client(daemon)
    answers = {client.get(path).status for path in ("/users", "/nothing-like-that", "/cloud/requests")}
    assert answers == {303}


def test_users_are_only_for_administrators(clients: dict[str, WebClient]) -> None:
    assert clients["administrator"].get("/users").status == 200
    for role in ("operator", "readonly"):
        assert clients[role].get("/users").status == 404
        assert 'href="/users"' not in clients[role].get("/").text


@pytest.mark.parametrize(
    "path", ["/appliances?state=%3Cscript%3Ealert(1)%3C/script%3E", "/%3Cscript%3E", "/events?kind=%22%3E%3Cscript%3E"]
)
def test_input_is_never_reflected_raw(clients: dict[str, WebClient], path: str) -> None:
    text = clients["administrator"].get(path).text
    assert "<script>" not in text
    assert '"><' + "script" not in text


def test_what_people_wrote_is_shown_as_text(clients: dict[str, WebClient]) -> None:
    text = clients["readonly"].get("/events").text
    assert "spring &lt;sale&gt;" in text
    assert "<sale>" not in text


def test_files_may_be_kept_and_change_their_address(daemon: Daemon, clients: dict[str, WebClient]) -> None:
    page = clients["readonly"].get("/").text
    addresses = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    assert {address.partition("?")[0] for address in addresses} >= {"/static/qrmd.css", "/static/qrmd.js"}
    for address in addresses:
        answer = web_client(daemon).get(address)
        assert answer.status == 200
        assert "immutable" in answer.header("cache-control")
        assert answer.header("content-type").partition(";")[0] in {"text/css", "text/javascript", "image/svg+xml"}
        _check_headers(answer)
    assert web_client(daemon).get("/static/..%2fsite.py").status == 303  # no file, so a page, so the log-in


def test_head_is_answered_without_a_body(clients: dict[str, WebClient]) -> None:
    answer = clients["readonly"].ask("HEAD", "/appliances")
    assert (answer.status, answer.body) == (200, b"")


def test_tables_and_fields_are_named_for_those_who_hear_the_page(clients: dict[str, WebClient]) -> None:
    for page in PAGES:
        text = clients["administrator"].get(_path(page.path)).text
        assert text.count("<table") == text.count("<caption"), page.path
        named = set(re.findall(r'<label for="([^"]+)"', text))
        fields = re.findall(r"<(?:input|select|textarea) id=\"([^\"]+)\"", text)
        assert set(fields) <= named, page.path
        assert len(fields) == len(set(fields)), page.path
        assert 'href="#main"' in text
        assert 'aria-label="Main menu"' in text


# ------------------------------------------------------------ plugins and the portal


def test_pages_come_and_go_with_their_plugin(daemon: Daemon, clients: dict[str, WebClient]) -> None:
    client = clients["administrator"]
    assert 'href="/cloud/requests"' in client.get("/").text
    assert client.get("/cloud/requests").status == 200
    daemon.call("plugin.stop", "cloud")
    try:
        assert 'href="/cloud/requests"' not in client.get("/").text
        assert client.get("/cloud/requests").status == 404
    finally:
        daemon.call("plugin.start", "cloud")
    assert client.get("/cloud/requests").status == 200


def test_the_portal_has_its_own_pages_only(daemon: Daemon) -> None:
    client = web_client(daemon, "portal")
    assert client.login("carla", CARLA).status == 303
    first = client.get("/")
    assert first.status in {200, 303}
    for path in ("/servers", "/order", "/requests", "/account", "/tokens"):
        answer = client.get(path)
        assert answer.status == 200, path
        _check_headers(answer)
        assert "/events/stream" not in answer.text
    for page in PAGES:
        if page.path not in {"/", "/tokens"}:
            assert client.get(_path(page.path)).status == 404, page.path
    assert client.get("/cloud/requests").status == 404
    assert client.get("/events/stream").status == 404


def test_the_portal_has_no_rpc_and_no_metrics(daemon: Daemon) -> None:
    client = web_client(daemon, "portal")
    for path in ("/rpc", "/metrics"):
        assert client.get(path).status == 303


# ------------------------------------------------------------ what administrators do


def test_a_token_is_shown_once(daemon: Daemon, clients: dict[str, WebClient]) -> None:
    client = clients["operator"]
    answer = client.submit("/tokens", "create", {"name": "backup", "expires": ""})
    assert answer.status == 200
    (secret,) = re.findall(r"qrm_[A-Za-z0-9_-]{43}", answer.text)
    assert daemon.login("operator", secret).call("qrm.version")["interface"] == 1
    assert secret not in client.get("/tokens").text


def test_settings_are_changed_and_secrets_never_shown(daemon: Daemon, clients: dict[str, WebClient]) -> None:
    client = clients["administrator"]
    current = {
        name: str(each["value"]) for name, each in daemon.call("settings.get").items() if name.startswith("smtp.")
    }
    fields = {**current, "group": "smtp", "smtp.host": "mail.example.org", "secret.smtp.password": "hush-hush-hush"}
    assert client.submit("/settings", "save", fields).header("location") == "/settings"
    assert daemon.call("settings.get", "smtp.host") == "mail.example.org"
    assert daemon.call("settings.get", "smtp.password") == "set"
    assert "hush-hush-hush" not in client.get("/settings").text
    answer = client.submit("/settings", "save", {**fields, "smtp.host": "mail.example.org", "smtp.port": "many"})
    assert answer.status == 400
    assert "hush-hush-hush" not in answer.text


def test_the_audit_is_run_when_asked_for(clients: dict[str, WebClient]) -> None:
    answer = clients["readonly"].submit("/audit", "look")
    assert answer.status == 200
    assert "Nothing is left over" in answer.text


def test_a_plugin_is_stopped_only_as_it_may_be(clients: dict[str, WebClient]) -> None:
    answer = clients["administrator"].submit("/plugins/simulated", "stop")
    assert answer.status == 409
    assert 'role="alert"' in answer.text
    assert clients["operator"].get("/plugins/simulated").text.count("your role operator may not") == 6


def test_a_user_is_added_and_removed(daemon: Daemon, clients: dict[str, WebClient]) -> None:
    client = clients["administrator"]
    fields = {"name": "zoe", "role": "readonly", "password": "zoe-knows-this"}
    assert client.submit("/users", "add", fields).status == 303
    form = client.get("/users").text
    assert "zoe" in form
    assert client.submit("/users", "role", {"row": "zoe", "role": "operator"}).status == 303
    assert {each["name"]: each["role"] for each in daemon.call("user.list")}["zoe"] == "operator"
    named = {"row": "zoe", "named": "zoe", "reason": "left"}
    assert client.submit("/users", "remove", named | {"confirm": "zo"}).status == 400
    assert "zoe" in {each["name"] for each in daemon.call("user.list")}
    assert client.submit("/users", "remove", named | {"confirm": "zoe"}).status == 303
    assert "zoe" not in {each["name"] for each in daemon.call("user.list")}
