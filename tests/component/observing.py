"""A small daemon for tests that kill it: ``python observing.py DIRECTORY SITE COMMAND``.

The plugin ``sees`` keeps each event it is shown; ``holds`` keeps the reactor for ever in a planner.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor as made  # noqa: TID251 - this is a daemon of its own
from twisted.internet.defer import Deferred

from qrmd import events
from qrmd.log import start_logging
from qrmd.store.connection import Transaction
from qrmd.testing.workshop import Workshop
from qrmd.watchdog import Watchdog

HEAD = """
import os, signal, time
from dataclasses import dataclass
from pathlib import Path
from qrmd.api import Manifest, Migrations, Transaction, hookimpl

@dataclass(frozen=True)
class Config:
    pass
"""

SEES = """
MIGRATIONS = Migrations("sees")

@MIGRATIONS()
def m001_first(db):
    db.conn.execute("CREATE TABLE sees_events (id INTEGER PRIMARY KEY AUTOINCREMENT, event_id INTEGER) STRICT")

class Plugin:
    manifest = Manifest("sees", "Sees", "Keeps what it sees", "test")
    config_type = Config
    migrations = MIGRATIONS

    def __init__(self, services):
        self.armed = services.state_dir.parent.parent / "kill"

    @hookimpl
    def on_event(self, event, db):
        if event.kind != "test.happened":
            return
        db.insert("INSERT INTO sees_events (event_id) VALUES (?)", (event.id,))
        if not self.armed.exists():
            return
        when, _, number = self.armed.read_text().partition(" ")
        if event.data["number"] == int(number):
            if when == "inside":
                self.die()
            db.on_commit(self.die)

    def die(self):
        self.armed.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
"""

HOLDS = """
class Plugin:
    manifest = Manifest("holds", "Holds", "Holds the reactor", "test")
    config_type = Config
    migrations = None

    def __init__(self, services):
        pass

    @hookimpl
    def appliance_start(self, view):
        while True:
            time.sleep(0.01)
"""

SOURCES = {"sees": HEAD + SEES, "holds": HEAD + HOLDS}


def _happen(db: Transaction, count: int) -> None:
    for number in range(count):
        events.append(db, "test.happened", "test:1", data={"number": number})


async def _work(shop: Workshop, command: str, name: str, count: int) -> None:
    await shop.start()
    if command == "begin":
        await shop.run_plugin(name)
        await shop.store.write(_happen, count)
    if command == "hold":
        await shop.run_plugin(name)
        shop.hooks.steps("appliance_start", None)
    await shop.outbox.caught_up()
    await shop.stop()


def main(directory: Path, site: str, command: str, name: str, count: int) -> None:
    """Run the command, then end by itself; status 0 when it worked."""
    sys.path.insert(0, site)
    start_logging("info")
    reactor: Any = made
    shop = Workshop(directory, reactor, reactor.callFromThread)
    dog = Watchdog(directory, 0.5, shop.plugins.packages, lambda: shop.hooks.culprit)
    failed: list[object] = []

    def begin() -> None:
        dog.start(reactor)
        work: Deferred[Any] = Deferred.fromCoroutine(_work(shop, command, name, count))
        work.addErrback(failed.append)
        work.addBoth(lambda _result: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    dog.stop()
    for each in failed:
        sys.exit(str(each))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
