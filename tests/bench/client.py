"""A client of XML-RPC that costs next to nothing: prepared bytes out, an answer of known length in."""

from __future__ import annotations

import base64
import multiprocessing
import socket
import ssl
import time
import xmlrpc.client
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Target:
    """Where to call and as whom. ``ca_file`` empty: without TLS."""

    port: int
    ca_file: str = ""
    credentials: str = ""
    path: str = "/rpc"

    def request(self, method: str, arguments: Sequence[Any]) -> bytes:
        """The bytes of a call."""
        body = xmlrpc.client.dumps(tuple(arguments), method).encode()
        head = f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\n"
        if self.credentials:
            head += f"Authorization: Basic {base64.b64encode(self.credentials.encode()).decode()}\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def connect(self) -> socket.socket:
        """A connection."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.ca_file:
            return plain
        return ssl.create_default_context(cafile=self.ca_file).wrap_socket(plain, server_hostname="localhost")


def call(connection: socket.socket, request: bytes) -> bytes:
    """One call; the body of its answer."""
    connection.sendall(request)
    got = b""
    while b"\r\n\r\n" not in got:
        got += _receive(connection)
    head, _, body = got.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
    parts, have = [body], len(body)
    while have < length:
        parts.append(_receive(connection))
        have += len(parts[-1])
    return b"".join(parts)


def _receive(connection: socket.socket) -> bytes:
    got = connection.recv(262_144)
    if not got:
        raise ConnectionError("the server hung up")
    return got


@dataclass(frozen=True, slots=True)
class Load:
    """What clients got answered: calls, and calls per second."""

    calls: int
    rate: float


def _drive(target: Target, request: bytes, seconds: float, ready: Any, answers: Any) -> None:
    connection = target.connect()
    first = call(connection, request)
    assert b"<fault>" not in first, first
    ready.wait()
    began, count = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        call(connection, request)
        count += 1
    answers.put((count, count / (time.monotonic() - began)))
    connection.close()


def put_load(target: Target, method: str, arguments: Sequence[Any], *, clients: int, seconds: float) -> Load:
    """Call without a pause from so many clients with a connection and a process each."""
    context = multiprocessing.get_context("spawn")
    ready, answers = context.Barrier(clients), context.Queue()
    given = (target, target.request(method, arguments), seconds, ready, answers)
    running = [context.Process(target=_drive, args=given) for _ in range(clients)]
    for each in running:
        each.start()
    try:
        told = [answers.get(timeout=seconds + 60) for _ in running]
        return Load(sum(calls for calls, _ in told), sum(rate for _, rate in told))
    finally:
        for each in running:
            each.join(10)
