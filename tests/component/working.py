"""The engine as a process that kills itself: ``python working.py DIRECTORY KILL COMMAND …``, under the real reactor.

KILL is ``never``, ``commit:N`` (right before the Nth COMMIT), ``begin:N`` (before the Nth transaction that follows)
or ``deed:N`` (inside the Nth deed, when it has happened outside).
``start KIND ARGUMENTS`` begins a workflow on thing 1 and waits for its end, ``recover`` takes up what is there.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path

from twisted.internet.task import deferLater

from qrmd.testing.reactor import reactor, run
from qrmd.testing.works import ANNA, Works, World


class Fuse:
    """Kills the process when the Nth thing of a sort happens."""

    def __init__(self, told: str) -> None:
        self.sort, _, number = told.partition(":")
        self.left = int(number or 0)

    def saw(self, sort: str) -> None:
        if sort == self.sort:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def statement(self, sql: str) -> None:
        self.saw({"COMMIT": "commit", "BEGIN IMMEDIATE": "begin"}.get(sql, ""))


class Witnessed(World):
    """A world in which deeds burn a fuse."""

    fuse: Fuse

    def note(self, line: str) -> int:
        number = super().note(line)
        self.fuse.saw("deed")
        return number


def main(directory: Path, kill: str, command: str, *given: str) -> None:
    """Run a command and end."""
    logging.basicConfig(level=logging.ERROR)
    world = Witnessed(directory)
    world.fuse = Fuse(kill)
    works = Works(directory, reactor, reactor.callFromThread, world=world)
    works.store.writer.set_trace_callback(world.fuse.statement)

    async def work() -> None:
        works.store.start()
        if command == "start":
            arguments = json.loads(given[1])
            ident = await works.engine.start(given[0], 1, arguments, actor=ANNA, secrets={"password": "s3cret"})
            await works.engine.wait(ident, 60)
        else:
            await works.engine.recover()
            for each in list(works.engine.live):
                await works.engine.wait(each, 60)
            while len(works.engine.debts):
                await deferLater(reactor, 0.01)
        works.engine.drain()

    run(work)
    works.lanes.stop()
    works.store.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *sys.argv[3:])
