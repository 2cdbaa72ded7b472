"""One demo at a time in a lab: the next one waits for one that is ending, and refuses beside one that is not."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

from qrmd.errors import PreconditionFailed
from qrmd.testing.lab.lab import Progress
from qrmd.testing.waiting import wait_until

LOCKS = Path("/run")
NOTICE_SECONDS = 3.0
"""In which one whose make was killed says that it is ending."""
END_SECONDS = 60.0


class Turn:
    """A lock that ends with this process. The file says who holds it, and whether they are ending."""

    def __init__(self, lab: str) -> None:
        self._lab = lab
        self._path = LOCKS / f"qrmd-demo-{lab}.lock"
        self._file: IO[str] | None = None

    def take(self, progress: Progress) -> None:
        """Take it, after the one before if that is ending.

        Raises:
            PreconditionFailed: another demo runs.
        """
        self._file = os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")
        if not self._try():
            progress("another demo is there; waiting a moment whether it ends")
            if not self._wait(lambda: self._try() or self._holder().endswith("ending"), NOTICE_SECONDS):
                self._refuse()
            if not self._wait(self._try, END_SECONDS):
                self._refuse()
        self._say("running")

    def announce_end(self) -> None:
        """Whoever comes next may wait."""
        self._say("ending")

    def give_up(self) -> None:
        """Let the next one in."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _try(self) -> bool:
        assert self._file is not None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        try:
            wait_until(condition, timeout=seconds, what="the other demo")
        except TimeoutError:
            return False
        return True

    def _refuse(self) -> None:
        pid = self._holder().partition(" ")[0] or "?"
        raise PreconditionFailed(f"another demo runs as process {pid}", hint=f"end it with Ctrl-C or: kill {pid}")

    def _holder(self) -> str:
        return self._path.read_text(encoding="ascii").strip()

    def _say(self, what: str) -> None:
        if self._file is not None:
            self._file.seek(0)
            self._file.truncate()
            self._file.write(f"{os.getpid()} {what}\n")
            self._file.flush()
