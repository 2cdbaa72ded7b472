"""Noticing that somebody changed the database: this process or another one."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from qrmd.store.connection import open_reader


class Changes:
    """A number that differs after every commit of anybody. Costs microseconds, never waits.

    Used where something is remembered from rows and must not be believed after they changed.
    """

    def __init__(self, path: Path) -> None:
        self._connection = open_reader(path)
        self._connection.execute("PRAGMA busy_timeout=0")
        self._unreadable = 0

    def version(self) -> int:
        """The number now. It is only good for comparing with what this object said before."""
        try:
            number: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.OperationalError:
            self._unreadable -= 1
            return self._unreadable
        return number

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
