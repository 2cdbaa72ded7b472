"""The store: members of a group do not hurt each other, full disks are survived, readers see snapshots."""

from __future__ import annotations

import logging
import os
import sqlite3  # noqa: TID251 - its errors are provoked here
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from qrmd import process
from qrmd.errors import Conflict, Unavailable
from qrmd.store import migrations
from qrmd.store.connection import Db, Transaction
from qrmd.store.database import Store
from qrmd.testing.loop import Loop
from qrmd.vault import Vault


@pytest.fixture
def open_store(loop: Loop) -> Iterator[Callable[[Path], Store]]:
    opened: list[Store] = []

    def make(directory: Path) -> Store:
        store = Store(directory / "qrmd.db", Vault(directory / "key"), loop.deliver)
        store.write_now(_migrate)
        store.start()
        opened.append(store)
        return store

    yield make
    for each in opened:
        each.stop()


@pytest.fixture
def store(open_store: Callable[[Path], Store], tmp_path: Path) -> Store:
    return open_store(tmp_path)


def _migrate(db: Transaction) -> None:
    migrations.core.apply(db.toolkit)
    db.execute("CREATE TABLE lines (text TEXT NOT NULL)")


def insert(db: Transaction, text: str) -> str:
    db.execute("INSERT INTO lines (text) VALUES (?)", (text,))
    return text


def lines(store: Store, loop: Loop) -> list[str]:
    return loop.run(_await(store.read(lambda db: [row[0][:9] for row in db.rows("SELECT text FROM lines")])))


async def _await(deferred: Deferred[Any]) -> Any:
    return await deferred


def together(store: Store, loop: Loop, *functions: Callable[[Transaction], Any]) -> list[Any]:
    """Run as one group: the writer stands until all are queued. Results or errors."""
    stands, gate = threading.Event(), threading.Event()

    def stand(_db: Transaction) -> None:
        stands.set()
        gate.wait(10)

    first = store.write_urgently(stand)
    assert stands.wait(10)
    waiting = [store.write_urgently(each) for each in functions]
    results: list[Any] = [None] * len(waiting)
    for index, each in enumerate(waiting):
        each.addBoth(partial(_keep, results, index))
    gate.set()
    loop.run(_await(gatherResults([first, *waiting])))
    return results


def _keep(results: list[Any], index: int, result: Any) -> None:
    results[index] = getattr(result, "value", result)


def test_one_commit_serves_a_group_and_a_failing_member_hurts_nobody(store: Store, loop: Loop) -> None:
    index: list[str] = []

    def fail(db: Transaction) -> None:
        insert(db, "bad")
        index.append("bad")
        db.on_rollback(index.clear)
        raise Conflict("no")

    before = store.counters.commits
    results = together(store, loop, lambda db: insert(db, "a"), fail, lambda db: insert(db, "c"))
    assert store.counters.commits - before == 2  # the one that stood, and the group
    assert (results[0], results[2]) == ("a", "c")
    assert isinstance(results[1], Conflict)
    assert lines(store, loop) == ["a", "c"]
    assert not index


def test_a_member_that_hides_the_loss_of_the_transaction_is_refused_and_hurts_nobody(store: Store, loop: Loop) -> None:
    def hide(db: Transaction) -> str:
        insert(db, "lost")
        db.execute("ROLLBACK")
        return insert(db, "on its own")

    first = together(store, loop, lambda db: insert(db, "a"), lambda db: insert(db, "b"))
    assert first == ["a", "b"]
    results = together(store, loop, lambda db: insert(db, "c"), hide)
    assert results[0] == "c"
    assert isinstance(results[1], Unavailable)
    assert "lost" not in lines(store, loop)
    assert lines(store, loop).count("c") == 1


def test_a_member_that_failed_is_not_run_again_and_the_others_see_nothing_of_it(store: Store, loop: Loop) -> None:
    runs: list[str] = []

    def note(db: Transaction, text: str) -> list[str]:
        runs.append(text)
        insert(db, text)
        return [row[0] for row in db.rows("SELECT text FROM lines ORDER BY text")]

    def fail(db: Transaction) -> None:
        note(db, "bad")
        raise Conflict("no")

    for number in range(3):
        runs.clear()
        names = [f"{number}{letter}" for letter in "abc"]
        before, after = partial(note, text=names[0]), partial(note, text=names[2])
        results = together(store, loop, before, fail, after, fail)
        assert isinstance(results[1], Conflict)
        assert runs.count("bad") == 2, "once each"
        assert "bad" not in results[2]
        assert results[2][-2:] == [names[0], names[2]]


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_group_that_sqlite_rolls_back_is_replayed_one_by_one(store: Store, loop: Loop, wrapped: bool) -> None:
    index: list[str] = []

    def note(db: Transaction, text: str) -> str:
        index.append(text)
        db.on_rollback(lambda: index.remove(text))
        return insert(db, text)

    def large(db: Transaction) -> str:
        try:
            return note(db, "x" * 50_000_000)
        except sqlite3.Error as error:
            if wrapped:
                raise Conflict("something else") from error
            raise

    pages = loop.run(_await(store.write(lambda db: db.value("PRAGMA page_count")))) + 20
    loop.run(_await(store.write(lambda db: db.value(f"PRAGMA max_page_count = {pages}"))))
    results = together(store, loop, lambda db: note(db, "a"), large, lambda db: note(db, "c"))
    assert isinstance(results[1], Unavailable)
    kept = [each for each in results if isinstance(each, str)]
    assert lines(store, loop) == kept == index
    assert kept[0] == "a"
    loop.run(_await(store.write(lambda db: db.value("PRAGMA max_page_count = 1000000"))))
    assert loop.run(_await(store.write(insert, "later"))) == "later"


