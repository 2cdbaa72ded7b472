"""One SQLite connection and what store functions may do with it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import sqlite_utils

from qrmd.store.memory import Memory
from qrmd.vault import Vault

log = logging.getLogger(__name__)
T = TypeVar("T")
Row = sqlite3.Row
Params = Sequence[Any] | Mapping[str, Any]


class Db:
    """A connection as store functions see it: they take it first and return frozen rows.

    Statements are prepared once and cached by the connection.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.execute = connection.execute

    def row(self, sql: str, params: Params = ()) -> sqlite3.Row | None:
        """First row or None."""
        found: sqlite3.Row | None = self.execute(sql, params).fetchone()
        return found

    def rows(self, sql: str, params: Params = ()) -> list[sqlite3.Row]:
        """All rows."""
        return self.execute(sql, params).fetchall()

    def value(self, sql: str, params: Params = ()) -> Any:
        """First column of the first row, None when there is no row."""
        found = self.execute(sql, params).fetchone()
        return None if found is None else found[0]

    def recall(self, table: str, key: int | str, read: Callable[[], T]) -> T:  # noqa: ARG002 - the writer remembers
        """An object made of a row of a small table: ``read()``, or what it returned before, if nothing has changed."""
        return read()

    def insert(self, sql: str, params: Params = ()) -> int:
        """Execute an INSERT and return the new row's id."""
        rowid = self.execute(sql, params).lastrowid
        assert rowid is not None, sql  # noqa: S101 - an INSERT always has one
        return rowid

    def execute_many(self, sql: str, rows: Iterable[Params]) -> None:
        """Execute once per row."""
        self.connection.executemany(sql, rows)

    @property
    def toolkit(self) -> sqlite_utils.Database:
        """The same connection under sqlite-utils, for schema work."""
        return sqlite_utils.Database(self.connection)


class Transaction(Db):
    """The writer's connection. Functions run inside a savepoint of a group that commits together."""

    def __init__(self, connection: sqlite3.Connection, vault: Vault) -> None:
        super().__init__(connection)
        self.vault = vault
        self.memory = Memory(connection)
        self._committed: list[Callable[[], None]] = []
        self._undo: list[Callable[[], None]] = []

    def recall(self, table: str, key: int | str, read: Callable[[], T]) -> T:
        """See ``Db``."""
        return self.memory.recall(table, key, read)

    def on_commit(self, function: Callable[[], None]) -> None:
        """Call after the group's COMMIT, in the writer thread."""
        self._committed.append(function)

    def on_rollback(self, function: Callable[[], None]) -> None:
        """Call when this function's work is rolled back: keeps caches equal to the rows."""
        self._undo.append(function)

    def mark(self) -> tuple[int, int]:
        """Position of the call-back lists at the begin of a member."""
        return len(self._committed), len(self._undo)

    def rolled_back(self, mark: tuple[int, int]) -> None:
        """Run and forget the call-backs of a member whose savepoint was rolled back."""
        self.memory.clear()
        del self._committed[mark[0] :]
        while len(self._undo) > mark[1]:
            function = self._undo.pop()
            try:
                function()
            except Exception:
                log.exception("after a roll-back: %r", function)

    def committed(self) -> None:
        """Run and forget the call-backs after COMMIT."""
        functions, self._committed = self._committed, []
        self._undo.clear()
        for function in functions:
            try:
                function()
            except Exception:
                log.exception("after a commit: %r", function)


def open_writer(path: Path) -> sqlite3.Connection:
    """The one connection that writes. WAL, full synchronous, foreign keys, statements kept prepared."""
    connection = _connect(f"file:{path}?mode=rwc")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA temp_store=MEMORY")
    connection.execute("PRAGMA cache_size=-32768")
    connection.execute("PRAGMA wal_autocheckpoint=4000")
    connection.execute("PRAGMA journal_size_limit=67108864")
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that can't write."""
    connection = _connect(f"file:{path}?mode=ro")
    connection.execute("PRAGMA query_only=ON")
    return connection


def _connect(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=512, timeout=10
    )
    connection.row_factory = sqlite3.Row
    return connection
