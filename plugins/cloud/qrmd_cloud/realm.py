"""Cloud users as accounts that may log in."""

from __future__ import annotations

from qrmd.api import Account, Actor, Role, Services
from qrmd_cloud.store import users


class CloudRealm:
    """The realm ``cloud``."""

    name = "cloud"

    def __init__(self, services: Services) -> None:
        self._services = services

    async def find(self, name: str) -> Account | None:
        """The cloud user of that name (None: unknown or removed)."""
        user = await self._services.read(users.by_name, name)
        if user is None:
            return None
        return Account(
            user.id, user.name, user.password_hash, Actor(f"cloud:{user.name}", Role.CLOUD, user.id, user.id)
        )
