"""A real store with the core's and the plugin's tables, and what a cloud needs to be tried."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from qrmd.store import migrations
from qrmd.store.database import Store
from qrmd.store.transitions import add_machine, remove_machine
from qrmd.testing.harness import Harness
from qrmd.testing.loop import Loop
from qrmd.vault import Vault
from qrmd_cloud import states
from qrmd_cloud.migrations import cloud as cloud_migrations
from qrmd_cloud.rules import Rules
from qrmd_cloud.testing import Town

MACHINES = {
    "cloud_request": ("cloud_requests", states.REQUEST_EDGES),
    "cloud_server": ("cloud_servers", states.SERVER_EDGES),
    "cloud_mail": ("cloud_mails", states.MAIL_EDGES),
}


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def store(tmp_path: Path, loop: Loop) -> Iterator[Store]:
    """The real store, its threads not started: ``write_now`` runs in the test's thread."""
    for kind, (table, edges) in MACHINES.items():
        add_machine(kind, table, frozenset((edge.source.value, edge.target.value) for edge in edges))
    found = Store(tmp_path / "qrmd.db", Vault(tmp_path / "key"), loop.deliver)
    found.write_now(lambda db: migrations.core.apply(db.toolkit))
    found.write_now(lambda db: cloud_migrations.apply(db.toolkit))
    yield found
    found.stop()
    for kind in MACHINES:
        remove_machine(kind)


@pytest.fixture
def town(store: Store) -> Town:
    return Town(store, Rules())


class Inbox:
    """A real SMTP server that keeps what it gets."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"

    def stop(self) -> None:
        self._controller.stop()


class House(Harness):
    """Core, cloud, storages on disk; hosts are simulated, and mail arrives."""

    def __init__(self, directory: Path, loop: Loop) -> None:
        super().__init__(directory, loop, ("dir-storage", "simulated", "cloud"))
        self.inbox = Inbox()

    def stop(self) -> None:
        super().stop()
        self.inbox.stop()

    def furnish(self, memory_mb: int = 4096) -> None:
        """A host, a storage, a network, an image, a mail server, and bob with 1000 CCUs."""
        (self.directory / "disks").mkdir()
        raw = self.directory / "micro.raw"
        raw.write_bytes(b"\0" * 2**20)
        self.call("settings.set", {"smtp.host": "127.0.0.1", "smtp.port": self.inbox.port})
        host = {"name": "h1", "uri": f"simulated://h1?cpus=64&memory_mb={memory_mb}", "type": "simulated-vm"}
        self.call("host.add", host | {"reserved_memory_mb": 0})
        self.call("storage.add", {"name": "disks", "location": str(self.directory / "disks"), "capacity_mb": 100_000})
        self.call("network.add", {"name": "lan", "bridge": "br0", "cidr": "10.99.0.0/24"})
        image = {"name": "micro", "storage": "disks", "path": str(raw), "format": "raw"}
        self.finish(self.call("image.import", image))
        self.bob = self.call("cloud.user.add", {"name": "bob", "email": "bob@example.org", "ccus": "1000"})["id"]

    def until(self, request: int, state: str) -> dict[str, Any]:
        """The request once it is in a state."""

        def reached() -> dict[str, Any]:
            found: dict[str, Any] = self.call("cloud.request.get", request)
            return found if found["state"] == state else {}

        return self.loop.run_until(reached, 20.0, f"request {request} to be {state}")

    def mail(self, word: str) -> str:
        """The text of the mail whose subject holds a word."""

        def find() -> str:
            return next((each.get_content() for each in self.inbox.mails if word in each["Subject"]), "")

        return self.loop.run_until(find, 10.0, f"a mail about {word}")


@pytest.fixture
def house(tmp_path: Path, loop: Loop) -> Iterator[House]:
    found = House(tmp_path, loop)
    found.start()
    yield found
    found.stop()
