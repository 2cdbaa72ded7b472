"""Bad input at the XML-RPC interface: a clear fault, nothing changed, and the daemon lives."""

from __future__ import annotations

import select
import socket
import ssl
import xmlrpc.client
from collections.abc import Iterator
from typing import Any

import pytest

from qrmd.cli.connection import Connection
from qrmd.cli.profile import Profile
from qrmd.testing.edge import EdgeServer, basic, edge_server, fault_of
from qrmd.testing.waiting import wait_until

BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%b">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9))
    + b"]><methodCall><methodName>qrm.version</methodName>"
    + b"<params><param><value>&j;</value></param></params></methodCall>"
)
EXTERNAL = (
    b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    b"<methodCall><methodName>test.mirror</methodName><params><param><value>&x;</value></param></params></methodCall>"
)
HUGE = 100 * 2**20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeServer]:
    with edge_server(tmp_path_factory.mktemp("edge")) as running:
        yield running
        assert running.process.returncode is None, running.log
        assert running.proxy().qrm.version()["interface"] == 1


def _fault(server: EdgeServer, body: bytes) -> xmlrpc.client.Fault:
    status, _, answer = server.post(body)
    fault = fault_of(answer)
    assert status == 200
    assert fault is not None, answer
    return fault


def _call(value: bytes) -> bytes:
    return (
        b"<methodCall><methodName>test.mirror</methodName><params><param>" + value + b"</param></params></methodCall>"
    )


@pytest.mark.parametrize("body", [BOMB, EXTERNAL], ids=["bomb", "external"])
def test_entities_are_refused(server: EdgeServer, body: bytes) -> None:
    before = server.memory_kib()
    fault = _fault(server, body)
    assert fault.faultCode == 400
    assert "DTDForbidden" in fault.faultString
    assert server.memory_kib() - before < 10_240


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not xml",
        b"<methodCall>",
        b"<methodCall/>",
        b"<methodResponse/>",
        b"<html><body/></html>",
        b"\x00\x01\x02",
        b"<?xml version='1.0' encoding='no-such'?><methodCall/>",
        b"<methodCall><methodName>a b;c</methodName></methodCall>",
        b"<methodCall><methodName>" + b"a" * 10_000 + b"</methodName></methodCall>",
        _call(b"<value><int>1e9</int></value>"),
        _call(b"<value><int>" + b"9" * 5000 + b"</int></value>"),
        _call(b"<value><boolean>2</boolean></value>"),
        _call(b"<value><double>nan</double></value>"),
        _call(b"<value><base64>***</base64></value>"),
        _call(b"<value><dateTime.iso8601>yesterday</dateTime.iso8601></value>"),
        _call(b"<value><struct><member><name>a</name></member></struct></value>"),
        _call(b"<value><struct><member><value>1</value></member></struct></value>"),
        _call(b"<value><evil>1</evil></value>"),
        b"\xef\xbb\xbf\xff\xfe" + _call(b"<value>x</value>"),
    ],
)
def test_malformed_calls_are_faults(server: EdgeServer, body: bytes) -> None:
    assert _fault(server, body).faultCode == 400


def test_deep_nesting_is_refused(server: EdgeServer) -> None:
    deep = b"<value><array><data>" * 10_000 + b"</data></array></value>" * 10_000
    assert _fault(server, _call(deep)).faultCode == 413


