"""Passwords and tokens over the real interface: what is changed takes effect with the next call."""

from __future__ import annotations

import os
import sys
import time
import xmlrpc.client
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qrmd import process
from qrmd.testing.edge import EdgeServer, basic, edge_server, fault_of
from qrmd.testing.waiting import wait_until

CALL = xmlrpc.client.dumps((), "qrm.version").encode()


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeServer]:
    with edge_server(tmp_path_factory.mktemp("edge")) as running:
        yield running


def _bearer(server: EdgeServer, token: str) -> int:
    fault = fault_of(server.post(CALL, "", Authorization=f"Bearer {token}")[2])
    return fault.faultCode if fault else 200


def _code(proxy: Any) -> int:
    try:
        proxy.qrm.version()
    except xmlrpc.client.Fault as fault:
        return fault.faultCode
    return 200


def test_tokens_from_birth_to_revocation(server: EdgeServer) -> None:
    made = server.proxy("readonly").token.create("laptop")
    assert len(made["token"]) == 47
    assert _bearer(server, made["token"]) == 200
    assert _code(server.proxy("readonly", made["token"])) == 200
    assert _code(server.proxy("operator", made["token"])) == 401  # somebody else's name
    kept = server.database.read_bytes() + server.database.with_name("qrmd.sqlite-wal").read_bytes()
    assert made["token"].encode() not in kept
    shown = server.proxy("readonly").token.list()
    assert [each["name"] for each in shown] == ["laptop"]
    assert "token" not in shown[0]
    with pytest.raises(xmlrpc.client.Fault) as caught:
        server.proxy("operator").token.revoke(made["id"])
    assert caught.value.faultCode == 404
    server.proxy("readonly").token.revoke(made["id"])
    assert _bearer(server, made["token"]) == 401


def test_a_token_has_its_owners_role_of_the_moment_and_ends_with_him(server: EdgeServer) -> None:
    token = server.proxy("operator").token.create("t")["token"]
    bearer = server.proxy("operator", token)
    with pytest.raises(xmlrpc.client.Fault) as caught:
        bearer.user.list()
    assert caught.value.faultCode == 403
    server.proxy().user.set_role("operator", "administrator")
    assert len(bearer.user.list()) == 4
    server.proxy().user.remove("operator")
    assert _bearer(server, token) == 401
    server.proxy().user.add("operator", "operator", "another password")
    assert _bearer(server, token) == 401  # the name is taken again, the token does not revive


def test_a_token_expires(server: EdgeServer) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1.5)
    token = server.proxy().token.create("short", soon.isoformat())["token"]
    assert _bearer(server, token) == 200
    wait_until(lambda: _bearer(server, token) == 401, timeout=10, what="the end of the token")
    with pytest.raises(xmlrpc.client.Fault, match="past"):
        server.proxy().token.create("late", "2001-01-01T00:00:00Z")


def test_cloud_users_have_tokens_of_their_own(server: EdgeServer) -> None:
    token = server.proxy("carla").token.create("mine")["token"]
    assert "user.list" not in server.proxy("carla", token).system.listMethods()
    assert [each["owner"] for each in server.proxy().token.list()] == ["cloud:carla"]
    assert server.proxy("operator").token.list() == []


def test_a_new_password_takes_effect_at_once(server: EdgeServer) -> None:
    proxy = server.proxy("operator")
    assert _code(proxy) == 200
    server.proxy().user.set_password("operator", "quite another one")
    assert _code(proxy) == 401
    assert _code(server.proxy("operator", "quite another one")) == 200
    server.proxy().user.remove("operator")
    assert _code(server.proxy("operator", "quite another one")) == 401


def test_a_reset_by_root_from_outside_takes_effect_at_once(server: EdgeServer) -> None:
    proxy = server.proxy("admin")
    assert _code(proxy) == 200
    command = [sys.executable, "-m", "qrmd.cli.main", "user", "reset-password", "admin", "--local", "--generate"]
    done = process.run([*command, "--database", str(server.database)], timeout=60, env=dict(os.environ))
    password = done.stdout.strip().rpartition(" ")[2]
    assert _code(proxy) == 401
    assert _code(server.proxy("admin", password)) == 200
    newest = server.proxy("admin", password).event.list({"order": "-id", "limit": 1})[0]
    assert (newest["kind"], newest["reason"]) == ("user.password_changed", "reset by root on the server")
    assert password not in server.log


