"""The store: one writer thread with group commit, reader threads, and a ballast for the day the disk is full."""

from __future__ import annotations

import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from twisted.internet.defer import Deferred

from qrmd.errors import Unavailable
from qrmd.store.connection import Db, Transaction, open_writer
from qrmd.store.member import Member, answer
from qrmd.store.readers import Readers
from qrmd.vault import Vault

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

GROUP_LIMIT = 256
SLOW_MEMBER = 0.05
BALLAST_BYTES = 16 * 2**20
LOOK_SECONDS = 1.0
"""Between two looks for room while the disk is full and nobody writes."""
FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


class _DisturbedError(Exception):
    """A member of a group without savepoints failed."""


@dataclass(slots=True)
class Counters:
    """What the metrics page shows of the writer."""

    commits: int = 0
    members: int = 0
    slow: int = 0
    seconds: float = field(default=0.0)


class Store:
    """``await write(fn, *args)`` and ``await read(fn, *args)`` with plain functions that take ``db`` first.

    Args:
        path: the database file; its directory must exist.
        vault: seals the secrets that store functions keep.
        deliver: hands a function over to the reactor thread (``reactor.callFromThread``).
    """

    def __init__(self, path: Path, vault: Vault, deliver: Callable[[Callable[[], None]], Any]) -> None:
        self.path = path
        self.counters = Counters()
        self.disk_full = False
        self._deliver = deliver
        self._watcher: Callable[[int], None] | None = None
        self._newest_event = 0
        self._trusting = True
        self._ballast = path.with_name(path.name + ".ballast")
        self._queue: queue.SimpleQueue[Member | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_loop, name="store-writer", daemon=True)
        self._readers = Readers(path, deliver)
        self._connection = open_writer(path)
        self._tx = Transaction(self._connection, vault)

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Start the threads. Until then ``write_now`` may be used (migrations, rebuilding indexes)."""
        self._fill_ballast()
        self._tx.memory.begin()
        self._thread.start()
        self._readers.start()

    def stop(self) -> None:
        """Finish what is queued, then end the threads and close. Blocks."""
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()
        self._readers.stop()
        self._connection.close()

    # ------------------------------------------------------------ calls

    def write(self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **_: P.kwargs) -> Deferred[T]:
        """Run ``function(db, *args)`` in the writer thread; fires after the COMMIT that holds it.

        Raises:
            Unavailable: the disk is full.
        """
        return self._submit(function, args, urgent=False)

    def write_urgently(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **_: P.kwargs
    ) -> Deferred[T]:
        """As ``write``, and still accepted while the disk is full: journal entries of live workflows."""
        return self._submit(function, args, urgent=True)

    def read(self, function: Callable[Concatenate[Db, P], T], *args: P.args, **_: P.kwargs) -> Deferred[T]:
        """Run ``function(db, *args)`` in a reader thread on a snapshot. Only in the reactor thread."""
        return self._readers.read(function, args)

    @property
    def writer(self) -> sqlite3.Connection:
        """The writing connection, for migrations before ``start``."""
        return self._connection

    def write_now(self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **_: P.kwargs) -> T:
        """Run and commit in this thread. Only before ``start``."""
        member: Member = Member(function, args, True, Deferred())
        self._commit([member])
        if member.error is not None:
            raise member.error
        result: T = member.result
        return result

    def _submit(self, function: Callable[..., Any], args: tuple[Any, ...], *, urgent: bool) -> Deferred[Any]:
        finished: Deferred[Any] = Deferred()
        self._queue.put(Member(function, args, urgent, finished))
        return finished

    def watch_commits(self, function: Callable[[int], None]) -> None:
        """Call ``function(id of the newest event)`` in the writer thread after commits that appended events."""
        self._watcher = function

    # ------------------------------------------------------------ writer

    def _after_commit(self) -> None:
        """What is committed stays so, whatever fails here."""
        try:
            self._tell_watcher()
        except Exception:
            log.exception("after a commit")

    def _tell_watcher(self) -> None:
        if self._watcher is None:
            return
        newest = self._tx.value("SELECT seq FROM sqlite_sequence WHERE name = 'events'") or 0
        if newest != self._newest_event:
            self._newest_event = newest
            self._watcher(newest)

    def _write_loop(self) -> None:
        while True:
            group, ended = self._take_group()
            if group:
                self._commit(group)
                self._deliver(partial(answer, group))
            if ended:
                return

    def _take_group(self) -> tuple[list[Member], bool]:
        group: list[Member] = []
        try:
            member = self._queue.get(timeout=LOOK_SECONDS if self.disk_full else None)
        except queue.Empty:
            self._look_for_space()
            return group, False
        while True:
            if member is None:
                return group, True
            group.append(member)
            if len(group) >= GROUP_LIMIT:
                return group, False
            try:
                member = self._queue.get_nowait()
            except queue.Empty:
                return group, False

    def _commit(self, group: list[Member]) -> None:
        """Run all members in one transaction; when that is lost, make room and replay each alone."""
        if self.disk_full:
            self._look_for_space()
        try:
            self._attempt_together(group)
        except sqlite3.Error as error:
            self._abandon()
            if _is_full(error):
                self._enter_disk_full(error)
            self._replay(group)
        self._after_commit()

    def _attempt_together(self, group: list[Member]) -> None:
        """Without savepoints, which cost as much as small members do, until a member fails.

        Then all is rolled back, and the others run again with them; so does the group after that.
        """
        trusting, self._trusting = self._trusting and not self.disk_full, True
        if trusting:
            try:
                self._attempt(group, self._trust_member)
            except _DisturbedError:
                self._abandon()
                group = [member for member in group if member.error is None]
                self._trusting = False
            else:
                return
        if group:
            self._attempt(group, self._run_member)
            self._trusting = self._trusting and all(member.error is None for member in group)

    def _replay(self, group: list[Member]) -> None:
        for member in group:
            try:
                self._attempt([member], self._run_member)
            except sqlite3.Error as error:
                self._abandon()
                member.error = Unavailable(
                    f"the database can't be written: {error}",
                    subject=str(self.path),
                    hint="make space on its file system; the daemon goes on by itself",
                )

    def _attempt(self, group: list[Member], run: Callable[[Member], None]) -> None:
        started = time.monotonic()
        self._connection.execute("BEGIN IMMEDIATE")
        for member in group:
            run(member)
        self._connection.execute("COMMIT")
        self._tx.committed()
        self.counters.commits += 1
        self.counters.members += len(group)
        self.counters.seconds += time.monotonic() - started

    def _trust_member(self, member: Member) -> None:
        """Raises _DisturbedError when it failed: what it raised stands, everything else must be run again."""
        began = time.monotonic()
        try:
            member.result = member.function(self._tx, *member.args)
        except Exception as error:
            if not self._connection.in_transaction or (isinstance(error, sqlite3.Error) and _is_full(error)):
                raise error if isinstance(error, sqlite3.Error) else sqlite3.OperationalError(str(error)) from error
            member.error = error
            raise _DisturbedError from error
        if not self._connection.in_transaction:
            raise sqlite3.OperationalError(f"{_name(member.function)} went on after the transaction was lost")
        self._note_time(member, began)

    def _run_member(self, member: Member) -> None:
        member.error = None
        if self.disk_full and not member.urgent:
            member.error = Unavailable(
                "the disk of the database is full; new work is refused",
                subject=str(self.path),
                hint="make space on its file system; the daemon goes on by itself",
            )
            return
        mark = self._tx.mark()
        began = time.monotonic()
        self._connection.execute("SAVEPOINT member")
        try:
            member.result = member.function(self._tx, *member.args)
        except Exception as error:
            if not self._connection.in_transaction:  # SQLite has rolled back the whole group (SQLITE_FULL, …)
                raise error if isinstance(error, sqlite3.Error) else sqlite3.OperationalError(str(error)) from error
            self._connection.execute("ROLLBACK TO member")
            self._tx.rolled_back(mark)
            member.error = error
            if isinstance(error, sqlite3.Error) and _is_full(error):
                raise
        self._connection.execute("RELEASE member")
        self._note_time(member, began)

    def _note_time(self, member: Member, began: float) -> None:
        spent = time.monotonic() - began
        if spent > SLOW_MEMBER:
            self.counters.slow += 1
            log.warning("slow write: %s took %d ms", _name(member.function), spent * 1000)

    def _abandon(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self._tx.rolled_back((0, 0))

    # ------------------------------------------------------------ disk full

    def _fill_ballast(self) -> None:
        """Reserve real blocks; without room for them the daemon starts, and says so in ``/readyz``."""
        try:
            with self._ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, BALLAST_BYTES)
        except OSError as error:
            self._ballast.unlink(missing_ok=True)
            self.disk_full = True
            log.error("no room for the ballast file %s: %s", self._ballast, error)  # noqa: TRY400

    def _enter_disk_full(self, error: sqlite3.Error) -> None:
        log.error("database %s: %s; the ballast is freed so that live workflows can end", self.path, error)
        self.disk_full = True
        self._ballast.unlink(missing_ok=True)

    def _look_for_space(self) -> None:
        facts = os.statvfs(self.path.parent)
        if facts.f_bavail * facts.f_frsize < 2 * BALLAST_BYTES:
            return
        self.disk_full = False
        self._fill_ballast()
        if not self.disk_full:
            log.warning("database %s: there is room again, new work is accepted", self.path)


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in FULL


def _name(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', repr(function))}"