def test_masses_of_values_are_refused(server: EdgeServer) -> None:
    many = b"<value><array><data>" + b"<i4>1</i4>" * 100_001 + b"</data></array></value>"
    assert _fault(server, _call(many)).faultCode == 413


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("x", "operator", "long enough", {"reson": "typo"}), "no key"),
        (("x", "operator", "long enough", {"dry_run": "yes"}), "true or false"),
        (("x", "operator", "long enough", "no struct"), "a struct"),
        (("x", "operator", 12345678), "text"),
        (("x", "operator"), "lacks its argument"),
        (("x", "god", "long enough"), "no such role"),
        (("x", "cloud", "long enough"), "no such role"),
        (("x", "operator", "short"), "8 to 256"),
        (("../x", "operator", "long enough"), "not allowed"),
        (("x'; DROP TABLE users;--", "operator", "long enough"), "not allowed"),
        (("x\ny", "operator", "long enough"), "not allowed"),
        (("x" * 10_000, "operator", "long enough"), "not allowed"),
        (("\U0001f600", "operator", "long enough"), "not allowed"),
        (([], "operator", "long enough"), "text"),
        ((None, "operator", "long enough"), "text"),
        (("x", "operator", "long enough", {"key": "k" * 201}), "longer than 200"),
    ],
)
def test_wrong_arguments_change_nothing(server: EdgeServer, arguments: tuple[Any, ...], words: str) -> None:
    proxy = server.proxy()
    before = proxy.user.list()
    with pytest.raises(xmlrpc.client.Fault, match=words) as caught:
        proxy.user.add(*arguments)
    assert caught.value.faultCode == 400
    assert len(caught.value.faultString) < 1000
    assert proxy.user.list() == before


def test_values_come_back_as_they_were_sent(server: EdgeServer) -> None:
    proxy = server.proxy()
    values: tuple[Any, ...] = (
        "",
        " a\tb\nc ",
        "<&>\"'",
        "ä€\U0001f600",
        0,
        -1,
        2**31 - 1,
        1.5,
        True,
        [],
        [[]],
        {},
        {"a": [{"b": ""}]},
    )
    for value in values:
        assert proxy.test.mirror(value) == value
    lines = server.post(_call(b"<value>a&#13;\nb</value>"))[2]
    assert xmlrpc.client.loads(lines)[0][0] == "a\r\nb"
    assert proxy.test.mirror({"a": None, "b": 1}) == {"b": 1}
    large = server.post(_call(b"<value><i8>9007199254740993</i8></value>"))[2]
    assert xmlrpc.client.loads(large)[0][0] == "9007199254740993"


def test_an_unexpected_error_is_told_by_its_incident_only(server: EdgeServer) -> None:
    with pytest.raises(xmlrpc.client.Fault) as caught:
        server.proxy().test.explode()
    assert caught.value.faultCode == 500
    assert "4711" not in caught.value.faultString
    incident = caught.value.faultString.partition("incident ")[2][:8]
    assert incident in server.log
    assert "4711" in server.log


def test_a_deliberate_error_says_what_where_and_what_next(server: EdgeServer) -> None:
    with pytest.raises(xmlrpc.client.Fault) as caught:
        server.proxy().test.refuse()
    assert (caught.value.faultCode, caught.value.faultString) == (503, "verb:test.refuse: nothing works (wait)")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://127.0.0.1"}, 403),
        ({"Cookie": "a=b"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Encoding": "gzip"}, 415),
    ],
)
def test_browsers_and_other_contents_are_refused(server: EdgeServer, headers: dict[str, str], status: int) -> None:
    call = xmlrpc.client.dumps((), "qrm.version").encode()
    assert server.post(call, **headers)[0] == status


def test_only_post_is_served(server: EdgeServer) -> None:
    for method in ("GET", "PUT", "DELETE", "OPTIONS", "HEAD"):
        status, headers, _ = server.request(method, "/rpc")
        assert (status, headers["allow"]) == (405, "POST")


# ------------------------------------------------------------ bodies without end


def _tls(server: EdgeServer) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    return server.context.wrap_socket(plain, server_hostname="127.0.0.1")


def _send_without_end(stream: ssl.SSLSocket, head: bytes, piece: bytes, total: int) -> tuple[int, bytes]:
    """Bytes that could be sent before the connection ended, and what was answered."""
    sent = 0
    answer = b""
    try:
        stream.sendall(head)
        while sent < total:
            stream.sendall(piece)
            sent += len(piece)
    except OSError:
        pass
    try:
        while part := stream.recv(65_536):
            answer += part
    except OSError:
        pass
    return sent, answer