def test_the_last_administrator_stays(server: EdgeServer) -> None:
    proxy = server.proxy()
    proxy.user.remove("administrator")
    with pytest.raises(xmlrpc.client.Fault, match="last administrator") as caught:
        proxy.user.remove("admin")
    assert caught.value.faultCode == 409
    with pytest.raises(xmlrpc.client.Fault, match="last administrator") as caught:
        proxy.user.set_role("admin", "operator")
    assert caught.value.faultCode == 409


def test_guessing_is_slowed_down(server: EdgeServer) -> None:
    assert _code(server.proxy("operator")) == 200
    codes = [_code(server.proxy("readonly", f"guess-{number}")) for number in range(12)]
    assert codes[:10] == [401] * 10
    assert codes[10:] == [429, 429]
    assert _code(server.proxy("operator")) == 200  # somebody else goes on
    with pytest.raises(xmlrpc.client.Fault, match=r"try again in [0-9]+ s"):
        server.proxy("readonly", "guess").qrm.version()


def test_an_unknown_name_takes_as_long_as_a_wrong_password(server: EdgeServer) -> None:
    def spent(name: str, number: int) -> float:
        began = time.perf_counter()
        assert _code(server.proxy(name, f"wrong-{number}")) == 401
        return time.perf_counter() - began

    pairs = [(spent("readonly", number), spent("nobody", number)) for number in range(4)]
    known, unknown = (min(each) for each in zip(*pairs, strict=True))
    assert 0.25 < known / unknown < 4  # without a check of the hash it would be a fortieth


def test_log_ins_at_once_share_one_check_and_hold_up_nobody(server: EdgeServer) -> None:
    header = basic("operator", server.secrets["operator"])
    assert server.post(CALL, "", Authorization=header)[0] == 200
    began = time.perf_counter()
    for _ in range(100):
        server.post(CALL, "", Authorization=header)
    assert time.perf_counter() - began < 4  # a hundred argon2 checks would take eight seconds


def test_a_key_makes_a_change_once(server: EdgeServer) -> None:
    proxy = server.proxy()
    first = proxy.user.add("dora", "readonly", "long enough", {"key": "k1", "reason": "she asked"})
    again = proxy.user.add("dora", "readonly", "long enough", {"key": "k1"})
    assert first == again
    with pytest.raises(xmlrpc.client.Fault) as caught:
        proxy.user.remove("dora", {"key": "k1"})
    assert caught.value.faultCode == 409
    assert [each["reason"] for each in proxy.event.list({"where": {"kind": "user.added"}})][-1] == "she asked"


def test_a_dry_run_changes_nothing(server: EdgeServer) -> None:
    proxy = server.proxy()
    assert proxy.user.add("erik", "readonly", "long enough", {"dry_run": True})["dry_run"] is True
    assert "erik" not in [each["name"] for each in proxy.user.list()]


def test_settings_are_typed_and_secrets_write_only(server: EdgeServer) -> None:
    proxy = server.proxy()
    proxy.settings.set({"smtp.host": "mail", "smtp.port": 2525, "smtp.password": "hush-hush"})
    assert proxy.settings.get("smtp.port") == 2525
    assert proxy.settings.get("smtp.password") == "set"
    assert "hush-hush" not in str(proxy.settings.get()) + str(proxy.event.list())
    kept = server.database.read_bytes() + server.database.with_name("qrmd.sqlite-wal").read_bytes()
    assert b"hush-hush" not in kept
    for wrong in ({"smtp.port": 0}, {"smtp.host": 1}, {"smtp.starttls": "yes"}, {"mail.from": "a\nb@c"}, {}):
        with pytest.raises(xmlrpc.client.Fault) as caught:
            proxy.settings.set({"smtp.host": "changed", **wrong} if wrong else {})
        assert caught.value.faultCode == 400
    with pytest.raises(xmlrpc.client.Fault) as caught:
        proxy.settings.set({"smtp.host": "changed", "no.such": 1})
    assert caught.value.faultCode == 404
    assert proxy.settings.get("smtp.host") == "mail"
    proxy.settings.set({"smtp.password": ""})
    assert proxy.settings.get("smtp.password") == ""
