"""Clients that don't play fair: many requests at once, answers never read, the name of somebody else."""

from __future__ import annotations

import http.client
import socket
import ssl
import xmlrpc.client
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from qrmd.testing.edge import EdgeServer, basic, edge_server, fault_of
from qrmd.testing.waiting import wait_until

BODY = b"<methodCall><methodName>system.describe</methodName></methodCall>"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeServer]:
    with edge_server(tmp_path_factory.mktemp("edge")) as running:
        yield running
        assert running.process.returncode is None, running.log


def _stream(server: EdgeServer) -> ssl.SSLSocket:
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    plain.settimeout(20)
    plain.connect(("127.0.0.1", server.port))
    return server.context.wrap_socket(plain, server_hostname="127.0.0.1")


def _call(server: EdgeServer, name: str = "carla") -> bytes:
    head = "POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\n"
    head += f"Authorization: {basic(name, server.secrets[name])}\r\nContent-Length: {len(BODY)}\r\n\r\n"
    return head.encode() + BODY


def test_requests_in_one_go_are_all_answered_in_order(server: EdgeServer) -> None:
    last = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with _stream(server) as stream:
        stream.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 3000 + _call(server) * 20 + last)
        answer = b""
        while part := stream.recv(65_536):
            answer += part
    assert answer.count(b"HTTP/1.1 200 OK") == 3020
    assert answer.count(b"</methodResponse>") == 20
    assert answer.rpartition(b"HTTP/1.1 ")[2].startswith(b"404 ")


def test_answers_that_nobody_reads_are_not_piled_up(server: EdgeServer) -> None:
    server.proxy().system.describe()
    before = server.memory_kib()
    with ExitStack() as kept:
        for _ in range(25):
            stream = kept.enter_context(_stream(server))
            stream.settimeout(0.2)
            with suppress(TimeoutError):  # the server stops reading
                stream.sendall(_call(server, "admin") * 500)
        assert server.proxy().qrm.version()["interface"] == 1
        assert server.memory_kib() - before < 40_000
    wait_until(lambda: server.request("GET", "/healthz")[0] == 200, timeout=20, what="the server")


def test_guesses_from_elsewhere_lock_nobody_out_who_was_here_before(server: EdgeServer) -> None:
    def call(address: str, secret: str) -> int:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", server.port, context=server.context, timeout=20, source_address=(address, 0)
        )
        sent = {"Content-Type": "text/xml", "Authorization": basic("operator", secret)}
        connection.request("POST", "/rpc", xmlrpc.client.dumps((), "qrm.version"), sent)
        fault = fault_of(connection.getresponse().read())
        connection.close()
        return int(fault.faultCode) if fault else 200

    server.proxy().user.set_password("operator", "the first password")
    assert call("127.0.0.2", "the first password") == 200
    assert [call("127.0.0.3", f"guess {number}") for number in range(12)] == [401] * 10 + [429] * 2
    server.proxy().user.set_password("operator", "another password")  # so that nothing is remembered
    assert call("127.0.0.4", "another password") == 429
    assert call("127.0.0.2", "another password") == 200
