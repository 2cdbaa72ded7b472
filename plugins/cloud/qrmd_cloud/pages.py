"""Web pages."""

from __future__ import annotations

from qrmd.api import Page


def all_pages() -> list[Page]:
    """Portal and administration."""
    return []
