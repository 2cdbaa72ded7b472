"""What the attacks on a real daemon share: a small data centre that is only simulated, and who attacks it."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qrmd.cli.connection import CallFailed, Connection
from qrmd.testing.daemon import Daemon, Setting
from qrmd.testing.edge import basic, fault_of

NETWORK = {"name": "net", "bridge": "br0", "cidr": "10.77.0.0/24", "range": "10.77.0.100-10.77.0.199"}


class Target:
    """A daemon with the cloud plugin, two cloud users (``alice``, ``bob``), an operator and a reader.

    Everybody's password is ``<name>-password``.
    """

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        daemon.run_plugins("simulated", "cloud")
        daemon.call("host.add", {"name": "host", "uri": "simulated://host?cpus=64&memory_mb=262144",
                                 "type": "simulated-vm"})  # fmt: skip
        daemon.call("storage.add", {"name": "pool", "location": "simulated://pool?capacity_mb=500000",
                                    "type": "simulated"})  # fmt: skip
        daemon.call("network.add", NETWORK)
        source = daemon.setting.directory / "image.raw"
        source.write_bytes(bytes(2**20))
        daemon.finish("image.import", {"name": "im", "storage": "pool", "path": str(source), "format": "raw"})
        for name in ("alice", "bob"):
            user = {"name": name, "email": f"{name}@example.org", "password": f"{name}-password", "ccus": "1000"}
            daemon.call("cloud.user.add", user)
        for role in ("operator", "readonly"):
            daemon.call("user.add", role, role, f"{role}-password")

    def login(self, name: str) -> Connection:
        """Call as somebody."""
        return self.daemon.login(name, f"{name}-password")

    def raw_code(self, method: str, value: str) -> int:
        """Code of the fault for a call with one argument, written by hand; 0: it was answered."""
        call = f"<methodCall><methodName>{method}</methodName><params><param>{value}</param></params></methodCall>"
        context = ssl.create_default_context(cafile=self.daemon.ca_file)
        connection = http.client.HTTPSConnection("127.0.0.1", self.daemon.port, context=context, timeout=20)
        try:
            sent = {"Content-Type": "text/xml", "Authorization": basic("admin", self.daemon.password)}
            connection.request("POST", "/rpc", call, sent)
            fault = fault_of(connection.getresponse().read())
            return int(fault.faultCode) if fault else 0
        finally:
            connection.close()

    def order(self, name: str, **spec: Any) -> int:
        """A request of a cloud user. Returns its id."""
        ident: int = self.login(name).call("cloud.request.create", {"image": "im", **spec})
        return ident

    def activate(self, request: int) -> dict[str, Any]:
        """Approve a request and wait for its servers; the request."""
        self.daemon.finish("cloud.request.approve", request)
        found: dict[str, Any] = self.daemon.call("cloud.request.get", request)
        return found


@contextmanager
def target(directory: Path) -> Iterator[Target]:
    """A running target."""
    with Daemon(Setting(directory)) as daemon:
        yield Target(daemon)
        assert daemon.alive, daemon.log[-4000:]


def refusal(connection: Connection, method: str, *arguments: Any) -> CallFailed:
    """The fault that a call must end with, an answer of the verb itself and no accident."""
    answer: Any = None
    failed: CallFailed | None = None
    try:
        answer = connection.call(method, *arguments)
    except CallFailed as error:
        failed = error
    assert failed is not None, f"{method}{arguments} was not refused: {answer}"
    assert failed.code != 500, failed
    return failed
