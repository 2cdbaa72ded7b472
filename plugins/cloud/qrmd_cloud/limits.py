"""What a user has, may have, and asks for. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from qrmd.api import NoCapacity
from qrmd_cloud.model import Request, User


@dataclass(frozen=True, slots=True)
class Amounts:
    """Sums over servers."""

    servers: int = 0
    cpus: int = 0
    memory_mb: int = 0
    disk_mb: int = 0
    nics: int = 0

    def __add__(self, other: Amounts) -> Amounts:
        """Field by field."""
        return Amounts(**{name: value + getattr(other, name) for name, value in asdict(self).items()})


def allowed(user: User) -> Amounts:
    """The limits of a user; 0 means none."""
    return Amounts(user.limit_servers, user.limit_cpus, user.limit_memory_mb, user.limit_disk_mb, user.limit_nics)


def asked(request: Request) -> Amounts:
    """What a request asks for in all."""
    n = request.quantity
    return Amounts(n, n * request.cpus, n * request.memory_mb, n * request.disk_mb, n * request.nics)


def table(limits: Amounts, used: Amounts, wanted: Amounts) -> list[dict[str, Any]]:
    """One row per limit: what there is, what is used, what it would be."""
    after = asdict(used + wanted)
    return [
        {"name": name, "limit": limit, "used": getattr(used, name), "after": after[name]}
        for name, limit in asdict(limits).items()
    ]


def refuse_excess(user: User, used: Amounts, wanted: Amounts) -> None:
    """Raise NoCapacity naming the first limit that would be passed, and by how much."""
    for row in table(allowed(user), used, wanted):
        missing = row["after"] - row["limit"]
        if row["limit"] and missing > 0:
            raise NoCapacity(
                f"the limit of {row['limit']} {row['name']} leaves {max(0, row['limit'] - row['used'])},"
                f" {getattr(wanted, row['name'])} are asked for",
                subject=f"cloud_user:{user.id}",
                hint=f"{missing} {row['name']} too many: order less, give servers back, or ask for a higher limit",
                limit={row["name"]: row["limit"]},
                used={row["name"]: row["used"]},
                asked={row["name"]: getattr(wanted, row["name"])},
                missing={row["name"]: missing},
            )
