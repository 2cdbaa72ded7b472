"""Reader threads of the store.

A hop between threads costs several times what a small read does. So what is asked for in one turn of the reactor
goes to a thread together when the turn ends, is read on one snapshot, and is answered together. What is asked for
while a group is under way goes with the next one; when that takes long, whoever asks next has another thread serve
all that wait.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from qrmd.store.connection import Db, open_reader
from qrmd.store.member import Member, answer

READERS = 3
PATIENCE = 0.005
"""Seconds after which those of a group that are done need not wait for its others, nor others for the group."""


class Readers:
    """Threads that read.

    Args:
        path: the database file.
        deliver: hands a function over to the reactor thread, to be run in a later turn (``reactor.callFromThread``).
        patience: see ``PATIENCE``.
    """

    def __init__(self, path: Path, deliver: Callable[[Callable[[], None]], Any], *, patience: float = PATIENCE) -> None:
        self._path = path
        self._deliver = deliver
        self._patience = patience
        self._ordered = False
        self._under_way = 0
        self._patient_until = 0.0
        self._waiting: list[Member] = []
        self._groups: queue.SimpleQueue[list[Member] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads; what is asked for before waits."""
        for number in range(READERS):
            thread = threading.Thread(target=self._loop, name=f"store-reader-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Read what was asked for, then end the threads. Blocks."""
        self._send()
        for _ in self._threads:
            self._groups.put(None)
        for thread in self._threads:
            thread.join()

    def read(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Deferred[Any]:
        """``function(db, *args)``, as of the end of this turn or later. Only in the reactor thread."""
        finished: Deferred[Any] = Deferred()
        self._waiting.append(Member(function, args, False, finished))
        if not self._ordered and not (self._under_way and time.monotonic() < self._patient_until):
            self._ordered = True
            self._deliver(self._send)
        return finished

    def _send(self) -> None:
        self._ordered = False
        if self._waiting:
            group, self._waiting = self._waiting, []
            self._under_way += 1
            self._patient_until = time.monotonic() + self._patience
            self._groups.put(group)

    def _answer_last(self, group: list[Member]) -> None:
        self._under_way -= 1
        answer(group)
        self._send()

    def _loop(self) -> None:
        db = Db(open_reader(self._path))
        while (group := self._groups.get()) is not None:
            self._serve(db, group)
        db.connection.close()

    def _serve(self, db: Db, group: list[Member]) -> None:
        done: list[Member] = []
        patient_until = time.monotonic() + self._patience
        for member in group:
            if time.monotonic() > patient_until:
                self._deliver(partial(answer, done))
                done, patient_until = [], time.monotonic() + self._patience
            _run(db, member)
            done.append(member)
        _end(db)
        self._deliver(partial(self._answer_last, done))


def _run(db: Db, member: Member) -> None:
    """On the snapshot that the group has; after a failure the next one begins another."""
    try:
        if not db.connection.in_transaction:
            db.execute("BEGIN")
        member.result = member.function(db, *member.args)
    except Exception as error:  # noqa: BLE001 - it goes to the awaiter
        member.error = error
        _end(db)


def _end(db: Db) -> None:
    if db.connection.in_transaction:
        db.connection.rollback()
