"""The first administrator of a new installation."""

from __future__ import annotations

from qrmd.auth import passwords
from qrmd.model import Role
from qrmd.store import users
from qrmd.store.connection import Transaction
from qrmd.store.database import Store

FIRST_NAME = "admin"


def make_first_administrator(store: Store) -> str | None:
    """Make user ``admin`` if there is no user yet, and return its generated password: print it once, log it never.

    Call it after the migrations and before ``store.start()``. None: there are users already.
    """
    if store.write_now(users.count):
        return None
    password = passwords.generate()
    password_hash = passwords.hash_now(password)

    def add(db: Transaction) -> None:
        users.add(db, FIRST_NAME, Role.ADMINISTRATOR, password_hash, actor="system", reason="first start")

    store.write_now(add)
    return password
