"""Which qrmd this database is of."""

from __future__ import annotations

from qrmd.store.connection import Db


def installation(db: Db) -> str:
    """The installation's UUID, made with the database; owner tags outside carry it."""
    return str(db.value("SELECT value FROM meta WHERE key = 'installation'"))
