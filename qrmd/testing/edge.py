"""A client of the edges, for tests: starts the server as a process of its own and speaks with it as anybody."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import sys
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qrmd.process import Process, spawn
from qrmd.testing.waiting import wait_until


class EdgeServer:
    """A running server and who may log in.

    Attributes:
        secrets: password of each user by name.
    """

    def __init__(self, directory: Path, process: Process, told: dict[str, Any]) -> None:
        self.directory = directory
        self.process = process
        self.port: int = told["port"]
        self.ca_file = Path(told["ca_file"])
        self.fingerprint: str = told["fingerprint"]
        self.database = Path(told["database"])
        self.context = ssl.create_default_context(cafile=self.ca_file)
        self.secrets = {"admin": told["password"]}

    @property
    def url(self) -> str:
        """Without credentials."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """All that the server wrote."""
        return (self.directory / "server.log").read_text(errors="replace")

    def proxy(self, name: str = "admin", secret: str | None = None) -> Any:
        """What an ordinary XML-RPC client uses."""
        secret = self.secrets.get(name, "") if secret is None else secret
        url = f"https://{name}:{secret}@127.0.0.1:{self.port}/rpc"
        return xmlrpc.client.ServerProxy(url, context=self.context, allow_none=True)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower case) and body of one HTTP request."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def post(self, body: bytes, name: str = "admin", **headers: str) -> tuple[int, dict[str, str], bytes]:
        """POST to ``/rpc`` as somebody (empty name: as nobody)."""
        sent = {"Content-Type": "text/xml", **{key.replace("_", "-"): value for key, value in headers.items()}}
        if name:
            sent["Authorization"] = basic(name, self.secrets[name])
        return self.request("POST", "/rpc", body, sent)

    def memory_kib(self) -> int:
        """Resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def add_users(self) -> None:
        """One user per role of the administration, named as the role; and the cloud user."""
        for role in ("administrator", "operator", "readonly"):
            self.secrets[role] = f"password-of-{role}"
            self.proxy().user.add(role, role, self.secrets[role])
        self.secrets["carla"] = "carla-knows-this"


def basic(name: str, secret: str) -> str:
    """An ``Authorization`` header."""
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


def fault_of(body: bytes) -> xmlrpc.client.Fault | None:
    """The fault in an answer, if it is one."""
    try:
        xmlrpc.client.loads(body)
    except xmlrpc.client.Fault as fault:
        return fault
    return None


@contextmanager
def edge_server(directory: Path) -> Iterator[EdgeServer]:
    """A server over a fresh store in ``directory``, with a user per role."""
    log = directory / "server.log"
    process = spawn([sys.executable, "-m", "qrmd.testing.edge_server", str(directory)], log=log)
    try:
        wait_until(lambda: _told(log, process), timeout=60, what="the edge server")
        server = EdgeServer(directory, process, _told(log, process))
        server.add_users()
        yield server
    finally:
        process.terminate()


def _told(log: Path, process: Process) -> dict[str, Any]:
    assert process.returncode is None, log.read_text()
    lines = [line for line in log.read_text().splitlines() if line.startswith("{")] if log.exists() else []
    told: dict[str, Any] = json.loads(lines[0]) if lines else {}
    return told
