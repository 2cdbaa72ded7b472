"""What an administrator sets of the cloud at run time."""

from __future__ import annotations

from typing import Annotated

from qrmd.api import Check, Range, Setting, one_of
from qrmd_cloud.money import parse


def _amount(value: str) -> str:
    """A decimal string as CCUs are written. Raises InvalidInput."""
    parse(value, "it")
    return value


SETTINGS = (
    Setting(
        "cloud.approval", one_of("always", "auto", "auto_under"), "always",
        "which requests wait for an approver: always, none (auto), or those that cost more (auto_under)",
    ),
    Setting(
        "cloud.approval_under_ccu", Annotated[str, Check(_amount)], "0",
        "with auto_under: CCUs per day up to which nobody is asked",
    ),
    Setting("cloud.max_quantity", Annotated[int, Range(1, 1000)], 20, "most servers in one request"),
    Setting(
        "cloud.orders_per_hour", Annotated[int, Range(1, 100_000)], 240,
        "most requests that one user may make within an hour, whatever became of them",
    ),
    Setting(
        "cloud.grace_seconds", Annotated[int, Range(0, 31_536_000)], 86_400,
        "from stopped for lack of CCUs to removed",
    ),
    Setting("cloud.low_balance_hours", Annotated[int, Range(0, 8760)], 24, "mail the user when CCUs last for less"),
)  # fmt: skip
