"""How a demo ends: by a signal, or with the process that started it."""

from __future__ import annotations

import ctypes
import os
import signal
from types import FrameType

_PR_SET_PDEATHSIG = 1
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """Somebody wants the demo to end. ``number``: the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def listen() -> None:
    """From now on the signals raise ``Ended``, the first time; in children they do what they always do."""
    ours = os.getpid()

    def end(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != ours:  # a library has forked, and ends its child
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        ignore()
        raise Ended(number)

    for number in SIGNALS:
        signal.signal(number, end)


def ignore() -> None:
    """Cleaning up is not interrupted."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def tether() -> None:
    """SIGTERM comes when the parent dies, whatever it dies of.

    Raises:
        Ended: it is dead already.
    """
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent or parent == 1:
        raise Ended(signal.SIGTERM)
