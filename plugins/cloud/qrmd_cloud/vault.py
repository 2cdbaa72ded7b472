"""Secrets of a workflow, kept by the core until the workflow ends."""

from __future__ import annotations

import secrets as random

from qrmd.api import secrets as kept

keep, named = kept.keep, kept.named

_ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"

__all__ = ["keep", "make_password", "named"]


def make_password() -> str:
    """A password of 116 random bits that can be read aloud."""
    return "".join(random.choice(_ALPHABET) for _ in range(20))
