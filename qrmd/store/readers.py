"""Reader threads of the store.

A hop between threads costs several times what a small read does. So what is asked for in one turn of the reactor
goes to a thread together when the turn ends, is read on one snapshot, and is answered together. What is asked for
while a group is under way goes with the next one. When a group takes long, those of it that are done are answered,
and what would wait for a slow read goes to another thread.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from qrmd.store.connection import Db, open_reader
from qrmd.store.member import Member, answer

READERS = 3
PATIENCE = 0.005
"""Seconds after which those of a group that are done need not wait for its others, nor others for the group."""


class _Group:
    """Its thread takes from the front of ``left``; the reactor thread may take away what is there still.

    ``seen``: how many were left when it was looked at last, -1 before its thread has begun.
    """

    __slots__ = ("begun", "done", "left", "seen")

    def __init__(self, members: list[Member]) -> None:
        self.left = deque(members)
        self.done: deque[Member] = deque()
        self.begun = False
        self.seen = -1

    def take_stuck(self) -> Iterator[Member]:
        """Those behind one that was under way at the last look already."""
        stuck = self.seen == len(self.left)
        self.seen = len(self.left) if self.begun else -1
        return _drain(self.left if stuck else deque())


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
        self._under_way: list[_Group] = []
        self._patient_until = 0.0
        self._watching = False
        self._waiting: list[Member] = []
        self._groups: queue.SimpleQueue[_Group | None] = queue.SimpleQueue()
        self._looks: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads; what is asked for before waits."""
        named = {f"store-reader-{number}": self._loop for number in range(READERS)} | {"store-watch": self._watch}
        for name, target in named.items():
            thread = threading.Thread(target=target, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Read what was asked for, then end the threads. Blocks."""
        self._send()
        for _ in range(READERS):
            self._groups.put(None)
        self._stopped.set()
        self._looks.put(False)
        for thread in self._threads:
            thread.join()

    def read(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Deferred[Any]:
        """``function(db, *args)``, as of the end of this turn or later. Only in the reactor thread."""
        finished: Deferred[Any] = Deferred()
        self._waiting.append(Member(function, args, False, finished))
        if self._ordered:
            return finished
        if self._under_way and time.monotonic() < self._patient_until:
            self._look_later()
        else:
            self._ordered = True
            self._deliver(self._send)
        return finished

    def _send(self) -> None:
        self._ordered = False
        if self._waiting:
            group, self._waiting = _Group(self._waiting), []
            self._under_way.append(group)
            self._patient_until = time.monotonic() + self._patience
            if len(group.left) > 1:
                self._look_later()
            self._groups.put(group)

    def _finish(self, group: _Group) -> None:
        self._under_way.remove(group)
        answer(_drain(group.done))
        self._send()

    # ------------------------------------------------------------ patience

    def _look_later(self) -> None:
        if not self._watching:
            self._watching = True
            self._looks.put(True)

    def _watch(self) -> None:
        while self._looks.get() and not self._stopped.wait(self._patience):
            self._deliver(self._look)

    def _look(self) -> None:
        """Patience is over."""
        self._watching = False
        for group in tuple(self._under_way):
            answer(_drain(group.done))
            self._waiting.extend(group.take_stuck())
        self._send()
        if any(group.left for group in self._under_way):
            self._look_later()

    # ------------------------------------------------------------ in a reader thread

    def _loop(self) -> None:
        db = Db(open_reader(self._path))
        while (group := self._groups.get()) is not None:
            group.begun = True
            for member in _drain(group.left):
                _run(db, member)
                group.done.append(member)
            _end(db)
            self._deliver(partial(self._finish, group))
        db.connection.close()


def _drain(members: deque[Member]) -> Iterator[Member]:
    """Take from the front while there is one; another thread may take too."""
    while True:
        try:
            member = members.popleft()
        except IndexError:
            return
        yield member


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
