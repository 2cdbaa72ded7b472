"""An append-only file of lines that survives the death of the process.

A line is written by one system call, so a kill leaves whole lines. It is not synced: what is simulated need not
survive a power cut. Opening compacts it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


class Journal:
    """Read once with ``lines``, then begun afresh with ``rewrite``, then appended to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def lines(self) -> Iterable[str]:
        """What was appended, in order, without the ends of lines."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        for line in text.splitlines(keepends=True):
            if line.endswith("\n"):  # a full disk may have cut the last one short
                yield line[:-1]

    def rewrite(self, lines: Iterable[str]) -> None:
        """Put a fresh journal with these lines in place and go on appending to it."""
        draft = self._path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        self._descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(os.dup(self._descriptor), "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
        draft.replace(self._path)

    def append(self, line: str) -> None:
        """Add a line."""
        os.write(self._descriptor, f"{line}\n".encode())

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)