def test_call_backs_that_raise_neither_kill_the_writer_nor_repeat_a_commit(store: Store, loop: Loop) -> None:
    def wrong() -> None:
        raise RuntimeError("a bug")

    def commit(db: Transaction) -> str:
        db.on_commit(wrong)
        return insert(db, "a")

    def roll_back(db: Transaction) -> None:
        db.on_rollback(wrong)
        raise Conflict("no")

    def watch(_newest: int) -> None:
        raise sqlite3.OperationalError("from the watcher")

    store.watch_commits(watch)
    together(store, loop, commit, roll_back)
    loop.run(_await(store.write(lambda db: insert(db, "b") and db.execute(_EVENT) and None)))
    assert lines(store, loop) == ["a", "b"]


_EVENT = (
    "INSERT INTO events (at, kind, severity, actor, reason, subject, data)"
    " VALUES (1, 'a.b', 'info', 'x', '', 'y', '{}')"
)


def test_readers_see_a_snapshot_can_not_write_and_live_on(store: Store, loop: Loop) -> None:
    seen: list[int] = []
    between, go_on = threading.Event(), threading.Event()

    def read(db: Db) -> None:
        seen.append(db.value("SELECT count(*) FROM lines"))
        between.set()
        go_on.wait(10)
        seen.append(db.value("SELECT count(*) FROM lines"))

    reading = store.read(read)
    loop.run_until(between.is_set)
    loop.run(_await(store.write(insert, "a")))
    go_on.set()
    loop.run(_await(reading))
    assert seen == [0, 0]
    for _ in range(9):
        with pytest.raises(sqlite3.OperationalError):
            loop.run(_await(store.read(lambda db: db.execute("DELETE FROM lines"))))
        with pytest.raises(sqlite3.OperationalError):
            loop.run(_await(store.read(lambda db: db.execute("COMMIT") and db.execute("nonsense"))))
    assert lines(store, loop) == ["a"]


def test_a_slow_member_is_logged_with_its_name(store: Store, loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    def dawdle(_db: Transaction) -> None:
        until = time.monotonic() + 0.06
        while time.monotonic() < until:
            pass

    with caplog.at_level(logging.WARNING):
        loop.run(_await(store.write(dawdle)))
    assert "dawdle" in caplog.text
    assert store.counters.slow == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    process.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(path)], timeout=10)
    yield path
    process.run(["umount", "-l", str(path)], timeout=10)


def fill(path: Path) -> None:
    """Take all the room there is."""
    facts = os.statvfs(path.parent)
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, facts.f_bavail * facts.f_frsize)


def test_a_full_disk_refuses_new_work_lets_live_work_end_and_is_left_behind(
    small_disk: Path, open_store: Callable[[Path], Store], loop: Loop
) -> None:
    store = open_store(small_disk)
    fill(small_disk / "filler")
    faults = []
    for number in range(3000):
        try:
            loop.run(_await(store.write(insert, f"{number:04} " + "x" * 20_000)))
        except Unavailable as error:
            faults.append(error)
            break
    assert faults
    assert store.disk_full
    count = len(lines(store, loop))
    with pytest.raises(Unavailable, match="new work is refused"):
        loop.run(_await(store.write(insert, "new")))
    for number in range(50):
        loop.run(_await(store.write_urgently(insert, f"live {number:02} " + "x" * 10_000)))
    assert len(lines(store, loop)) == count + 50
    (small_disk / "filler").unlink()
    loop.run(_await(store.write_urgently(insert, "look")))
    assert loop.run(_await(store.write(insert, "again"))) == "again"
    assert not store.disk_full
    check = loop.run(_await(store.read(lambda db: db.value("PRAGMA integrity_check"))))
    assert check == "ok"
