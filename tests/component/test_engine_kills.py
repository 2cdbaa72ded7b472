"""The engine killed before, during and after each write and each deed: afterwards every workflow has its end."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from qrmd import process
from qrmd.store.connection import Db, open_reader

WORKING = Path(__file__).with_name("working.py")
DONE = [
    {"name": "a", "owns": ["a"]},
    {"name": "quick", "action": "test.look"},
    {"name": "b", "owns": ["b"], "do": ["again", "again"]},
    {"name": "slow", "action": "test.look", "see": ["again", "again"]},
    {"name": "c", "owns": ["c"], "do": ["fail"]},
    {"name": "mail", "action": "test.once", "on_failure": "later", "do": ["fail"], "secret": True},
]
UNDONE = [
    {"name": "a", "owns": ["a"]},
    {"name": "b", "owns": ["b"], "undo": ["again", "fail"]},
    {"name": "quick", "action": "test.look"},
    {"name": "slow", "action": "test.look", "see": ["again", "again"]},
    {"name": "c", "owns": ["c"], "action": "test.once", "do": ["fail"] * 9},
]


def works(directory: Path, kill: str, *command: str) -> process.Completed:
    return process.run([sys.executable, str(WORKING), str(directory), kill, *command], timeout=60, check=False)


@contextmanager
def rows(directory: Path) -> Iterator[Db]:
    db = Db(open_reader(directory / "qrmd.db"))
    yield db
    db.connection.close()


def outside(directory: Path) -> set[str]:
    """What the log of deeds leaves: done and not undone after."""
    there: set[str] = set()
    for line in (directory / "log").read_text(encoding="utf-8").splitlines():
        way, name = line.split()
        (there.add if way == "do" else there.discard)(name)
    return there


@pytest.mark.parametrize("sort", ["commit", "begin", "deed"])
@pytest.mark.parametrize(("steps", "end", "thing"), [(DONE, "done", "on"), (UNDONE, "undone", "off")])
def test_it_is_killed_everywhere(tmp_path: Path, sort: str, steps: list[Any], end: str, thing: str) -> None:
    number = kills = 0
    (tmp_path / "empty").mkdir()
    works(tmp_path / "empty", "never", "recover")
    while True:
        number += 1
        directory = shutil.copytree(tmp_path / "empty", tmp_path / str(number))
        ended = works(directory, f"{sort}:{number}", "start", "thing.on", json.dumps({"steps": steps}))
        if ended.returncode == 0:
            break
        assert ended.returncode == -9, ended.stderr
        kills += 1
        ended = works(directory, "never", "recover")
        assert ended.returncode == 0, ended.stderr
        check(directory, end, thing)
    assert kills >= 5


def check(directory: Path, end: str, thing: str) -> None:
    with rows(directory) as db:
        found = db.rows("SELECT state, key FROM workflows")
        state, held = db.rows("SELECT state, held FROM things WHERE id = 1")[0]
        owned = {row["external_id"].partition("-")[2] for row in db.rows("SELECT external_id FROM owned")}
        assert db.value("SELECT count(*) FROM secrets") == 0
        assert not db.rows("SELECT 1 FROM steps WHERE state IN ('running', 'waiting', 'undoing', 'failed', 'debt')")
        events = [row["kind"] for row in db.rows("SELECT kind FROM events WHERE subject = 'thing:1'")]
    if not found:
        assert (state, held, owned) == ("off", 0, set())
        return
    assert [row["state"] for row in found] == [end]
    assert (state, held) == (thing, -1 if end == "done" else 0)
    assert owned == ({"a", "b", "c"} if end == "done" else set())
    assert outside(directory) - {"mail"} == owned
    assert events.count("thing.going_on") == 1
