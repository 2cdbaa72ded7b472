"""Reads that are asked for in one turn: one snapshot, answered together, none hurts or detains another."""

from __future__ import annotations

import sqlite3  # noqa: TID251 - its errors are provoked here
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from qrmd.store import migrations
from qrmd.store.connection import Db, Transaction
from qrmd.store.database import Store
from qrmd.store.readers import Readers
from qrmd.testing.loop import Loop
from qrmd.vault import Vault


@pytest.fixture
def store(loop: Loop, tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "db", Vault(tmp_path / "key"), loop.deliver)
    made.write_now(_migrate)
    made.start()
    yield made
    made.stop()


def _migrate(db: Transaction) -> None:
    migrations.core.apply(db.toolkit)
    db.execute("CREATE TABLE lines (text TEXT NOT NULL)")


def count(db: Db) -> int:
    number: int = db.value("SELECT count(*) FROM lines")
    return number


def insert(db: Transaction) -> None:
    db.execute("INSERT INTO lines (text) VALUES ('a')")


def test_reads_of_one_turn_are_one_group_on_one_snapshot(store: Store, loop: Loop) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def linger(db: Db) -> tuple[str, int]:
        found = where(db)
        begun.set()
        assert go_on.wait(30)
        return found

    def where(db: Db) -> tuple[str, int]:
        return threading.current_thread().name, count(db)

    readers = Readers(store.path, loop.deliver, patience=60.0)
    readers.start()
    answers = [kept(readers.read(each, ())) for each in (linger, where, where)]
    loop.run_until(begun.is_set)
    done = kept(store.write(insert))
    loop.run_until(lambda: bool(done))
    later = kept(store.read(count))
    loop.run_until(lambda: bool(later), what="a read on a snapshot of its own")
    assert later == [1]
    assert not any(answers)
    go_on.set()
    loop.run_until(lambda: all(answers))
    readers.stop()
    assert len({each[0] for each in answers}) == 1
    assert answers[0][0][1] == 0


def test_what_is_asked_for_while_a_group_is_under_way_goes_together(store: Store, loop: Loop) -> None:
    begun, go_on = threading.Event(), threading.Event()
    seen: list[str] = []

    def look(db: Db) -> int:
        seen.append(f"{threading.current_thread().name} {id(db)}")
        return count(db)

    def linger(db: Db) -> int:
        begun.set()
        assert go_on.wait(30)
        return count(db)

    readers = Readers(store.path, loop.deliver, patience=60.0)
    readers.start()
    first = kept(readers.read(linger, ()))
    loop.run_until(begun.is_set)
    later = []
    for _ in range(5):
        later.append(kept(readers.read(look, ())))
        loop.turn()
    written = kept(store.write(insert))
    loop.run_until(lambda: bool(written))
    assert not seen
    go_on.set()
    loop.run_until(lambda: bool(first) and all(later))
    readers.stop()
    assert later == [[1]] * 5
    assert len(set(seen)) == 1


def test_a_read_that_fails_or_ends_the_snapshot_hurts_no_other(store: Store, loop: Loop) -> None:
    def spoil(db: Db) -> None:
        db.execute("ROLLBACK")
        db.execute("nonsense")

    def end(db: Db) -> str:
        db.execute("ROLLBACK")
        return "gone"

    answers = [kept(store.read(each)) for each in (count, spoil, count, end, lambda _db: 1 / 0, count)]
    loop.run_until(lambda: all(answers))
    values = [each[0] for each in answers]
    assert [values[0], values[2], values[3], values[5]] == [0, 0, "gone", 0]
    assert isinstance(values[1].value, sqlite3.OperationalError)
    assert isinstance(values[4].value, ZeroDivisionError)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_no_read_waits_for_a_slow_one_of_its_turn(store: Store, loop: Loop, place: int) -> None:
    """Whether it was asked for before or behind."""
    go_on = threading.Event()
    reads: list[Callable[[Db], Any]] = [lambda db: db.value("SELECT 7")] * 2
    answers = [kept(store.read(each)) for each in (*reads[:place], lambda _db: go_on.wait(60), *reads[place:])]
    slow = answers.pop(place)
    try:
        loop.run_until(lambda: all(answers), timeout=20, what="the quick ones")
        assert not slow
    finally:
        go_on.set()
    loop.run_until(lambda: bool(slow))


def test_a_read_that_comes_early_in_a_slow_one_does_not_wait_for_its_end(store: Store, loop: Loop) -> None:
    """Also when nobody asks for anything afterwards."""
    begun, go_on = threading.Event(), threading.Event()

    def linger(_db: Db) -> bool:
        begun.set()
        return go_on.wait(60)

    readers = Readers(store.path, loop.deliver, patience=0.5)
    readers.start()
    slow = kept(readers.read(linger, ()))
    loop.run_until(begun.is_set)
    quick = kept(readers.read(count, ()))
    try:
        loop.run_until(lambda: bool(quick), timeout=20, what="the quick one")
        assert not slow
    finally:
        go_on.set()
    loop.run_until(lambda: bool(slow))
    readers.stop()


def test_two_slow_reads_detain_none_behind_them(store: Store, loop: Loop) -> None:
    go_on = threading.Event()
    slow = [kept(store.read(lambda _db: go_on.wait(60))) for _ in range(2)]
    quick = [kept(store.read(count)) for _ in range(5)]
    try:
        loop.run_until(lambda: all(quick), timeout=20, what="the quick ones")
        assert not any(slow)
    finally:
        go_on.set()
    loop.run_until(lambda: all(slow))


def test_every_read_begun_after_a_write_was_answered_sees_it(store: Store, loop: Loop) -> None:
    async def go() -> list[int]:
        seen = []
        for _ in range(100):
            unawaited.extend(store.read(count) for _ in range(5))
            await store.write(insert)
            seen.append(await store.read(count))
        return seen

    unawaited: list[Deferred[int]] = []
    assert loop.run(go()) == list(range(1, 101))


def test_a_store_that_stops_answers_what_it_was_asked(store: Store, loop: Loop) -> None:
    asked = [kept(store.read(lambda db: db.value("SELECT 7"))) for _ in range(3)]
    store.stop()
    loop.run_until(lambda: all(asked))
    assert asked == [[7], [7], [7]]


def kept(answer: Deferred[Any]) -> list[Any]:
    """Where the answer, or the failure, will be."""
    found: list[Any] = []

    def keep(value: Any | Failure) -> None:
        found.append(value)

    answer.addBoth(keep)
    return found
