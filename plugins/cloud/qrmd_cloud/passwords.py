"""Passwords of cloud users: argon2id hashes, made in a lane of their own."""

from __future__ import annotations

from argon2 import PasswordHasher

from qrmd.api import InvalidInput

SHORTEST, LONGEST = 8, 256
LANE = "cloud-passwords"

_hasher = PasswordHasher()


def check_password(value: str) -> str:
    """Empty (one is made), or 8 to 256 printable characters. Raises InvalidInput, never showing the value."""
    if value and (not SHORTEST <= len(value) <= LONGEST or not value.isprintable()):
        raise InvalidInput(f"a password has {SHORTEST} to {LONGEST} printable characters")
    return value


def hash_now(password: str) -> str:
    """The argon2id hash. Blocks for some 80 ms."""
    return _hasher.hash(password)
