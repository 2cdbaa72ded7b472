"""Every method of the interface is denied unless the caller's role grants it."""

from __future__ import annotations

import http.client
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qrmd.model import Role
from qrmd.testing.edge import EdgeServer, basic, edge_server, fault_of

WHO = {Role.ADMINISTRATOR: "administrator", Role.OPERATOR: "operator", Role.READONLY: "readonly", Role.CLOUD: "carla"}
TOO_MANY = [0] * 20  # no verb takes so many arguments: who may call it is told so, the others never get that far


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeServer]:
    with edge_server(tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture(scope="module")
def verbs(server: EdgeServer) -> list[dict[str, Any]]:
    return list(server.proxy().system.describe())


def _code(server: EdgeServer, proxy: Any, method: str) -> int:
    with pytest.raises(xmlrpc.client.Fault) as caught:
        getattr(proxy, method)(*TOO_MANY)
    return int(caught.value.faultCode)


@pytest.mark.parametrize("role", list(Role))
def test_each_method_is_granted_or_forbidden_as_declared(
    server: EdgeServer, verbs: list[dict[str, Any]], role: Role
) -> None:
    proxy = server.proxy(WHO[role])
    found = {each["name"]: _code(server, proxy, each["name"]) for each in verbs}
    assert found == {each["name"]: 400 if role in each["roles"] else 403 for each in verbs}
    assert len(found) > 60


@pytest.mark.parametrize("role", list(Role))
def test_list_methods_names_exactly_what_is_granted(
    server: EdgeServer, verbs: list[dict[str, Any]], role: Role
) -> None:
    granted = server.proxy(WHO[role]).system.listMethods()
    assert granted == sorted(each["name"] for each in verbs if role in each["roles"])


def test_what_changes_something_is_not_for_lookers(verbs: list[dict[str, Any]]) -> None:
    for each in verbs:
        if each["changes"] and not each["name"].startswith("token."):
            assert "readonly" not in each["roles"], each["name"]
        if each["name"].startswith(("user.", "settings.set", "qrm.backup")):
            assert each["roles"] == ["administrator"], each["name"]


def test_no_method_answers_without_credentials(server: EdgeServer, verbs: list[dict[str, Any]]) -> None:
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=server.context, timeout=20)
    for each in verbs:
        connection.request("POST", "/rpc", xmlrpc.client.dumps((), each["name"]), {"Content-Type": "text/xml"})
        answer = connection.getresponse()
        assert answer.headers["WWW-Authenticate"] is None
        fault = fault_of(answer.read())
        assert fault is not None, each["name"]
        assert fault.faultCode == 401, each["name"]
    connection.close()


@pytest.mark.parametrize(
    "header",
    [
        basic("administrator", "wrong"),
        basic("nobody-here", "wrong"),
        basic("", ""),
        "Bearer qrm_" + "A" * 43,
        "Bearer",
        "Basic %%%",
        "Basic " + "/" * 40,
        "Digest username=admin",
    ],
)
def test_wrong_credentials_are_refused(server: EdgeServer, header: str) -> None:
    status, headers, body = server.post(b"<methodCall/>", "", Authorization=header)
    fault = fault_of(body)
    assert fault is not None
    assert (status, fault.faultCode) == (200, 401)
    assert "www-authenticate" not in headers


def test_unknown_methods_are_told_apart_from_forbidden_ones(server: EdgeServer) -> None:
    with pytest.raises(xmlrpc.client.Fault, match="there is no verb") as caught:
        server.proxy().no.such()
    assert caught.value.faultCode == 404
    with pytest.raises(xmlrpc.client.Fault) as caught:
        server.proxy().system.multicall([])
    assert caught.value.faultCode == 404


def test_help_and_signature_exist_for_each_method(server: EdgeServer, verbs: list[dict[str, Any]]) -> None:
    proxy = server.proxy()
    for each in verbs:
        told = proxy.system.methodHelp(each["name"])
        assert told.startswith(each["name"] + "("), told
        for parameter in each["parameters"]:
            assert parameter["name"] in told
        for signature in proxy.system.methodSignature(each["name"]):
            assert len(signature) <= len(each["parameters"]) + 1
            assert set(signature) <= {"int", "double", "boolean", "string", "struct", "array"}


def test_help_of_what_is_not_granted_is_not_given(server: EdgeServer) -> None:
    with pytest.raises(xmlrpc.client.Fault) as caught:
        server.proxy("carla").system.methodHelp("user.add")
    assert caught.value.faultCode == 404


def test_secrets_never_reach_the_log(server: EdgeServer) -> None:
    for secret in server.secrets.values():
        logged = server.log.replace(f'"password": "{server.secrets["admin"]}"', "")  # told on standard output, once
        assert secret not in logged


def test_database_and_key_are_private(server: EdgeServer) -> None:
    key = Path(server.ca_file).with_name("tls.key")
    assert key.stat().st_mode & 0o777 == 0o600
