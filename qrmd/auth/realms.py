"""Realms: where accounts come from. The administration's users are the first; a plugin may bring its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from qrmd.model import Actor
from qrmd.store import users
from qrmd.store.database import Store


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who can log in.

    Attributes:
        id: never reused within the realm; tokens are bound to it.
        actor: ``actor.name`` is ``<realm>:<name>``.
    """

    id: int
    name: str
    password_hash: str
    actor: Actor


class Realm(Protocol):
    """A set of accounts. ``name`` is the prefix of their actors: ``user``, ``cloud``."""

    name: str

    async def find(self, name: str) -> Account | None:
        """The account that may log in now (None: unknown, locked, expired)."""
        ...


class Users:
    """The users of the administration."""

    name = "user"

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, name: str) -> Account | None:
        """The user of that name."""
        user = await self._store.read(users.find, name)
        if user is None:
            return None
        return Account(user.id, user.name, user.password_hash, Actor(f"user:{user.name}", user.role, account=user.id))
