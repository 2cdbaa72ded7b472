"""Forms: believed only when they come from our own page of this session, and done once."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from qrmd.testing.daemon import Daemon
from qrmd.testing.sites import password_of, running_sites
from qrmd.testing.web import FORM, WebClient, find_form, web_client


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_sites(tmp_path_factory.mktemp("forms")) as running:
        yield running


@pytest.fixture
def client(daemon: Daemon) -> WebClient:
    made = web_client(daemon)
    made.login("operator", password_of("operator"))
    return made


def _hidden(client: WebClient, path: str, action: str) -> dict[str, str]:
    form = find_form(client.get(path).text, action)
    assert form is not None
    return form


def _names(daemon: Daemon) -> set[str]:
    return {row["name"] for row in daemon.call("appliance.list", {"fields": ["name"]})}


def _spec(name: str) -> dict[str, str]:
    return {"spec.name": name, "spec.image": "small", "spec.memory_mb": "64"}


# ------------------------------------------------------------ believed


def test_a_form_of_ours_is_done(daemon: Daemon, client: WebClient) -> None:
    answer = client.submit("/appliances", "add", {**_spec("made"), "reason": "for the shop"})
    assert answer.status == 303
    found = daemon.call("appliance.get", "made")
    assert answer.header("location") == f"/appliances/{found['id']}"
    assert found["memory_mb"] == 64
    event = daemon.call("event.list", {"where": {"subject": f"appliance:{found['id']}"}})[0]
    assert (event["actor"], event["reason"]) == ("user:operator", "for the shop")


@pytest.mark.parametrize("spoiled", ["", "0" * 64, "other page", "other action", "other session"])
def test_a_form_without_its_token_changes_nothing(daemon: Daemon, client: WebClient, spoiled: str) -> None:
    fields = _hidden(client, "/appliances", "add")
    match spoiled:
        case "other page":
            fields["token"] = _hidden(client, "/networks", "add")["token"]
        case "other action":
            fields["token"] = _hidden(client, "/appliances", "logout")["token"]
        case "other session":
            other = web_client(daemon)
            other.login("operator", password_of("operator"))
            fields["token"] = _hidden(other, "/appliances", "add")["token"]
        case _:
            fields["token"] = spoiled
    answer = client.post("/appliances", {**fields, **_spec("unwanted")})
    assert answer.status == 403
    assert "unwanted" not in _names(daemon)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_a_form_of_another_origin_changes_nothing(daemon: Daemon, client: WebClient, headers: dict[str, str]) -> None:
    fields = {**_hidden(client, "/appliances", "add"), **_spec("foreign")}
    assert client.post("/appliances", fields, headers).status == 403
    assert web_client(daemon).post("/login", {"name": "operator", "password": "x"}, headers).status == 403
    assert "foreign" not in _names(daemon)


def test_a_form_that_no_browser_sent_needs_to_say_where_it_is_from(daemon: Daemon, client: WebClient) -> None:
    fields = {**_hidden(client, "/appliances", "add"), **_spec("silent")}
    body = "&".join(f"{name}={quote(value)}" for name, value in fields.items()).encode()
    assert client.ask("POST", "/appliances", body, {"Content-Type": FORM}).status == 403
    assert "silent" not in _names(daemon)


def test_a_get_changes_nothing(daemon: Daemon, client: WebClient) -> None:
    fields = {**_hidden(client, "/appliances", "add"), **_spec("gotten")}
    query = "&".join(f"{name}={quote(value)}" for name, value in fields.items())
    assert client.get(f"/appliances?{query}").status == 200
    assert client.ask("PUT", f"/appliances?{query}").status == 405
    assert "gotten" not in _names(daemon)


def test_an_action_that_a_page_lacks_is_refused(client: WebClient) -> None:
    fields = _hidden(client, "/appliances", "add")
    assert client.post("/appliances", {**fields, "action": "explode"}).status == 403
    assert client.post("/appliances", {}).status == 403


def test_a_form_sent_twice_counts_once(daemon: Daemon, client: WebClient) -> None:
    fields = {**_hidden(client, "/appliances", "add"), **_spec("twice")}
    first, second = (client.post("/appliances", fields) for _ in range(2))
    assert first.status == second.status == 303
    assert first.header("location") == second.header("location")


def test_a_readonly_user_changes_nothing_even_with_a_token_of_the_own_page(daemon: Daemon) -> None:
    client = web_client(daemon)
    client.login("readonly", password_of("readonly"))
    page = client.get("/appliances").text
    assert find_form(page, "add") is None
    assert find_form(client.get("/appliances/1").text, "stop") is None


# ------------------------------------------------------------ bounds


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"x=" + b"a" * 300_000, FORM, 413),
        (b"x=" + b"a" * (2**20 + 1), FORM, 413),
        (b"&".join(b"f%d=1" % number for number in range(300)), FORM, 400),
        (b"x=%ff%fe", FORM, 400),
        (b"\xff\xfe", FORM, 400),
        (
            b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
            400,
        ),
        (b"{}", "application/json", 400),
        (b"", "", 400),
    ],
)
def test_bodies_that_are_no_form_of_ours_are_refused(
    client: WebClient, body: bytes, content_type: str, status: int
) -> None:
    headers = {"Origin": client.origin, **({"Content-Type": content_type} if content_type else {})}
    assert client.ask("POST", "/appliances", body, headers).status == status
    assert client.get("/appliances").status == 200


@pytest.mark.parametrize(
    "query", ["after=x", "after=-1", "after=99999999999999999999", "state=nonsense", "x=" * 150, "a=%ff"]
)
def test_odd_queries_never_break_a_page(client: WebClient, query: str) -> None:
    for path in ("/appliances", "/events", "/workflows"):
        assert client.get(f"{path}?{query}").status in {200, 400}


# ------------------------------------------------------------ errors and plans


def test_an_error_is_shown_on_the_page_and_the_input_kept(daemon: Daemon, client: WebClient) -> None:
    spec = {**_spec("bad name!"), "spec.comment": 'the "quoted" <one>'}
    answer = client.submit("/appliances", "add", spec)
    assert answer.status == 400
    assert 'role="alert"' in answer.text
    assert "use 1 to 63 of a-z" in answer.text
    assert 'value="bad name!"' in answer.text
    assert "the &#34;quoted&#34; &lt;one&gt;" in answer.text
    assert "<one>" not in answer.text


def test_a_plan_is_shown_and_nothing_changes(daemon: Daemon, client: WebClient) -> None:
    before = daemon.call("event.list", {"order": "-id", "limit": 1})[0]["id"]
    fields = {"plan": "1", "reason": "just looking", "password": "for-the-first-login"}
    answer = client.submit("/appliances/2", "start", fields)
    assert answer.status == 200
    for text in (
        "The plan of",
        "define web-2 on node-1",
        "Placement: every host and its verdict",
        'value="just looking"',
    ):
        assert text in answer.text
    assert "for-the-first-login" not in answer.text
    assert "type it again" in answer.text
    assert daemon.call("appliance.get", "web-2")["state"] == "stopped"
    assert daemon.call("event.list", {"order": "-id", "limit": 1})[0]["id"] == before


def test_doing_it_leads_to_the_workflow(daemon: Daemon, client: WebClient) -> None:
    answer = client.submit("/appliances/1", "restart", {"reason": "kernel"})
    assert answer.status == 303
    workflow = int(answer.header("location").rpartition("/")[2])
    assert daemon.wait(workflow)["state"] == "done"
    page = client.get(f"/workflows/{workflow}").text
    assert "kernel" in page
    assert "appliance.restart" in page


def test_what_is_not_possible_says_why(client: WebClient) -> None:
    page = client.get("/appliances/2").text
    assert "it is stopped; possible when active" in page
    assert find_form(page, "restart") is None
    assert find_form(page, "start") is not None


# ------------------------------------------------------------ where it leads


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/%0d%0aX: y", "", "evil"],
)
def test_nobody_is_led_away(daemon: Daemon, target: str) -> None:
    client = web_client(daemon)
    answer = client.login("operator", password_of("operator"), target)
    assert answer.status == 303
    assert answer.header("location") == "/"
    assert client.get(f"/login?next={quote(target, safe='')}").header("location") == "/"
    asked = web_client(daemon).get(f"/login?next={quote(target, safe='')}")
    assert "evil" not in asked.text


def test_double_slashes_lead_nowhere(client: WebClient) -> None:
    for path in ("//evil.example", "//evil.example/%2e%2e", "///"):
        answer = client.ask("GET", path)
        assert answer.status == 404
        assert not answer.header("location")


def test_who_asked_for_a_page_gets_it_after_logging_in(daemon: Daemon) -> None:
    client = web_client(daemon)
    answer = client.get("/appliances/1?x=1")
    assert answer.header("location") == "/login?next=/appliances/1%3Fx%3D1"
    assert 'value="/appliances/1?x=1"' in client.get(answer.header("location")).text
