"""Logging in with a browser: who may, how long it lasts, and what ends it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qrmd.testing.daemon import Daemon
from qrmd.testing.sites import CARLA, password_of, running_sites
from qrmd.testing.web import WebClient, find_form, web_client

COOKIE = "__Host-qrmd-admin"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_sites(tmp_path_factory.mktemp("sessions"), cloud=True) as running:
        yield running


@pytest.fixture
def client(daemon: Daemon) -> WebClient:
    return web_client(daemon)


def _is_in(client: WebClient) -> bool:
    return client.get("/").status == 200


def _add_user(daemon: Daemon, name: str) -> str:
    daemon.call("user.add", name, "operator", password_of(name))
    return name


def test_who_logs_in_gets_a_cookie_that_scripts_and_other_sites_never_see(client: WebClient) -> None:
    answer = client.login("operator", password_of("operator"), "/appliances?state=active")
    assert (answer.status, answer.header("location")) == (303, "/appliances?state=active")
    name, *flags = answer.header("set-cookie").split("; ")
    assert name.startswith(f"{COOKIE}=")
    assert len(name.partition("=")[2]) == 43
    assert {"Path=/", "Secure", "HttpOnly", "SameSite=Strict"} <= set(flags)
    assert not any(flag.startswith("Domain") for flag in flags)
    assert client.get("/appliances").status == 200


def test_a_session_cannot_be_fixed_beforehand(client: WebClient) -> None:
    client.cookies[COOKIE] = "A" * 43
    client.login("operator", password_of("operator"))
    first = client.cookies[COOKIE]
    assert first != "A" * 43
    client.login("operator", password_of("operator"))
    assert client.cookies[COOKIE] != first
    client.cookies[COOKIE] = first
    assert not _is_in(client)


def test_logging_out_ends_the_session_here_not_only_in_the_browser(client: WebClient) -> None:
    client.login("operator", password_of("operator"))
    kept = client.cookies[COOKIE]
    form = find_form(client.get("/").text, "logout")
    assert form is not None
    assert client.post("/logout", {}).status == 403
    assert _is_in(client)
    assert client.post("/logout", form).status == 303
    assert COOKIE not in client.cookies
    client.cookies[COOKIE] = kept
    assert not _is_in(client)


@pytest.mark.parametrize("change", ["password", "role", "removal"])
def test_a_change_of_the_account_ends_its_sessions_at_once(daemon: Daemon, client: WebClient, change: str) -> None:
    name = _add_user(daemon, f"changing-{change}")
    client.login(name, password_of(name))
    other = web_client(daemon)
    other.login("operator", password_of("operator"))
    assert _is_in(client)
    match change:
        case "password":
            daemon.call("user.set_password", name, "another password")
        case "role":
            daemon.call("user.set_role", name, "readonly")
        case _:
            daemon.call("user.remove", name)
            _add_user(daemon, name)  # the same name again is somebody else
    assert not _is_in(client)
    assert _is_in(other)


@pytest.mark.parametrize(
    ("name", "password"), [("operator", "wrong"), ("nobody-here", "wrong"), ("", ""), ("carla", CARLA)]
)
def test_refusals_never_say_what_was_wrong(client: WebClient, name: str, password: str) -> None:
    answer = client.login(name, password)
    assert answer.status == 401
    assert "Wrong name, password or token" in answer.text
    assert not client.cookies
    assert password not in answer.text or not password or password == "wrong"


def test_guessing_is_slowed_down(daemon: Daemon, client: WebClient) -> None:
    name = _add_user(daemon, "guessed")
    statuses = [client.login(name, f"guess-{number}").status for number in range(12)]
    assert statuses[:10] == [401] * 10
    assert statuses[10:] == [429] * 2
    assert client.login(name, password_of(name)).status == 429


def test_a_token_does_not_open_a_session(daemon: Daemon, client: WebClient) -> None:
    token = daemon.call("token.create", "for-a-program")["token"]
    answer = client.login("admin", token)
    assert answer.status == 401
    assert token not in answer.text


def test_the_sites_know_their_own_accounts_only(daemon: Daemon) -> None:
    admin, portal = web_client(daemon), web_client(daemon, "portal")
    assert portal.login("operator", password_of("operator")).status == 401
    assert portal.login("carla", CARLA).status == 303
    admin.cookies |= portal.cookies
    admin.cookies[COOKIE] = portal.cookies["__Host-qrmd-portal"]
    assert not _is_in(admin)


def test_sessions_on_both_sites_live_side_by_side(daemon: Daemon, client: WebClient) -> None:
    portal = web_client(daemon, "portal")
    portal.login("carla", CARLA)
    client.cookies |= portal.cookies
    client.login("operator", password_of("operator"))
    portal.cookies |= client.cookies
    assert _is_in(client)
    assert portal.get("/servers").status == 200


def test_a_cloud_user_is_out_when_the_plugin_stops(daemon: Daemon) -> None:
    portal = web_client(daemon, "portal")
    portal.login("carla", CARLA)
    assert portal.get("/servers").status == 200
    daemon.call("plugin.stop", "cloud")
    try:
        assert portal.get("/servers").status == 303
        assert portal.login("carla", CARLA).status == 401
    finally:
        daemon.call("plugin.start", "cloud")
    assert portal.login("carla", CARLA).status == 303
