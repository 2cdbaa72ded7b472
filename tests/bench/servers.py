"""Servers that the clients of a measurement call, each a process of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web import server, xmlrpc
from twisted.web.resource import Resource

from qrmd.process import Process, spawn
from qrmd.testing.interpreter import module_argv
from qrmd.testing.waiting import wait_until
from qrmd.web.health import handlers
from qrmd.web.request import Bounded, Limits, Site, secured
from qrmd.web.tls import ensure_certificate, make_context
from qrmd.web.xmlrpc import XmlRpc
from tests.bench.child import MARK, environment
from tests.bench.inside import Inside
from tests.bench.stint import run_at_once


@contextmanager
def serving(directory: Path, name: str, **options: Any) -> Iterator[tuple[dict[str, Any], Process]]:
    """A server of ``tests.bench.<name>`` and what it told: ``{"tls", "plain", "ca_file", …}``."""
    log = directory / f"{name}.log"
    argv = module_argv("tests.bench.child", name, json.dumps({"directory": str(directory), **options}))
    process = spawn(argv, log=log, env=environment())
    try:
        yield wait_until(lambda: _told(log, process), timeout=600, what=name), process
    finally:
        process.kill()


def _told(log: Path, process: Process) -> dict[str, Any]:
    text = log.read_text(errors="replace") if log.exists() else ""
    assert process.poll() is None, text
    found = [line for line in text.splitlines() if line.startswith(MARK)]
    told: dict[str, Any] = json.loads(found[0].removeprefix(MARK)) if found else {}
    return told


def tell(told: dict[str, Any]) -> None:
    """Say that it is ready."""
    print(MARK + json.dumps(told), flush=True)  # noqa: T201 - who started it waits for this


async def serve_daemon(reactor: Any, options: dict[str, Any]) -> None:
    """The daemon with ``active`` appliances, its XML-RPC with TLS and, for this measurement only, without."""
    directory = Path(options["directory"])
    inside = Inside(directory)
    await inside.start()
    made = await inside.add(options["active"])
    await run_at_once(lambda number: inside.make_active(made[number]), range(len(made)), 64)
    await inside.core.outbox.caught_up()
    await inside.add(options.get("stopped", 0))
    certificate = ensure_certificate(directory / "state/tls")
    limits = Limits()
    site = Site(Resource(), reactor, direct=handlers(inside.core, XmlRpc(inside.core)), limits=limits)
    told = {
        "tls": reactor.listenTCP(0, secured(site, make_context(certificate)), interface="127.0.0.1").getHost().port,
        "plain": reactor.listenTCP(0, Bounded(site, limits), interface="127.0.0.1").getHost().port,
        "ca_file": str(certificate.certificate_file),
        "credentials": f"admin:{await inside.make_token()}",
        "appliance": made[0] if made else 0,
    }
    tell(told)
    more = await inside.add(options.get("under_way", 0))
    await run_at_once(lambda number: inside.make_active(more[number]), range(len(more)), 64)
    await Deferred[None]()


class Bare(xmlrpc.XMLRPC):
    """What Twisted alone can do."""

    def xmlrpc_version(self) -> dict[str, Any]:
        """As ``qrm.version``."""
        return {"version": "1.0.0", "interface": 1}


async def serve_bare(reactor: Any, options: dict[str, Any]) -> None:
    """A bare server with the daemon's certificate."""
    root: Any = Resource()
    bare: Any = Bare
    root.putChild(b"rpc", bare())
    site: Any = server.Site(root)
    site.log = lambda _request: None
    certificate = ensure_certificate(Path(options["directory"]) / "state/tls")
    context: Any = make_context(certificate)
    factory = TLSMemoryBIOFactory(context, False, site)
    told = {
        "tls": reactor.listenTCP(0, factory, interface="127.0.0.1").getHost().port,
        "plain": reactor.listenTCP(0, site, interface="127.0.0.1").getHost().port,
        "ca_file": str(certificate.certificate_file),
    }
    tell(told)
    await Deferred[None]()
