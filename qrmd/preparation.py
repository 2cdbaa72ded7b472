"""What happens before the reactor runs: state directory, key, database, first administrator."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qrmd import __version__
from qrmd.auth import make_first_administrator
from qrmd.config import Config
from qrmd.errors import ConfigInvalid
from qrmd.store import releases
from qrmd.store.capacity import Capacity
from qrmd.store.database import Store
from qrmd.store.identity import installation
from qrmd.store.migrations import core as core_migrations
from qrmd.store.migrations import migrate
from qrmd.vault import Vault

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Prepared:
    """What exists before the reactor runs. ``password``: of the first administrator, to be shown once."""

    config: Config
    config_path: Path
    installation: str
    vault: Vault
    store: Store
    capacity: Capacity
    password: str | None


def prepare(config: Config, config_path: Path, deliver: Callable[[Callable[[], None]], Any]) -> Prepared:
    """State directory, key, database with its migrations, first administrator, capacity index."""
    state = config.server.state_dir
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    _lock(state)
    os.umask(0o077)
    vault = Vault(state / "vault.key")
    store = Store(state / "qrmd.sqlite", vault, deliver)
    applied = migrate(store.path, store.writer, [core_migrations])
    if applied:
        log.info("database: applied %s", ", ".join(applied))
    store.write_now(releases.note, releases.CORE, __version__)
    capacity = Capacity()
    store.write_now(capacity.rebuild)
    password = make_first_administrator(store)
    return Prepared(config, config_path, store.write_now(installation), vault, store, capacity, password)


def _lock(state: Path) -> None:
    """One daemon per state directory; the lock ends with the process."""
    descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ConfigInvalid(
            "another qrmd runs on this state directory", subject=str(state), hint="stop it first"
        ) from None
