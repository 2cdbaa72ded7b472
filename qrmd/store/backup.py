"""Copies of the database: made while the daemon runs, verified, put back while it does not."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qrmd.errors import Conflict, InvalidInput, NotFound, PreconditionFailed
from qrmd.store import releases
from qrmd.store.releases import Release

_SIDE_FILES = ("-wal", "-shm", "-journal")
_NEEDED = ("events", "users", "meta", "workflows")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look at a copy found.

    Attributes:
        usable: whether it can be restored.
        problems: sentences.
        notes: sentences about what does not keep it from being restored.
        migrations: names applied in it, per set.
        versions: of the core and of plugins, that wrote it.
        rows: per table.
        size: bytes.
    """

    path: str
    usable: bool
    problems: tuple[str, ...]
    installation: str
    sha256: str
    size: int
    notes: tuple[str, ...] = ()
    migrations: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For people and programs."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def make(source: Path, target: Path) -> Verdict:
    """Copy the database online to ``target`` (0600, whole or not at all) and verify the copy. Blocks.

    Raises:
        Conflict: ``target`` exists.
        PreconditionFailed: the copy does not verify; it is removed.
    """
    if target.exists():
        raise Conflict(f"{target} exists", hint="choose another name")
    draft = target.with_name(f".{target.name}.part")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        _copy(source, draft)
        verdict = verify(draft)
        if not verdict.usable:
            raise PreconditionFailed("the copy is not usable: " + "; ".join(verdict.problems), subject=str(target))
        _sync(draft)
        draft.rename(target)
        _sync(target.parent)
    finally:
        for each in (draft, *(Path(f"{draft}{suffix}") for suffix in _SIDE_FILES)):
            each.unlink(missing_ok=True)
    return Verdict(**{**verdict.as_dict(), "path": str(target)})


def _copy(source: Path, target: Path) -> None:
    origin = sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=10)
    copy = sqlite3.connect(target)
    try:
        origin.execute("BEGIN")  # one snapshot; otherwise each commit of the daemon would begin the copy anew
        origin.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        origin.backup(copy, pages=-1)
        copy.execute("PRAGMA journal_mode=DELETE")
    finally:
        copy.close()
        origin.close()


def verify(path: Path, installed: Mapping[str, Release] | None = None) -> Verdict:
    """Look into a copy: integrity, foreign keys, identity, migrations, rows. Blocks; never changes it.

    Args:
        installed: core and plugins of this host, which must not be older than the copy (None: not compared).

    Raises:
        NotFound: there is no such file.
    """
    if not path.is_file():
        raise NotFound(f"there is no file {path}")
    problems: list[str] = []
    facts: dict[str, Any] = {}
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
        try:
            problems += _damage(connection)
            facts = _facts(connection, problems)
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        problems.append(f"it is not a database that can be read: {error}")
    notes: list[str] = []
    if installed is not None:
        newer, notes = releases.compare(facts.get("migrations", ()), facts.get("versions", {}), installed)
        problems += newer
    found = {"installation": "", "sha256": _sha256(path), "size": path.stat().st_size, "notes": tuple(notes), **facts}
    return Verdict(str(path), not problems, tuple(problems), **found)


def _damage(connection: sqlite3.Connection) -> list[str]:
    found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
    broken = connection.execute("PRAGMA foreign_key_check").fetchmany(20)
    return found + [f"row {row[1]} of {row[0]} refers to a {row[2]} that is not there" for row in broken]


def _facts(connection: sqlite3.Connection, problems: list[str]) -> dict[str, Any]:
    names = [
        str(row[0])
        for row in connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
        )
    ]
    missing = [each for each in _NEEDED if each not in names]
    if missing:
        problems.append("it is not a database of qrmd: it lacks " + ", ".join(missing))
        return {}
    rows = {each: connection.execute(f'SELECT count(*) FROM "{each}"').fetchone()[0] for each in names}  # noqa: S608
    installation = connection.execute("SELECT value FROM meta WHERE key = 'installation'").fetchone()
    applied: tuple[str, ...] = ()
    if "_sqlite_migrations" in names:
        applied = tuple(
            f"{row[0]}.{row[1]}"
            for row in connection.execute("SELECT migration_set, name FROM _sqlite_migrations ORDER BY 1, 2")
        )
    return {
        "installation": installation[0] if installation else "",
        "migrations": applied,
        "versions": releases.versions(connection),
        "rows": rows,
    }


def restore(copy: Path, database: Path, installed: Mapping[str, Release] | None = None) -> Path | None:
    """Replace the database by a copy; the old one is kept aside. Only while the daemon is stopped. Blocks.

    Args:
        installed: core and plugins of this host (None: not compared).

    Returns:
        Where the old database is kept; None when there was none.

    Raises:
        InvalidInput: the copy is not usable, or from a newer release.
        Conflict: the daemon runs.
    """
    verdict = verify(copy, installed)
    if not verdict.usable:
        raise InvalidInput(f"{copy} can't be used: " + "; ".join(verdict.problems))
    draft = database.with_name(f".{database.name}.restored")
    draft.unlink(missing_ok=True)
    with (
        copy.open("rb") as origin,
        os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out,
    ):
        shutil.copyfileobj(origin, out, 2**20)
        out.flush()
        os.fsync(out.fileno())
    aside = _set_aside(database)
    draft.rename(database)
    _sync(database.parent)
    return aside


def _set_aside(database: Path) -> Path | None:
    """Move the database away, with all that is in its log; refuse while somebody has it open."""
    if not database.exists():
        return None
    connection = sqlite3.connect(database, timeout=0, isolation_level=None)
    try:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=DELETE")  # needs to be alone: fails while the daemon has it open
    except sqlite3.OperationalError as error:
        raise Conflict(f"{database} is in use: {error}", hint="stop the daemon first") from None
    finally:
        connection.close()
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = database.with_name(f"{database.name}.replaced-{stamp}")
    database.rename(aside)
    return aside


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
