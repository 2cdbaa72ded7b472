"""Pure parts of the web pages."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from twisted.web.test.requesthelper import DummyChannel

from qrmd.auth import Account
from qrmd.errors import Forbidden
from qrmd.hooks.registered import Page
from qrmd.model import Actor, Role
from qrmd.states import APPLIANCE_EDGES
from qrmd.web import csrf, deeds, render, routing
from qrmd.web.labels import show_label
from qrmd.web.live import MOST_WAITING, Stream
from qrmd.web.request import Request
from qrmd.web.sessions import IN_TOTAL, PER_ACCOUNT, Session, Sessions

LOOKERS = frozenset({Role.READONLY})


def _page(path: str, section: str = "Things", roles: frozenset[Role] = LOOKERS) -> Page:
    async def nothing(_call: Any, _given: Any) -> dict[str, Any]:
        return {}

    return Page(path, path, section, roles, Path("/nowhere"), "x.html", nothing, {})


# ------------------------------------------------------------ paths


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/things", ("/things", {})),
        ("/things/7", ("/things/<int:id>", {"id": 7})),
        ("/things/new", ("/things/new", {})),
        ("/plugins/dir-storage", ("/plugins/<name>", {"name": "dir-storage"})),
        ("/things/x", None),
        ("/things/-1", None),
        ("/things/7/", None),
        ("/things/9999999999999999", None),
        ("/plugins/a/b", None),
        ("//things", None),
    ],
)
def test_paths_lead_to_pages(path: str, expected: tuple[str, dict[str, Any]] | None) -> None:
    pages = [_page(each) for each in ("/things/<int:id>", "/things", "/things/new", "/plugins/<name>")]
    found = routing.find(pages, path, Role.READONLY)
    assert (None if found is None else (found[0].path, found[1])) == expected


def test_pages_of_other_roles_are_not_there() -> None:
    pages = [_page("/things", roles=frozenset({Role.ADMINISTRATOR}))]
    assert routing.find(pages, "/things", Role.READONLY) is None
    assert routing.menu(pages, Role.READONLY, "/") == []


@pytest.mark.parametrize(
    "path",
    ["//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil", "javascript:alert(1)", "", "x", "/a b",
     "/a\r\nSet-Cookie: x", "/\t/evil.example", "/a\\b", "/" + "a" * 3000],
)  # fmt: skip
def test_paths_that_lead_away_are_not_local(path: str) -> None:
    assert not routing.is_local(path)


@given(st.text())
def test_what_is_local_begins_with_one_slash(path: str) -> None:
    if routing.is_local(path):
        assert path[0] == "/"
        assert path[1:2] not in {"/", "\\"}
        assert path.isprintable() or not path.isascii()


def test_the_menu_marks_the_current_page() -> None:
    menu = routing.menu([_page("/"), _page("/things"), _page("/things/<int:id>", "")], Role.READONLY, "/things/3")
    assert [(each["path"], each["current"]) for each in menu[0]["pages"]] == [("/", False), ("/things", True)]


# ------------------------------------------------------------ showing


def test_what_is_shown_is_escaped() -> None:
    evil = "<script>alert(1)</script>"
    shown = [render.show_badge(evil), render.show_subject(evil), render.show_subject(f"appliance:{evil}"),
             render.show_prose(f"``{evil}`` {evil}")]  # fmt: skip
    for each in shown:
        assert isinstance(each, Markup)
        assert "<script" not in each


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0 MiB"), (512, "512 MiB"), (1536, "1.5 GiB"), (2048, "2 GiB"), (3 * 2**20, "3 TiB"), (2**31, "2048 TiB")],
)
def test_mebibytes_for_people(value: int, expected: str) -> None:
    assert render.show_mib(value) == expected


@pytest.mark.parametrize(
    ("ago", "expected"), [(0, "now"), (5, "5 s ago"), (-90, "in 1 min"), (7300, "2 h ago"), (3 * 86_400, "3 d ago")]
)
def test_times_are_relative(ago: int, expected: str) -> None:
    assert render.relative("2026-01-01T12:00:00Z", 1_767_268_800_000_000 + ago * 1_000_000) == expected


@pytest.mark.parametrize(
    ("name", "expected"), [("memory_mb", "Memory (MiB)"), ("ssh_keys", "SSH keys"), ("uri", "URI"), ("name", "Name")]
)
def test_labels(name: str, expected: str) -> None:
    assert show_label(name) == expected


# ------------------------------------------------------------ what is possible


@pytest.mark.parametrize("verb", ["appliance.start", "appliance.stop", "appliance.restart", "appliance.remove"])
def test_the_state_table_says_when_a_verb_is_possible(verb: str) -> None:
    named = {str(each.source) for each in APPLIANCE_EDGES if verb in each.reason}
    assert deeds.sources("appliance", verb) == named
    assert named


def test_maintenance_on_and_off_are_told_apart() -> None:
    assert deeds.sources("host", "host.maintenance off") == {"maintenance"}
    assert "maintenance" not in deeds.sources("host", "host.maintenance on")


# ------------------------------------------------------------ tokens of forms


def test_a_token_is_of_one_session_page_and_action() -> None:
    token = csrf.make_token(b"k" * 32, "/a", "start")
    csrf.check_token(b"k" * 32, "/a", "start", token)
    for key, path, action in ((b"x" * 32, "/a", "start"), (b"k" * 32, "/b", "start"), (b"k" * 32, "/a", "stop")):
        with pytest.raises(Forbidden):
            csrf.check_token(key, path, action, token)


def _request(**headers: str) -> Request:
    request = Request(DummyChannel())
    for name, value in headers.items():
        request.requestHeaders.setRawHeaders(name.replace("_", "-"), [value])
    return request


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://dc:7443"}, {"Sec_Fetch_Site": "same-origin"},
     {"Origin": "https://dc:7443", "Sec_Fetch_Site": "same-origin"}],
)  # fmt: skip
def test_forms_of_our_own_pages_are_taken(headers: dict[str, str]) -> None:
    csrf.check_origin(_request(Host="dc:7443", **headers))


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": "null"}, {"Origin": "https://dc:7444"}, {"Origin": "http://dc:7443"}, {"Sec_Fetch_Site": "none"},
     {"Sec_Fetch_Site": "same-site"}, {"Origin": "https://dc:7443", "Sec_Fetch_Site": "cross-site"},
     {"Origin": "https://evil.example", "Sec_Fetch_Site": "same-origin"}],
)  # fmt: skip
def test_forms_of_other_origins_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Forbidden):
        csrf.check_origin(_request(Host="dc:7443", **headers))


# ------------------------------------------------------------ sessions


class Clock:
    """Seconds that a test turns."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def _account(name: str = "anna") -> Account:
    return Account(1, name, "hash", Actor(f"user:{name}", Role.OPERATOR))


