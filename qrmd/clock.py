"""Time as the rows keep it: integer microseconds since the epoch, UTC."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

SECOND = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


def to_iso(at_us: int) -> str:
    """ISO 8601 UTC with a ``Z``, seconds resolution when there are no microseconds."""
    moment = EPOCH + timedelta(microseconds=at_us)
    return moment.isoformat(timespec="microseconds" if moment.microsecond else "seconds").replace("+00:00", "Z")


def from_iso(text: str) -> int:
    """Microseconds since the epoch of an ISO 8601 time; without an offset it is UTC.

    Raises:
        ValueError: not a time, or one before 1970 or after 9999 in UTC, which ``to_iso`` could not show.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        delta = moment.astimezone(UTC) - EPOCH
    except OverflowError:
        raise ValueError(f"{text!r} is out of range") from None
    if delta.days < 0:
        raise ValueError(f"{text!r} is before 1970")
    return (delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds
