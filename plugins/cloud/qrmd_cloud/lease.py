"""How long a request will still be paid for, and what that costs. Pure."""

from __future__ import annotations

from qrmd.api import SECOND
from qrmd_cloud.config import Config
from qrmd_cloud.model import Request
from qrmd_cloud.money import HOUR_SECONDS, cost


def seconds_left(request: Request, now: int, config: Config) -> int:
    """Of the lease, from its start or now; an open end counts as ``open_hold_hours``."""
    if not request.stop_at:
        return config.open_hold_hours * HOUR_SECONDS
    return max(0, -(-(request.stop_at - max(now, request.start_at)) // SECOND))


def need(request: Request, servers: int, now: int, config: Config) -> int:
    """Micro-CCU to hold for so many servers."""
    return servers * cost(request.price_micro, seconds_left(request, now, config))
