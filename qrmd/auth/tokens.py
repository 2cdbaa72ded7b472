"""API tokens: 256 random bits, shown once, kept as SHA-256."""

from __future__ import annotations

import hashlib
import re
import secrets

PREFIX = "qrm_"
_SHAPE = re.compile(r"qrm_[A-Za-z0-9_-]{43}")


def generate() -> str:
    """A new token's secret."""
    return PREFIX + secrets.token_urlsafe(32)


def looks_like(secret: str) -> bool:
    """Whether it has a token's shape; a password never has."""
    return _SHAPE.fullmatch(secret) is not None


def digest(secret: str) -> str:
    """What is kept of it. The secret has 256 bits, so a fast hash without salt is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()
