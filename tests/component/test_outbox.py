"""Observers see every event after its commit, in order, at least once; their own writes happen exactly once."""

from __future__ import annotations

import json
import runpy
import sqlite3  # noqa: TID251 - the file as others see it
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from qrmd import events, process
from qrmd.errors import Conflict, NotFound
from qrmd.store.connection import Transaction
from qrmd.testing.distributions import write_distribution
from qrmd.testing.loop import Loop
from qrmd.testing.workshop import Workshop

OBSERVING = Path(__file__).with_name("observing.py")
Install = Callable[..., str]

KEPT = """
SEEN = []
BAD = set()

@MIGRATIONS()
def m001_first(db):
    db.conn.execute("CREATE TABLE {name}_kept (id INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER) STRICT")

class Plugin(Base):
    migrations = MIGRATIONS
"""

KEEPS = """
    @hookimpl
    def on_event(self, event, db):
        if event.kind == "test.happened":
            number = event.data["number"]
            db.insert("INSERT INTO {name}_kept (number) VALUES (?)", (number,))
            SEEN.append(number)
            if number in BAD:
                raise ValueError(f"I don't like {{number}}")
"""

ASKS = """
    @hookimpl
    def register_verbs(self):
        return collect(self)
    @verb("asks.note", roles=OPERATE, changes=True)
    async def note(self, call: Call, number: int, options: Options = Options()) -> dict:
        '''Note a number.'''
        if number == 13:
            raise InvalidInput("not 13")
        if number in BAD:
            BAD.remove(number)
            raise Unavailable("later")
        SEEN.append((number, call.actor.name, options.key))
        return {{"number": number}}
    @hookimpl
    def on_event(self, event, db, request):
        if event.kind == "test.happened":
            request("asks.note", {{"number": event.data["number"]}})
            request("asks.note", {{"number": event.data["number"] + 100}})
"""


def happen(db: Transaction, *numbers: int) -> None:
    for number in numbers:
        events.append(db, "test.happened", "test:1", data={"number": number})


