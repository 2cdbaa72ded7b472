"""An append-only file of lines that survives the death of the process.

A line is written by one system call, so a kill leaves whole lines. It is not synced: what is simulated need not
survive a power cut. Opening compacts it when most of its lines are about the past.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

MOST = 4
"""Lines for each thing that is there."""


class Journal:
    """Read once with ``lines``, then taken up with ``begin``, then appended to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._count = 0
        self._whole = True

    def lines(self) -> list[str]:
        """What was appended, in order, without the ends of lines."""
        try:
            *found, rest = self._path.read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            return []
        self._count, self._whole = len(found), not rest  # a full disk may have cut the last one short
        return found

    def begin(self, things: int, lines: Iterable[str]) -> None:
        """Go on appending.

        Args:
            things: how many are there.
            lines: that make them, for a fresh journal, where the old one has too many or is broken.
        """
        draft, anew = self._path, not self._whole or self._count > MOST * things
        if anew:
            draft = self._path.with_suffix(".new")
            draft.unlink(missing_ok=True)
        self._descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if anew:
            with os.fdopen(os.dup(self._descriptor), "w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)
            draft.replace(self._path)

    def append(self, line: str) -> None:
        """Add a line."""
        os.write(self._descriptor, f"{line}\n".encode())

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)
