"""Starts a program with listening sockets in hand: ``python -m qrmd.testing.launcher admin=7 … -- PROGRAM …``.

It does what a service supervisor does (sd_listen_fds(3)) and becomes the program, so the number of the process
stays. Sockets keep the network in which they were made: a daemon inside a lab answers outside of it.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Mapping

from qrmd.notify import FIRST


def launch(sockets: Mapping[str, int], argv: list[str]) -> None:
    """Become ``argv`` with these descriptors, by name; does not return."""
    clear = FIRST + len(sockets)
    copies = [fcntl.fcntl(number, fcntl.F_DUPFD, clear) for number in sockets.values()]
    for position, copy in enumerate(copies):
        os.dup2(copy, FIRST + position)
        os.close(copy)
    for number in sockets.values():
        if number >= clear:
            os.close(number)
    environment = {
        **os.environ,
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": str(len(sockets)),
        "LISTEN_FDNAMES": ":".join(sockets),
    }
    os.execve(argv[0], argv, environment)  # noqa: S606 - no shell: argv is a list


def main(arguments: list[str]) -> None:
    """Read the command line."""
    end = arguments.index("--")
    pairs = (each.partition("=") for each in arguments[:end])
    launch({name: int(number) for name, _, number in pairs}, arguments[end + 1 :])


if __name__ == "__main__":
    main(sys.argv[1:])
