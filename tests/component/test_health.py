"""``/healthz``, ``/readyz`` and ``/metrics`` of a running server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from qrmd.testing.edge import EdgeServer, basic, edge_server

_LINE = re.compile(r'[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [0-9.e+-]+')


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeServer]:
    with edge_server(tmp_path_factory.mktemp("edge")) as running:
        yield running


def test_alive_and_ready(server: EdgeServer) -> None:
    assert server.request("GET", "/healthz")[::2] == (200, b'{"ok": true}\n')
    status, _, body = server.request("GET", "/readyz")
    assert (status, json.loads(body)) == (200, {"ready": True, "problems": []})
    assert server.request("POST", "/healthz")[0] == 405
    assert server.request("HEAD", "/readyz")[::2] == (200, b"")


def test_metrics_are_well_formed_and_hold_no_secret(server: EdgeServer) -> None:
    server.proxy().qrm.version()
    status, headers, body = server.request("GET", "/metrics")
    text = body.decode()
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(_LINE.fullmatch(line) for line in samples), text
    assert all(line.startswith("qrmd_") for line in samples), text
    assert len(samples) > 40
    assert "qrmd_build_info{version=" in text
    assert 'qrmd_workflows{state="stuck"} 0' in text
    assert int(re.findall(r"^qrmd_rpc_calls_total (\d+)$", text, re.MULTILINE)[0]) >= 1
    assert not any(secret in text for secret in server.secrets.values())
    assert "administrator" not in text


def test_metrics_from_behind_a_proxy_need_credentials(server: EdgeServer) -> None:
    far = {"X-Forwarded-For": "203.0.113.7"}
    assert server.request("GET", "/metrics", headers=far)[0] == 401
    for name, status in (("readonly", 200), ("carla", 401)):
        headers = {**far, "Authorization": basic(name, server.secrets[name])}
        assert server.request("GET", "/metrics", headers=headers)[0] == status


def test_other_paths_say_nothing(server: EdgeServer) -> None:
    status, _, body = server.request("GET", "/no/such")
    assert status == 404
    assert b"Traceback" not in body