def kept(path: Path, table: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as db:
        return [row[1] for row in db.execute(f"SELECT * FROM {table} ORDER BY id")]  # noqa: S608 - our own names


def cursor_of(loop: Loop, shop: Workshop, name: str) -> dict[str, int]:
    found: dict[str, int] = loop.run(shop.call("plugin.get", name))["cursor"]
    return found


def test_events_come_in_order_after_their_commit(loop: Loop, shop: Workshop, install: Install) -> None:
    install("keeps", (KEPT + KEEPS).format(name="keeps"))
    loop.run(shop.run_plugin("keeps"))
    for begin in range(0, 1000, 100):
        loop.run(_happen(shop, *range(begin, begin + 100)))
    loop.run(shop.outbox.caught_up())
    assert kept(shop.store.path, "keeps_kept") == list(range(1000))
    assert cursor_of(loop, shop, "keeps")["behind"] == 0


async def _happen(shop: Workshop, *numbers: int) -> None:
    await shop.store.write(happen, *numbers)


def test_observers_are_woken_without_being_asked(loop: Loop, shop: Workshop, install: Install) -> None:
    package = install("keeps", (KEPT + KEEPS).format(name="keeps"))
    loop.run(shop.run_plugin("keeps"))
    loop.run(_happen(shop, 1))
    loop.run_until(lambda: __import__(package).SEEN, what="the event")


def test_nothing_is_written_while_nothing_happens(loop: Loop, shop: Workshop, install: Install) -> None:
    install("keeps", (KEPT + KEEPS).format(name="keeps"))
    loop.run(shop.run_plugin("keeps"))
    loop.run(shop.outbox.caught_up())
    commits = shop.store.counters.commits
    for _ in range(100):
        loop.turn()
    assert shop.store.counters.commits == commits
    assert not loop.getDelayedCalls()


def test_a_new_cursor_stands_at_now(loop: Loop, shop: Workshop, install: Install) -> None:
    install("keeps", (KEPT + KEEPS).format(name="keeps"))
    loop.run(_happen(shop, 1))
    loop.run(shop.run_plugin("keeps"))
    loop.run(_happen(shop, 2))
    loop.run(shop.outbox.caught_up())
    loop.run(shop.call("plugin.stop", "keeps"))
    loop.run(_happen(shop, 3))
    loop.run(shop.call("plugin.start", "keeps"))
    loop.run(shop.outbox.caught_up())
    assert kept(shop.store.path, "keeps_kept") == [2, 3], "a stop keeps the cursor"
    loop.run(shop.call("plugin.stop", "keeps"))
    loop.run(shop.call("plugin.disable", "keeps"))
    loop.run(_happen(shop, 4))
    loop.run(shop.run_plugin("keeps"))
    loop.run(shop.outbox.caught_up())
    assert kept(shop.store.path, "keeps_kept") == [2, 3], "a re-enabled cursor starts at now"


def test_an_event_it_cant_digest_is_parked_and_the_rest_goes_on(loop: Loop, shop: Workshop, install: Install) -> None:
    package = install("keeps", (KEPT + KEEPS).format(name="keeps"))
    install("other", (KEPT + KEEPS).format(name="other"))
    module = __import__(package)
    loop.run(shop.run_plugin("keeps"))
    loop.run(shop.run_plugin("other"))
    module.BAD.add(5)
    loop.run(_happen(shop, *range(10)))
    loop.run(shop.outbox.caught_up())
    assert kept(shop.store.path, "keeps_kept") == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert kept(shop.store.path, "other_kept") == list(range(10)), "others are not held up"
    assert module.SEEN.count(5) == 6, "once in the batch, five times alone"
    parked = loop.run(shop.call("plugin.get", "keeps"))["parked"]
    assert [each["fault"] for each in parked] == ["ValueError: I don't like 5"]
    told = loop.run(shop.events("plugin.event_parked"))
    assert (told[0].severity, told[0].data["event"]) == ("error", parked[0]["event_id"])
    counted = {each["name"]: each["parked"] for each in loop.run(shop.call("plugin.list"))}
    assert (counted["keeps"], counted["other"]) == (1, 0)

    with pytest.raises(Conflict, match="raised again"):
        loop.run(shop.call("plugin.unpark", "keeps", parked[0]["event_id"]))
    assert len(loop.run(shop.call("plugin.get", "keeps"))["parked"]) == 1
    module.BAD.clear()
    loop.run(shop.call("plugin.unpark", "keeps", parked[0]["event_id"]))
    assert kept(shop.store.path, "keeps_kept")[-1] == 5
    assert loop.run(shop.call("plugin.get", "keeps"))["parked"] == []
    with pytest.raises(NotFound):
        loop.run(shop.call("plugin.unpark", "keeps", parked[0]["event_id"]))


def test_a_parked_event_can_be_skipped(loop: Loop, shop: Workshop, install: Install) -> None:
    package = install("keeps", (KEPT + KEEPS).format(name="keeps"))
    loop.run(shop.run_plugin("keeps"))
    __import__(package).BAD.add(1)
    loop.run(_happen(shop, 1))
    loop.run(shop.outbox.caught_up())
    parked = loop.run(shop.call("plugin.get", "keeps"))["parked"]
    loop.run(shop.call("plugin.unpark", "keeps", parked[0]["event_id"], {"skip": True, "reason": "known"}))
    assert loop.run(shop.call("plugin.get", "keeps"))["parked"] == []
    assert loop.run(shop.events("plugin.event_skipped"))[0].reason == "known"


def test_an_observer_that_always_raises_does_not_feed_itself(loop: Loop, shop: Workshop, install: Install) -> None:
    install(
        "angry",
        "class Plugin(Base):\n    @hookimpl\n    def on_event(self, event):\n        raise ValueError('no')\n",
    )
    loop.run(shop.run_plugin("angry"))
    loop.run(_happen(shop, 1))
    loop.run(shop.outbox.caught_up())
    loop.run(shop.outbox.caught_up())
    assert len(loop.run(shop.events("plugin.event_parked"))) == len(
        loop.run(shop.call("plugin.get", "angry"))["parked"]
    )
    assert cursor_of(loop, shop, "angry")["behind"] == 0


def test_what_it_asks_for_is_asked_after_the_commit_once_with_its_key(
    loop: Loop, shop: Workshop, install: Install
) -> None:
    package = install("asks", (KEPT + ASKS).format(name="asks"))
    module = __import__(package)
    loop.run(shop.run_plugin("asks"))
    module.BAD.add(2)
    loop.run(_happen(shop, 1, 2))
    loop.run(shop.outbox.caught_up())
    loop.run_until(lambda: len(module.SEEN) == 4, what="all requests, one of them asked twice")
    happened = loop.run(shop.events("test.happened"))
    assert [
        (number + more, "plugin:asks", f"event:{event.id}:asks:{part}")
        for event, number in zip(happened, (1, 2), strict=True)
        for part, more in ((1, 0), (2, 100))
    ] == module.SEEN
    loop.run(shop.outbox.caught_up())
    assert kept(shop.store.path, "requested") == []


def test_a_refusal_is_an_event_and_is_not_asked_again(loop: Loop, shop: Workshop, install: Install) -> None:
    package = install("asks", (KEPT + ASKS).format(name="asks"))
    loop.run(shop.run_plugin("asks"))
    loop.run(_happen(shop, 13))
    loop.run(shop.outbox.caught_up())
    refused = loop.run(shop.events("plugin.request_refused"))
    assert [each.data["fault"]["message"] for each in refused] == ["not 13"]
    assert [each[0] for each in __import__(package).SEEN] == [113]
    assert kept(shop.store.path, "requested") == []


def test_what_a_crash_left_is_asked_when_its_plugin_is_back(tmp_path: Path, loop: Loop, install: Install) -> None:
    package = install("asks", (KEPT + ASKS).format(name="asks"))
    first = Workshop(tmp_path, loop, loop.deliver)
    loop.run(first.start())
    loop.run(first.run_plugin("asks"))
    loop.run(first.call("plugin.stop", "asks"))
    left = "VALUES ('asks', 'event:1:asks:1', 'asks.note', '{\"number\": 7}')"
    loop.run(first.store_write(f"INSERT INTO requested (plugin, key, verb, arguments) {left}"))
    loop.run(first.outbox.caught_up())
    assert kept(first.store.path, "requested") == ["asks"], "it waits while the plugin is not started"
    loop.run(first.call("plugin.start", "asks"))
    loop.run(first.outbox.caught_up())
    loop.run(first.store_write(f"INSERT INTO requested (plugin, key, verb, arguments) {left.replace('7', '8')}"))
    loop.run(first.stop())
    second = Workshop(tmp_path, loop, loop.deliver)
    loop.run(second.start())
    loop.run(second.outbox.caught_up())
    assert [each[0] for each in __import__(package).SEEN] == [7, 8]
    assert loop.run(second.events("plugin.request_refused")) == []
    loop.run(second.stop())


# ---------------------------------------------------------------- another process, killed


def daemon(tmp_path: Path, command: str, name: str, number: int = 0) -> process.Completed:
    argv = [sys.executable, str(OBSERVING), str(tmp_path), str(tmp_path / "site"), command, name, str(number)]
    return process.run(argv, timeout=60, check=False)


@pytest.mark.parametrize("when", ["inside", "after"])
@pytest.mark.parametrize("number", [0, 250, 499])
def test_its_own_writes_happen_exactly_once_however_it_is_killed(tmp_path: Path, when: str, number: int) -> None:
    """Killed inside the observer (after its write, before the cursor), or right after the commit of both."""
    write_distribution(tmp_path / "site", "sees", "qrmd_sees", runpy.run_path(str(OBSERVING))["SOURCES"]["sees"])
    (tmp_path / "kill").write_text(f"{when} {number}", encoding="utf-8")
    assert daemon(tmp_path, "begin", "sees", 500).returncode == -9
    assert not (tmp_path / "kill").exists()
    ended = daemon(tmp_path, "go on", "sees")
    assert ended.returncode == 0, ended.stderr
    with closing(sqlite3.connect(tmp_path / "qrmd.db")) as db:
        happened = [row[0] for row in db.execute("SELECT id FROM events WHERE kind = 'test.happened'")]
        seen = [row[0] for row in db.execute("SELECT event_id FROM sees_events ORDER BY id")]
    assert len(happened) == 500
    assert seen == happened


def test_who_holds_the_reactor_ends_the_process_and_is_quarantined(tmp_path: Path) -> None:
    write_distribution(tmp_path / "site", "holds", "qrmd_holds", runpy.run_path(str(OBSERVING))["SOURCES"]["holds"])
    ended = daemon(tmp_path, "hold", "holds")
    assert ended.returncode == 70, ended.stderr
    assert "appliance_start" in ended.stderr, "the stacks are in the log"
    culprit = json.loads((tmp_path / "culprit.json").read_text(encoding="utf-8"))
    assert culprit["plugin"] == "holds"
    again = daemon(tmp_path, "go on", "holds")
    assert again.returncode == 0, again.stderr
    assert not (tmp_path / "culprit.json").exists()
    with closing(sqlite3.connect(tmp_path / "qrmd.db")) as db:
        state, fault = db.execute("SELECT state, fault FROM plugins WHERE name = 'holds'").fetchone()
        assert (state, "held the reactor" in fault) == ("quarantined", True)
        assert db.execute("SELECT count(*) FROM events WHERE kind = 'plugin.quarantined'").fetchone() == (1,)
