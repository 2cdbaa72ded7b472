"""The floor: the bare journal writes of a nine-step workflow, with nothing around them.

Twenty small transactions (begin; intent and outcome of nine steps; end) through one writer thread with group commit,
``synchronous=FULL``, awaited one after the other on a Twisted reactor. No engine can be faster with this journal.
"""

from __future__ import annotations

import queue
import sqlite3  # noqa: TID251 - below the store, to measure what it stands on
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from tests.bench.stint import Stint, run_at_once

SCHEMA = (
    "CREATE TABLE workflows (id INTEGER PRIMARY KEY, subject TEXT NOT NULL, state TEXT NOT NULL) STRICT",
    """CREATE TABLE steps (id INTEGER PRIMARY KEY, workflow_id INTEGER NOT NULL, position INTEGER NOT NULL,
    state TEXT NOT NULL, args TEXT NOT NULL, result TEXT NOT NULL DEFAULT '{}', UNIQUE (workflow_id, position))
    STRICT""",
)
STEPS = 9

Write = Callable[[sqlite3.Connection], Any]


class Writer:
    """One thread, one connection, one COMMIT for all that is waiting."""

    def __init__(self, path: Path, deliver: Callable[[Callable[[], None]], Any]) -> None:
        self.commits = 0
        self._deliver = deliver
        self._queue: queue.SimpleQueue[tuple[Write, Deferred[Any]] | None] = queue.SimpleQueue()
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        for statement in SCHEMA:
            self._connection.execute(statement)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def write(self, function: Write) -> Deferred[Any]:
        """Fires with what ``function(connection)`` returned, after the COMMIT."""
        finished: Deferred[Any] = Deferred()
        self._queue.put((function, finished))
        return finished

    def stop(self) -> None:
        """End the thread."""
        self._queue.put(None)
        self._thread.join()
        self._connection.close()

    def _work(self) -> None:
        while True:
            group = [self._queue.get()]
            while not self._queue.empty():
                group.append(self._queue.get())
            self._connection.execute("BEGIN IMMEDIATE")
            results = [(each[1], each[0](self._connection)) for each in group if each]
            self._connection.execute("COMMIT")
            self.commits += 1
            self._deliver(partial(_fire, results))
            if None in group:
                return


def _fire(results: list[tuple[Deferred[Any], Any]]) -> None:
    for finished, value in results:
        finished.callback(value)


async def run_workflow(writer: Writer, number: int) -> None:
    """The twenty transactions of one workflow."""
    ident = await writer.write(lambda db: _begin(db, number))
    for position in range(STEPS):
        await writer.write(partial(_step, workflow=ident, position=position, state="running"))
        await writer.write(partial(_step, workflow=ident, position=position, state="done"))
    await writer.write(lambda db: db.execute("UPDATE workflows SET state = 'done' WHERE id = ?", (ident,)))


def _begin(db: sqlite3.Connection, number: int) -> int | None:
    ident = db.execute("INSERT INTO workflows (subject, state) VALUES (?, 'running')", (f"a:{number}",)).lastrowid
    rows = [(ident, position, '{"host":1,"uuid":"x"}') for position in range(STEPS)]
    db.executemany("INSERT INTO steps (workflow_id, position, state, args) VALUES (?, ?, 'pending', ?)", rows)
    return ident


def _step(db: sqlite3.Connection, workflow: int | None, position: int, state: str) -> None:
    db.execute("UPDATE steps SET state = ? WHERE workflow_id = ? AND position = ?", (state, workflow, position))


async def measure(writer: Writer, count: int, at_once: int) -> Stint:
    """So many workflows, so many at a time."""
    commits, cpu, began = writer.commits, time.process_time(), time.monotonic()
    await run_at_once(lambda number: run_workflow(writer, number), range(count), at_once)
    return Stint(count, time.monotonic() - began, time.process_time() - cpu, writer.commits - commits)
