"""Work on the database file from another process than the daemon."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from qrmd.auth import passwords
from qrmd.store import users
from qrmd.store.connection import Transaction, open_writer
from qrmd.vault import Vault


def reset_password(database: Path, name: str, password: str) -> None:
    """Give a user a new password, whether the daemon runs or not; its event is in the same transaction. Blocks.

    Raises:
        NotFound: there is no such user.
    """
    hashed = passwords.hash_now(password)
    connection = open_writer(database)
    try:
        db = Transaction(connection, cast("Vault", None))  # a password needs none
        db.execute("BEGIN IMMEDIATE")
        try:
            users.set_password(db, name, hashed, actor="system", reason="reset by root on the server")
        except Exception:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
    finally:
        connection.close()
