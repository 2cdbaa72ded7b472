"""The event stream: what happens, to whom it may be told, from where it goes on."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from qrmd.testing.daemon import Daemon
from qrmd.testing.sites import password_of, running_sites
from qrmd.testing.web import WebClient, web_client
from qrmd.web.live import MOST_REPLAYED, PER_SESSION


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_sites(tmp_path_factory.mktemp("live")) as running:
        yield running


@pytest.fixture
def client(daemon: Daemon) -> WebClient:
    made = web_client(daemon)
    made.login("readonly", password_of("readonly"))
    return made


@contextmanager
def _stream(daemon: Daemon, client: WebClient, last: int = 0) -> Iterator[http.client.HTTPResponse]:
    context = ssl.create_default_context(cafile=daemon.ca_file)
    connection = http.client.HTTPSConnection("127.0.0.1", client.port, context=context, timeout=40)
    cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    connection.request(
        "GET", "/events/stream", headers={"Cookie": cookie, **({"Last-Event-ID": str(last)} if last else {})}
    )
    try:
        yield connection.getresponse()
    finally:
        connection.close()


def _messages(stream: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """Events of a stream: id, event, data."""
    message: dict[str, Any] = {}
    for raw in stream:
        line = raw.decode().rstrip("\n")
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            message[name] = json.loads(value) if name == "data" else value
        elif not line:
            if "data" in message:
                yield message
            message = {}


def _newest(daemon: Daemon) -> int:
    return int(daemon.call("event.list", {"order": "-id", "limit": 1})[0]["id"])


def test_events_come_as_they_happen(daemon: Daemon, client: WebClient) -> None:
    with _stream(daemon, client) as stream:
        assert stream.status == 200
        assert stream.getheader("Content-Type") == "text/event-stream; charset=utf-8"
        assert stream.getheader("Cache-Control") == "no-store"
        assert stream.readline() == b"retry: 3000\n"
        daemon.call("settings.set", {"smtp.port": 21}, {"reason": "bigger"})
        message = next(_messages(stream))
        assert int(message["id"]) == message["data"]["id"] == _newest(daemon)
        assert message["data"]["actor"] == "user:admin"
        assert "data" not in message["data"]


def test_a_stream_goes_on_after_the_last_event_seen(daemon: Daemon, client: WebClient) -> None:
    first = _newest(daemon)
    for number in range(5):
        daemon.call("settings.set", {"smtp.port": 30 + number})
    with _stream(daemon, client, last=first + 2) as stream:
        messages = _messages(stream)
        assert [int(next(messages)["id"]) for _ in range(3)] == [first + 3, first + 4, first + 5]
        daemon.call("settings.set", {"smtp.port": 40})
        assert int(next(messages)["id"]) == first + 6


def test_too_much_missed_is_said_at_once(daemon: Daemon, client: WebClient) -> None:
    while _newest(daemon) <= MOST_REPLAYED + 1:
        daemon.call("settings.set", {name: 50 + _newest(daemon) % 2 for name in ("smtp.port", "events.keep_days")})
    with _stream(daemon, client, last=1) as stream:
        message = next(_messages(stream))
        assert (message["event"], int(message["id"])) == ("reset", _newest(daemon))


def test_a_session_has_so_many_streams(daemon: Daemon, client: WebClient) -> None:
    opened = [_stream(daemon, client) for _ in range(PER_SESSION)]
    for each in opened:
        assert each.__enter__().status == 200
    try:
        with _stream(daemon, client) as refused:
            assert (refused.status, refused.getheader("Retry-After")) == (429, "30")
    finally:
        for each in opened:
            each.__exit__(None, None, None)


@pytest.mark.parametrize("cookie", ["", "A" * 43])
def test_nobody_else_follows(daemon: Daemon, cookie: str) -> None:
    client = web_client(daemon)
    client.cookies = {"__Host-qrmd-admin": cookie} if cookie else {}
    with _stream(daemon, client) as stream:
        assert stream.status == 404


def test_a_stream_ends_with_its_session(daemon: Daemon) -> None:
    client = web_client(daemon)
    daemon.call("user.add", "leaving", "readonly", password_of("leaving"))
    client.login("leaving", password_of("leaving"))
    with _stream(daemon, client) as stream:
        assert stream.status == 200
        daemon.call("user.remove", "leaving")
        deadline = time.monotonic() + 30
        for _ in stream:  # until it ends; while it lasts there are heartbeats
            assert time.monotonic() < deadline


def test_streams_end_with_their_daemon(daemon: Daemon, client: WebClient) -> None:
    with _stream(daemon, client) as stream:
        assert stream.readline() == b"retry: 3000\n"
        assert daemon.stop() == 0
        rest = stream.read()  # raises IncompleteRead where the connection was only cut
    daemon.start()
    assert rest.endswith(b"\n")
