"""The edges of a daemon (TLS, HTTP, XML-RPC, authentication, backup) over a real store, without hosts or plugins.

All verbs of the core are there to be granted or denied; those that need an engine can't be carried out.

``python -m qrmd.testing.edge_server DIRECTORY`` prints one JSON line with port, password, CA file and database.
A realm of one cloud user (``carla``) stands for the cloud plugin's.
"""

from __future__ import annotations

import importlib
import json
import logging
import pkgutil
import sys
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor  # noqa: TID251 - a program of its own
from twisted.web.resource import Resource

from qrmd import operations
from qrmd.auth import Account, Authenticator, Passwords, make_first_administrator
from qrmd.auth.limits import Haste
from qrmd.auth.passwords import hash_now
from qrmd.backups import Backups
from qrmd.core import Core
from qrmd.errors import Unavailable
from qrmd.model import Actor, Role
from qrmd.operations.call import Call
from qrmd.operations.registry import ADMINISTER, Registry, collect, make_verb
from qrmd.plugins.registries import Registries
from qrmd.store import migrations
from qrmd.store.database import Store
from qrmd.threads import Lanes
from qrmd.vault import Vault
from qrmd.web import tls
from qrmd.web.health import handlers
from qrmd.web.request import Limits, Site, secured
from qrmd.web.xmlrpc import XmlRpc

CLOUD_PASSWORD = "carla-knows-this"  # noqa: S105 - of a test
reactor: Any = _reactor
MODULES = [
    importlib.import_module(f"{operations.__name__}.{each.name}") for each in pkgutil.iter_modules(operations.__path__)
]


class CloudUsers:
    """One cloud user."""

    name = "cloud"

    def __init__(self) -> None:
        actor = Actor("cloud:carla", Role.CLOUD, cloud_user_id=7)
        self._account = Account(7, "carla", hash_now(CLOUD_PASSWORD), actor)

    async def find(self, name: str) -> Account | None:
        """``carla`` only."""
        return self._account if name == "carla" else None


async def explode(call: Call) -> None:
    """Raise what no verb should."""
    raise RuntimeError(f"the secret of {call.actor.name} is 4711")


async def refuse(call: Call) -> None:
    """Raise what a verb may."""
    raise Unavailable("nothing works", subject=f"verb:{call.verb}", hint="wait")


async def mirror(call: Call, value: Any) -> Any:  # noqa: ARG001 - the shape of a verb
    """Answer the argument."""
    return value


class Edges(Core):
    """The parts of a daemon that the edges need."""

    __slots__ = ("own_verbs",)

    def __init__(self, directory: Path) -> None:
        self.store = Store(directory / "qrmd.sqlite", Vault(directory / "vault.key"), reactor.callFromThread)
        migrations.migrate(self.store.path, self.store._connection, [migrations.core])  # noqa: SLF001
        self.installation = str(self.store.write_now(_installation))
        self.lanes = Lanes(reactor.callFromThread)
        self.registries = Registries()
        self.backups = Backups(self.store, self.lanes, directory / "backups")
        self.starting = []
        self.haste = Haste(time.monotonic)
        self.own_verbs = Registry()
        self.own_verbs.add([each for module in MODULES for each in collect(module)])
        self.own_verbs.add([make_verb(f"test.{each.__name__}", each, roles=ADMINISTER, changes=False)
                            for each in (explode, refuse, mirror)])  # fmt: skip

    @property
    def verbs(self) -> Registry:
        """The verbs."""
        return self.own_verbs


def _installation(db: Any) -> Any:
    return db.value("SELECT value FROM meta WHERE key = 'installation'")


def main() -> None:
    """Serve until SIGTERM."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    directory = Path(sys.argv[1])
    core = Edges(directory)
    password = make_first_administrator(core.store)
    core.auth = Authenticator(core.store, Passwords(reactor.callFromThread))
    core.auth.add_realm(CloudUsers())
    core.store.start()
    limits = Limits(idle=5.0, per_address=100)
    site = Site(Resource(), reactor, direct=handlers(core, XmlRpc(core)), limits=limits)
    certificate = tls.ensure_certificate(directory)
    factory = secured(site, tls.make_context(certificate))
    port = reactor.listenTCP(0, factory, interface="127.0.0.1").getHost().port
    told = {
        "port": port,
        "password": password,
        "ca_file": str(certificate.certificate_file),
        "fingerprint": certificate.fingerprint,
        "database": str(core.store.path),
    }
    print(json.dumps(told), flush=True)  # noqa: T201 - what the caller waits for
    reactor.run()
    core.auth.stop()
    core.store.stop()


if __name__ == "__main__":
    main()
