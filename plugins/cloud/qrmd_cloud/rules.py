"""The rules in force: the plugin's file and what an administrator has set at run time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from qrmd.api import Services
from qrmd_cloud.config import Config
from qrmd_cloud.money import parse


@dataclass(frozen=True, slots=True)
class Rules(Config):
    """The plugin's configuration and the settings ``cloud.*``.

    Attributes:
        approval: ``always`` (an approver answers), ``auto``, or ``auto_under``.
        approval_under_micro: with ``auto_under``: micro-CCU per day up to which nobody is asked.
        max_quantity: servers of one request.
        orders_per_hour: requests that one user may make within an hour, whatever became of them.
        grace_seconds: from the stop at zero CCUs to de-provisioning.
        low_balance_hours: the warning mail goes out when the CCUs last for less.
        admin_mail: told of new requests; empty: nobody.
    """

    approval: str = "always"
    approval_under_micro: int = 0
    max_quantity: int = 20
    orders_per_hour: int = 240
    grace_seconds: int = 86_400
    low_balance_hours: int = 24
    admin_mail: str = ""

    def approves(self, day_micro: int) -> bool:
        """Whether a request that costs so much per day needs nobody's answer."""
        return self.approval == "auto" or (self.approval == "auto_under" and day_micro <= self.approval_under_micro)


def compose(config: Config, settings: Mapping[str, Any]) -> Rules:
    """The rules; a setting that is missing has its default."""
    found = {
        "approval": settings.get("cloud.approval"),
        "approval_under_micro": parse(str(settings.get("cloud.approval_under_ccu") or "0"), "approval_under_ccu"),
        "max_quantity": settings.get("cloud.max_quantity"),
        "orders_per_hour": settings.get("cloud.orders_per_hour"),
        "grace_seconds": settings.get("cloud.grace_seconds"),
        "low_balance_hours": settings.get("cloud.low_balance_hours"),
        "admin_mail": settings.get("mail.admin"),
    }
    known: dict[str, Any] = asdict(config) | {name: value for name, value in found.items() if value is not None}
    return Rules(**known)


class RuleBook:
    """Remembers the rules for code that may not wait (observers, transactions)."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.now = compose(services.config, {})

    async def read(self) -> Rules:
        """Ask for the settings again."""
        settings = await self._services.ask("settings.get")
        self.now = compose(self._services.config, {name: each["value"] for name, each in settings.items()})
        return self.now
