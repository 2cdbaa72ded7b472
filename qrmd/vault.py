"""Secrets of running workflows, encrypted at rest. The key lies in a 0600 file outside the database."""

from __future__ import annotations

import os
import re
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12
_REFERENCE = re.compile(r"secret:([0-9]+)")


class Vault:
    """Seals and opens short texts with AES-256-GCM (NIST SP 800-38D), a random 96-bit nonce each.

    Args:
        path: the key file; made with mode 0600 when it is missing.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(AESGCM.generate_key(256))
                file.flush()
                os.fsync(file.fileno())
        self._cipher = AESGCM(path.read_bytes())

    def seal(self, text: str) -> bytes:
        """Nonce and ciphertext."""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, text.encode(), None)

    def open(self, sealed: bytes) -> str:
        """The text. Raises ``cryptography.exceptions.InvalidTag`` when the key is another one."""
        return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], None).decode()


def references(text: str) -> list[int]:
    """Ids of all ``secret:<id>`` in a text."""
    return [int(found) for found in _REFERENCE.findall(text)]
