"""Small calls per second, beside a bare Twisted XML-RPC server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.bench.client import Target, rate
from tests.bench.figure import Figure
from tests.bench.inside import workplace
from tests.bench.servers import serving

VERSION_AIM, GET_AIM = 0.7, 0.5


def measure(*, quick: bool) -> Iterator[Figure]:
    """Ours and the bare server alternate, so that a busy machine is unjust to neither."""
    seconds = 1.0 if quick else 4.0
    with workplace() as directory:
        ours, bare = serving(directory, "daemon_server", active=100), serving(directory, "bare_server")
        with ours as (told, _), bare as (peer, _):
            yield from _compare(told, peer, seconds)


def target_of(told: dict[str, Any], way: str) -> Target:
    """A server's end-point with TLS (``tls``) or without (``plain``)."""
    return Target(told[way], told["ca_file"] if way == "tls" else "", told.get("credentials", ""))


def _compare(daemon: dict[str, Any], bare: dict[str, Any], seconds: float) -> Iterator[Figure]:
    verbs: tuple[tuple[str, list[Any], float], ...] = (
        ("qrm.version", [], VERSION_AIM),
        ("appliance.get", [daemon["appliance"]], GET_AIM),
    )
    for ours, arguments, aim in verbs:
        for way in ("tls", "plain"):
            for clients in (1, 8):
                peer = rate(target_of(bare, way), "version", [], clients=clients, seconds=seconds)
                mine = rate(target_of(daemon, way), ours, arguments, clients=clients, seconds=seconds)
                name = f"{ours}, {clients} client{'s' if clients > 1 else ''}, {way}"
                yield Figure("calls", name, mine, "/s", peer, aim, True, "peer: bare twisted.web.xmlrpc")
