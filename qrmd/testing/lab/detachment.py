"""Leaving the caller behind: a program of the lab goes on when the one that started it has ended."""

from __future__ import annotations

import os
from pathlib import Path


def detach(pid_file: Path, log: Path) -> None:
    """Go on in a new session as nobody's child; the process that was started ends with status 0.

    To be called when everything that can fail has been done: until then faults go to the caller's pipes. It
    must be called before any thread is made.
    """
    if pid := os.fork():
        pid_file.write_text(f"{pid}\n", encoding="ascii")  # before the end that the caller waits for
        os._exit(0)
    os.setsid()
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
