"""The writer remembers rows of small tables, and never one that is not so any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qrmd.errors import NotFound
from qrmd.store import hosts, migrations
from qrmd.store.connection import Transaction
from qrmd.store.database import Store
from qrmd.testing.loop import Loop
from qrmd.vault import Vault

LIMITS = {"cpu_overcommit": 4.0, "memory_overcommit": 1.0, "reserved_memory_mb": 512}


@pytest.fixture
def store(tmp_path: Path, loop: Loop) -> Iterator[Store]:
    store = Store(tmp_path / "qrmd.sqlite", Vault(tmp_path / "vault.key"), loop.deliver)
    store.write_now(lambda db: migrations.core.apply(db.toolkit))
    store.write_now(lambda db: hosts.add(db, "one", "simulated://one", "simulated-vm", LIMITS, "test", ""))
    store.start()
    yield store
    store.stop()


async def written(store: Store, function: Callable[..., Any], *args: Any) -> Any:
    return await store.write(function, *args)


def name_of(db: Transaction, ident: int) -> str:
    return hosts.find(db, ident).name


def rename(db: Transaction, name: str) -> None:
    db.execute("UPDATE hosts SET name = ? WHERE id = 1", (name,))


def test_a_row_is_read_once(loop: Loop, store: Store) -> None:
    statements: list[str] = []
    loop.run(written(store, name_of, 1))
    store.writer.set_trace_callback(statements.append)
    assert loop.run(written(store, name_of, 1)) == "one"
    store.writer.set_trace_callback(None)
    assert not [each for each in statements if "FROM hosts" in each]


def test_a_change_is_seen(loop: Loop, store: Store) -> None:
    loop.run(written(store, name_of, 1))
    loop.run(written(store, rename, "two"))
    assert loop.run(written(store, name_of, 1)) == "two"


def test_a_removal_is_seen(loop: Loop, store: Store) -> None:
    loop.run(written(store, name_of, 1))
    loop.run(written(store, lambda db: db.execute_many("DELETE FROM hosts WHERE id = ?", [(1,)])))
    with pytest.raises(NotFound):
        loop.run(written(store, name_of, 1))


def test_what_is_rolled_back_was_never_so(loop: Loop, store: Store) -> None:
    def rename_and_fail(db: Transaction) -> None:
        rename(db, "two")
        assert name_of(db, 1) == "two"
        raise NotFound("undo this")

    loop.run(written(store, name_of, 1))
    with pytest.raises(NotFound):
        loop.run(written(store, rename_and_fail))
    assert loop.run(written(store, name_of, 1)) == "one"