@pytest.mark.parametrize("authenticated", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_hundred_megabytes_are_cut_off(server: EdgeServer, chunked: bool, authenticated: bool) -> None:
    head = b"POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\n"
    if authenticated:
        head += b"Authorization: %b\r\n" % basic("admin", server.secrets["admin"]).encode()
    head += b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"Content-Length: %d\r\n\r\n" % HUGE
    piece = b"10000\r\n" + b"x" * 65_536 + b"\r\n" if chunked else b"x" * 65_536
    before = server.memory_kib()
    with _tls(server) as stream:
        sent, answer = _send_without_end(stream, head, piece, HUGE)
    assert sent < HUGE / 2
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413 ")  # a reset may overtake the answer
    assert server.memory_kib() - before <= 10_240
    assert server.proxy().qrm.version()["interface"] == 1


@pytest.mark.parametrize("chunked", [True, False])
def test_a_little_too_much_is_answered(server: EdgeServer, chunked: bool) -> None:
    head = b"POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"Content-Length: %d\r\n\r\n" % (2**20 + 1)
    body = b"100001\r\n" + b"x" * 0x100001 + b"\r\n0\r\n\r\n" if chunked else b"x" * (2**20 + 1)
    with _tls(server) as stream:
        _, answer = _send_without_end(stream, head, body, 1)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"larger than 1048576 bytes" in answer


def test_an_expected_body_that_is_too_large_is_not_asked_for(server: EdgeServer) -> None:
    head = b"POST /rpc HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 104857600\r\n\r\n"
    with _tls(server) as stream:
        stream.sendall(head)
        assert stream.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_a_mebibyte_is_taken(server: EdgeServer) -> None:
    padding = b" " * (2**20 - len(xmlrpc.client.dumps((), "qrm.version")))
    status, _, answer = server.post(xmlrpc.client.dumps((), "qrm.version").encode() + padding)
    assert status == 200
    assert fault_of(answer) is None


def test_masses_of_headers_are_refused(server: EdgeServer) -> None:
    for head in (b"X-A: %b\r\n" % (b"a" * 15_000) * 3, b"".join(b"X-%d: a\r\n" % i for i in range(200))):
        with _tls(server) as stream:
            _, answer = _send_without_end(stream, b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n", b"", 0)
            assert answer.startswith(b"HTTP/1.1 400 ")


def test_an_idle_connection_is_closed(server: EdgeServer) -> None:
    with _tls(server) as stream:
        stream.sendall(b"POST /rpc HTTP/1.1\r\n")
        assert stream.recv(1) == b""


def test_a_client_that_was_idle_for_long_calls_again(server: EdgeServer) -> None:
    """TLS clients whose connection was reset meanwhile see an error that ``xmlrpc.client`` does not repeat after."""
    profile = Profile(f"https://admin:{server.secrets['admin']}@127.0.0.1:{server.port}", ca_file=str(server.ca_file))
    client = Connection(profile)
    client.call("qrm.version")
    transport: Any = client._proxy("transport")
    watch = select.poll()
    watch.register(transport._connection[1].sock, select.POLLHUP)
    wait_until(lambda: watch.poll(0), timeout=90, what="the reset of an idle connection")
    assert client.call("qrm.version")


def test_connections_of_one_address_are_limited(server: EdgeServer) -> None:
    open_ones = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(120)]
    try:
        open_ones[-1].settimeout(10)
        assert open_ones[-1].recv(1) == b""  # closed before any handshake
        open_ones[0].settimeout(0.2)
        with pytest.raises(TimeoutError):
            open_ones[0].recv(1)
    finally:
        for each in open_ones:
            each.close()
    wait_until(lambda: _answers(server), timeout=10, what="room for a connection")


def _answers(server: EdgeServer) -> bool:
    try:
        return server.request("GET", "/healthz")[0] == 200
    except OSError:
        return False


def test_old_tls_is_refused(server: EdgeServer) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(server.ca_file)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    with pytest.raises(ssl.SSLError), plain:
        context.wrap_socket(plain, server_hostname="127.0.0.1")
