"""CCUs as integers of a millionth, and exact proration by the second. Pure."""

from __future__ import annotations

import re

from qrmd.api import SECOND, InvalidInput, names

MICRO = 1_000_000
HOUR_SECONDS = 3600
MOST = 10**12 * MICRO
"""Largest amount: fits a 64-bit integer with room for sums."""

_DECIMAL = re.compile(r"([0-9]{1,13})(?:\.([0-9]{1,6}))?")


def parse(text: str, what: str = "amount") -> int:
    """Micro-CCU of a decimal string such as ``12`` or ``0.25``.

    Raises:
        InvalidInput: not a plain decimal, more than six decimals, negative, or above 10^12 CCU.
    """
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise InvalidInput(
            f"{what} {names.shown(text)} is no amount of CCUs",
            hint="a decimal such as 12.5, with at most six decimals",
        )
    micro = int(match[1]) * MICRO + int((match[2] or "").ljust(6, "0"))
    if micro > MOST:
        raise InvalidInput(f"{what} is more than {show(MOST)} CCU")
    return micro


def show(micro: int) -> str:
    """The shortest exact decimal string: ``12.5``, ``0``, ``-0.000001``."""
    whole, part = divmod(abs(micro), MICRO)
    text = f"{whole}.{part:06d}".rstrip("0").rstrip(".")
    return f"-{text}" if micro < 0 else text


def prorate(price_micro: int, begin_us: int, from_us: int, to_us: int) -> int:
    """Micro-CCU for [from, to) of an interval that begins at ``begin``: whole seconds since its begin count.

    Any split of an interval sums to the same total, because both ends are rounded from the same anchor.

    Args:
        price_micro: per hour.
    """
    return _since(price_micro, begin_us, to_us) - _since(price_micro, begin_us, from_us)


def _since(price_micro: int, begin_us: int, at_us: int) -> int:
    return price_micro * ((at_us - begin_us) // SECOND) // HOUR_SECONDS


def cost(price_micro: int, seconds: int) -> int:
    """Micro-CCU for so many seconds at ``price_micro`` per hour, rounded up: never less than what will be billed."""
    return -(-price_micro * seconds // HOUR_SECONDS)


def lasting(price_micro: int, funds_micro: int) -> int:
    """Seconds that ``funds_micro`` pay for at ``price_micro`` per hour (a century when it is free)."""
    if price_micro <= 0:
        return 100 * 365 * 24 * HOUR_SECONDS
    return max(0, funds_micro) * HOUR_SECONDS // price_micro
