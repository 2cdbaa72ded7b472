"""A real store with the core's and the plugin's tables, and what a cloud needs to be tried."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

import pytest
from aiosmtpd.controller import Controller

import qrmd.operations.appliances
import qrmd.operations.events
import qrmd.operations.hosts
import qrmd.operations.images
import qrmd.operations.places
import qrmd.operations.plugins
import qrmd.operations.resources
import qrmd.operations.system
import qrmd.operations.workflows
from qrmd.auth import Authenticator, Passwords
from qrmd.backups import Backups
from qrmd.core import Core
from qrmd.deployment.lifecycle import Lifecycle
from qrmd.deployment.plugin import CorePlugin
from qrmd.deployment.reach import Reach, host_lane_driver
from qrmd.hooks.calls import Hooks
from qrmd.mail import Mailer
from qrmd.model import Actor
from qrmd.operations.call import dispatch
from qrmd.operations.registry import collect
from qrmd.outbox import Outbox
from qrmd.plugins.lifecycle import Plugins
from qrmd.plugins.registries import Registries
from qrmd.plugins.started import PluginParts
from qrmd.store import migrations
from qrmd.store.capacity import Capacity
from qrmd.store.database import Store
from qrmd.store.transitions import add_machine, remove_machine
from qrmd.testing.loop import Loop
from qrmd.threads import Lanes
from qrmd.vault import Vault
from qrmd.workflow.engine import Engine
from qrmd.workflow.parts import Parts
from qrmd_cloud import states
from qrmd_cloud.migrations import cloud as cloud_migrations
from qrmd_cloud.rules import Rules
from qrmd_cloud.testing import ADMIN, Town

VERBS = (
    qrmd.operations.appliances,
    qrmd.operations.events,
    qrmd.operations.hosts,
    qrmd.operations.images,
    qrmd.operations.places,
    qrmd.operations.plugins,
    qrmd.operations.resources,
    qrmd.operations.system,
    qrmd.operations.workflows,
)
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


class House:
    """The parts of the daemon in this process: real engine, store, outbox, storage; hosts are simulated."""

    def __init__(self, directory: Path, loop: Loop) -> None:
        self.loop = loop
        self.directory = directory
        self.inbox = Inbox()
        self.vault = Vault(directory / "key")
        (directory / "state").mkdir()
        self.store = Store(directory / "state/qrmd.db", self.vault, loop.deliver)
        self.store.write_now(lambda db: migrations.core.apply(db.toolkit))
        self.core = self._build()

    def _build(self) -> Core:
        registries, lanes, capacity = Registries(), Lanes(self.loop.deliver), Capacity()
        self.store.write_now(capacity.rebuild)
        installation = self.store.write_now(lambda db: db.value("SELECT value FROM meta WHERE key = 'installation'"))
        reach = Reach(registries, lanes, self.loop)
        lifecycle = Lifecycle(capacity, registries, installation)
        hooks = Hooks(lambda _plugin, fault: pytest.fail(fault))

        async def ask(*given: Any) -> Any:
            return await core.ask(*given)

        async def ask_in_order(actor: Actor, verb: str, arguments: Sequence[Any]) -> Any:
            return await dispatch(core, actor, verb, arguments)

        outbox = Outbox(self.store, ask, self.loop, self.loop.deliver)
        parts = PluginParts(
            self.store, hooks, lanes, registries, outbox, self.loop, ask_in_order, installation, self.directory,
            self.directory / "plugins.d",
        )  # fmt: skip
        engine = Engine(
            Parts(
                self.store, hooks, registries.actions, registries.kinds, lanes, self.vault, self.loop, ask,
                host_lane_driver(self.store, reach, lanes),
            )
        )  # fmt: skip
        core = Core(
            installation, self.store, hooks, registries, lanes, engine, outbox, Plugins(parts),
            Authenticator(self.store, Passwords(self.loop.deliver), registries.realms),
            Backups(self.store, lanes, self.directory), capacity, lifecycle, reach, import_dirs=(self.directory,),
        )  # fmt: skip
        self.built_in = CorePlugin(
            reach,
            lifecycle,
            Mailer(self.store, registries.settings, self.vault, installation),
            cast("Any", self.loop),
            collect(*VERBS),
            [],
        )
        return core

    def start(self) -> None:
        self.store.start()
        self.loop.run(self._start())

    async def _start(self) -> None:
        plugins = self.core.plugins
        await plugins.discover()
        await plugins.build_in(self.built_in)
        await self.core.outbox.start()
        for name in ("dir-storage", "simulated", "cloud"):
            await plugins.enable(name, "test")
            await plugins.start(name, "test")

    def stop(self) -> None:
        self.core.engine.drain()
        self.loop.run(self._stop())
        self.core.auth.stop()
        self.core.lanes.stop()
        self.store.stop()
        self.inbox.stop()

    async def _stop(self) -> None:
        await self.core.plugins.stop_all()
        await self.core.outbox.stop()

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
        self.done(self.call("image.import", image))
        self.bob = self.call("cloud.user.add", {"name": "bob", "email": "bob@example.org", "ccus": "1000"})["id"]

    def call(self, verb: str, *arguments: Any, actor: Actor = ADMIN) -> Any:
        return self.loop.run(dispatch(self.core, actor, verb, arguments))

    def done(self, workflow: int) -> dict[str, Any]:
        """The workflow once it has ended."""
        found: dict[str, Any] = self.call("workflow.wait", workflow, 20.0)
        assert found["state"] not in {"running", "undoing", "planning", "stuck"}, found
        self.settle()
        return found

    def settle(self) -> None:
        """Observers have seen everything."""
        self.loop.run(self._caught_up())

    async def _caught_up(self) -> None:
        await self.core.outbox.caught_up()

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
