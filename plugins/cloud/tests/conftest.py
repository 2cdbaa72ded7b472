"""A real store with the core's and the plugin's tables, and what a cloud needs to be tried."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qrmd.store import migrations
from qrmd.store.database import Store
from qrmd.store.transitions import add_machine, remove_machine
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
