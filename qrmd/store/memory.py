"""Rows of small tables as objects, remembered by the writer until somebody changes their table.

Every start of an appliance looks at the same few images, storages, networks and hosts. Triggers tell of each change,
whoever makes it; a roll-back forgets everything.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

TABLES = ("hosts", "storages", "networks", "images", "kernels")


class Memory:
    """What the writing connection remembers; nothing before ``begin``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: dict[str, dict[Hashable, Any]] = {}

    def begin(self) -> None:
        """Remember from now on; the tables are there."""
        self._connection.create_function("qrmd_forget", 1, self._forget)
        for table in TABLES:
            for change in ("INSERT", "UPDATE", "DELETE"):
                self._connection.execute(
                    f"CREATE TEMP TRIGGER forget_{table}_{change.lower()} AFTER {change} ON main.{table}"
                    f" BEGIN SELECT qrmd_forget('{table}'); END"
                )
            self._known[table] = {}

    def recall(self, table: str, key: Hashable, read: Callable[[], T]) -> T:
        """What ``read`` returned for the key since the table was changed last."""
        known = self._known.get(table)
        if known is None:
            return read()
        found: T | None = known.get(key)
        if found is None:
            found = known[key] = read()
        return found

    def clear(self) -> None:
        """Forget everything."""
        for known in self._known.values():
            known.clear()

    def _forget(self, table: str) -> None:
        self._known[table].clear()
