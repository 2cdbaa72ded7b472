"""Which releases of the core and of plugins have written a database, and whether those of this host may read it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from qrmd.store.connection import Transaction

CORE = "core"
"""Name of the core's set of migrations; every other set is a plugin's."""
_PREFIX = "version:"


@dataclass(frozen=True, slots=True)
class Release:
    """What is installed here of the core or of a plugin.

    Attributes:
        version: of its distribution.
        migrations: names that it knows, in order.
    """

    version: str
    migrations: tuple[str, ...]


def release_of(version: str, migrations: Migrations | None) -> Release:
    """What a distribution of this version knows."""
    known = () if migrations is None else migrations.pending(Database(memory=True))
    return Release(version, tuple(each.name for each in known))


def note(db: Transaction, owner: str, version: str) -> None:
    """Keep which release of the core or of a plugin wrote here last; backups tell it."""
    key = _PREFIX + owner
    if db.value("SELECT value FROM meta WHERE key = ?", (key,)) != version:
        db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, version))


def forget(db: Transaction, owner: str) -> None:
    """Its data is gone."""
    db.execute("DELETE FROM meta WHERE key = ?", (_PREFIX + owner,))


def versions(connection: sqlite3.Connection) -> dict[str, str]:
    """What ``note`` kept, by owner."""
    rows = connection.execute("SELECT key, value FROM meta WHERE key LIKE ?", (f"{_PREFIX}%",))
    return {row[0].removeprefix(_PREFIX): row[1] for row in rows}


def compare(
    applied: Sequence[str], wrote: Mapping[str, str], installed: Mapping[str, Release]
) -> tuple[list[str], list[str]]:
    """What is newer in a database than here, and what of it is not here at all: sentences.

    Args:
        applied: ``owner.migration`` in order.
        wrote: version by owner.
    """
    owners: dict[str, list[str]] = {}
    for each in applied:
        owner, _, name = each.partition(".")
        owners.setdefault(owner, []).append(name)
    newer, absent = [], []
    for owner, names in owners.items():
        what = "qrmd" if owner == CORE else f"plugin {owner}"
        there = f"version {wrote.get(owner, 'unknown')} ({names[-1]})"
        here = installed.get(owner)
        if here is None:
            absent.append(f"{what} of {there} is not installed here, or can't be imported: its data will wait for it")
        elif set(names) - set(here.migrations):
            newest = here.migrations[-1] if here.migrations else "no tables"
            newer.append(
                f"it is newer than what is installed: {what} was of {there}, here it is of version"
                f" {here.version} ({newest}): upgrade it first"
            )
    return newer, absent