def test_sessions_end_when_idle_and_when_old() -> None:
    clock = Clock()
    sessions = Sessions("admin", clock, idle=60, longest=600)
    idle, busy = (sessions.open(_request(), _account(name)) for name in ("idle", "busy"))
    for _ in range(11):
        clock.now += 50
        busy.seen = clock.now
    assert (sessions.is_over(idle), sessions.is_over(busy)) == (True, False)
    clock.now += 51
    busy.seen = clock.now
    assert sessions.is_over(busy)


def test_an_account_has_so_many_sessions_and_the_oldest_goes() -> None:
    sessions = Sessions("admin", Clock())
    opened = [sessions.open(_request(), _account()) for _ in range(PER_ACCOUNT + 3)]
    assert [each.ended for each in opened] == [True] * 3 + [False] * PER_ACCOUNT
    assert len(sessions) == PER_ACCOUNT < IN_TOTAL


def test_the_name_of_a_session_is_ours_and_long() -> None:
    sessions = Sessions("admin", Clock())
    names = set()
    for _ in range(20):
        request = _request(Cookie="__Host-qrmd-admin=chosen-by-somebody-else")
        sessions.open(request, _account())
        (cookie,) = [each for each in request.cookies if b"Max-Age=0" not in each]
        names.add(cookie.partition(b";")[0].partition(b"=")[2])
        assert {b"Path=/", b"Secure", b"HttpOnly", b"SameSite=Strict"} <= {*cookie.split(b"; ")}
        assert b"Domain" not in cookie
    assert len(names) == 20
    assert all(len(name) == 43 and b"chosen" not in name for name in names)


# ------------------------------------------------------------ streams


def test_a_stream_that_does_not_keep_up_is_cut_off() -> None:
    channel: Any = DummyChannel()
    aborted: list[bool] = []
    channel.transport.abortConnection = lambda: aborted.append(True)
    stream = Stream(Request(channel), Session(_account(), b"", 0, 0), 0)
    stream.send(b"first\n\n")
    assert b"first" in channel.transport.written.getvalue()
    stream.pauseProducing()
    for _ in range(MOST_WAITING):
        stream.send(b"later\n\n")
    assert not stream.ended.called
    assert b"later" not in channel.transport.written.getvalue()
    stream.send(b"one too many\n\n")
    assert stream.ended.called
    assert aborted


def test_a_stream_that_catches_up_gets_everything_in_order() -> None:
    channel = DummyChannel()
    stream = Stream(Request(channel), Session(_account(), b"", 0, 0), 0)
    stream.pauseProducing()
    for number in (1, 2, 2, 1, 3):
        stream.tell({"id": number})
    stream.resumeProducing()
    lines = channel.transport.written.getvalue().split(b"\n")
    assert [line for line in lines if line.startswith(b"id:")] == [b"id: 1", b"id: 2", b"id: 3"]
