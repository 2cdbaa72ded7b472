"""Small calls per second, beside a bare Twisted XML-RPC server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import psutil

from qrmd.process import Process
from tests.bench.client import Target, put_load
from tests.bench.figure import Figure, middle
from tests.bench.inside import workplace
from tests.bench.servers import serving

VERSION_AIM, GET_AIM = 0.7, 0.5
NOTE = "peer: bare twisted.web.xmlrpc, no check of who asks"


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is called: what it told, and its process."""

    told: dict[str, Any]
    process: Process

    def target(self, way: str) -> Target:
        """Its end-point with TLS (``tls``) or without (``plain``)."""
        return target_of(self.told, way)

    def processor_seconds(self) -> float:
        """What it has used so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system


def measure(*, quick: bool) -> Iterator[Figure]:
    """Ours and the bare server alternate; of some rounds the one with the middle ratio is shown."""
    seconds, rounds = (0.7, 3) if quick else (2.0, 3)
    with workplace() as directory:
        ours, bare = serving(directory, "daemon_server", active=100), serving(directory, "bare_server")
        with ours as daemon, bare as peer:
            yield from _compare(Server(*daemon), Server(*peer), seconds, rounds)


def target_of(told: dict[str, Any], way: str) -> Target:
    """A server's end-point with TLS (``tls``) or without (``plain``)."""
    return Target(told[way], told["ca_file"] if way == "tls" else "", told.get("credentials", ""))


def _compare(daemon: Server, bare: Server, seconds: float, rounds: int) -> Iterator[Figure]:
    verbs: tuple[tuple[str, list[Any], float], ...] = (
        ("qrm.version", [], VERSION_AIM),
        ("appliance.get", [daemon.told["appliance"]], GET_AIM),
    )
    for (verb, arguments, aim), way, clients in product(verbs, ("tls", "plain"), (1, 8)):
        found = []
        for _ in range(rounds):
            peer = _load(bare, way, "version", [], clients, seconds)
            found.append((_load(daemon, way, verb, arguments, clients, seconds), peer))
        name = f"{verb}, {clients} client{'s' if clients > 1 else ''}, {way}"
        rate, peer_rate = middle([(mine[0], peer[0]) for mine, peer in found])
        yield Figure("calls", name, rate, "/s", peer_rate, aim, True, NOTE)
        each, peer_each = middle([(mine[1], peer[1]) for mine, peer in found])
        yield Figure("calls", f"{name}: processor", each, "ms", peer_each)


def _load(
    server: Server, way: str, method: str, arguments: list[Any], clients: int, seconds: float
) -> tuple[float, float]:
    """Calls per second, and milliseconds of a processor per call."""
    before = server.processor_seconds()
    load = put_load(server.target(way), method, arguments, clients=clients, seconds=seconds)
    return load.rate, (server.processor_seconds() - before) / load.calls * 1000
