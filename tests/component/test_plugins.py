"""Plugins come and go while everything runs: real entry points, real store, no mocks."""

from __future__ import annotations

import sqlite3  # noqa: TID251 - the file as others see it
import stat
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from qrmd.errors import Conflict, InvalidInput, NotFound, PluginFault
from qrmd.store import transitions
from qrmd.store.connection import Transaction
from qrmd.testing.loop import Loop
from qrmd.testing.workshop import Workshop

NUMBERS = count()
Install = Callable[..., str]

HELLO = """
@MIGRATIONS()
def m001_first(db):
    db.conn.execute("CREATE TABLE hello_words (id INTEGER PRIMARY KEY, word TEXT NOT NULL) STRICT")
    db.conn.execute("CREATE TABLE hello_uses (id INTEGER PRIMARY KEY, word_id INTEGER REFERENCES hello_words (id))")

class Wave:
    name = "hello.wave"
    timeout = 10.0
    retries = 0

class Mood(StrEnum):
    GOOD = "good"
    BAD = "bad"

class Storage:
    deployment_type = "hello-disk"

class Machines:
    virtualization_type = "hello-vm"

class Cards:
    plugin = "hello"
    removed = []
    def places(self):
        return ["table:1"]
    def remove_found(self, found):
        self.removed.append(found.external_id)

class Guests:
    name = "guest"
    async def find(self, name):
        return None

class Bell:
    name = "bell"
    def __init__(self):
        self.log = []
    async def start(self):
        self.log.append("start")
    async def stop(self):
        self.log.append("stop")

BELL = Bell()
BEATS = []

def add_word(db, word):
    db.insert("INSERT INTO hello_words (word) VALUES (?)", (word,))
    return word

class Verbs:
    def __init__(self, services):
        self.services = services

    @verb("hello.say", roles=LOOK)
    async def say(self, call: Call, word: str = "") -> dict:
        '''Say it.'''
        return {"said": self.services.config.greeting + word, "as": call.actor.name}

    @verb("hello.add", roles=OPERATE, changes=True)
    async def add(self, call: Call, word: str, options: Options = Options()) -> dict:
        '''Keep a word.'''
        return {"word": await call.change(options, add_word, word)}

class Plugin(Base):
    migrations = MIGRATIONS

    @hookimpl
    def register_actions(self):
        return [Wave()]
    @hookimpl
    def register_deployment_types(self):
        return [Storage()]
    @hookimpl
    def register_virtualization_types(self):
        return [Machines()]
    @hookimpl
    def register_auditors(self):
        return [Cards()]
    @hookimpl
    def register_realms(self):
        return [Guests()]
    @hookimpl
    def register_verbs(self):
        return collect(Verbs(self.services))
    @hookimpl
    def register_state_machines(self):
        return [StateMachine("hello_word", "hello_words", Mood, (Edge(Mood.GOOD, Mood.BAD, "rain"),))]
    @hookimpl
    def register_services(self):
        return [BELL, Periodic("beat", 0.01, self.beat)]
    async def beat(self):
        BEATS.append(await self.services.ask("hello.say", "!"))
    @hookimpl
    def appliance_start(self, view):
        return [Step("hello.wave", {}, Phase.ANNOUNCE, "wave")]
"""


def state_of(loop: Loop, shop: Workshop, name: str) -> tuple[str, str]:
    found = loop.run(shop.call("plugin.get", name))
    return found["state"], found["fault"]


def tables(shop: Workshop) -> set[str]:
    with closing(sqlite3.connect(shop.store.path)) as db:
        return {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


# ---------------------------------------------------------------- the whole way


def test_installed_enabled_started_and_back(loop: Loop, shop: Workshop, install: Install) -> None:
    install("hello", HELLO)
    listed = {each["name"]: each for each in loop.run(shop.call("plugin.list"))}
    assert (listed["hello"]["state"], listed["hello"]["title"]) == ("installed", "A hello")
    assert "hello_words" not in tables(shop)

    loop.run(shop.call("plugin.enable", "hello", {"reason": "try it"}))
    assert "hello_words" in tables(shop)
    assert state_of(loop, shop, "hello") == ("enabled", "")
    assert loop.run(shop.call("plugin.get", "hello"))["next"] == ["plugin.disable", "plugin.start"]
    assert list(shop.directory.glob("qrmd.db.before-hello-m001_first"))

    appears = loop.run(shop.call("plugin.start", "hello"))["appears"]
    assert appears["verbs"] == ["hello.add", "hello.say"]
    assert appears["deployment_types"] == ["hello-disk"]
    assert state_of(loop, shop, "hello") == ("started", "")
    assert loop.run(shop.call("hello.say", "!")) == {"said": "hello!", "as": "user:test"}
    registries = shop.registries
    assert set(registries.actions) == {"hello.wave"}
    assert set(registries.virtualization) == {"hello-vm"}
    assert set(registries.realms) == {"guest"}
    assert len(registries.auditors) == 1
    assert [each.action for each in shop.hooks.steps("appliance_start", None)] == ["hello.wave"]
    assert "hello_word" in transitions._TABLES

    vanishes = loop.run(shop.call("plugin.stop", "hello"))["vanishes"]
    assert vanishes == appears
    for table in (registries.actions, registries.virtualization, registries.deployment, registries.realms):
        assert not table
    assert not registries.auditors
    assert "hello_word" not in transitions._TABLES
    assert shop.hooks.steps("appliance_start", None) == []
    with pytest.raises(NotFound, match="no verb"):
        loop.run(shop.call("hello.say", "!"))

    loop.run(shop.call("plugin.disable", "hello"))
    assert state_of(loop, shop, "hello") == ("installed", "")
    assert "hello_words" in tables(shop)
    kinds = [each.kind for each in loop.run(shop.events()) if each.kind.startswith("plugin.")]
    assert kinds[-4:] == ["plugin.enabled", "plugin.started", "plugin.enabled", "plugin.installed"]


def test_data_is_kept_until_it_is_purged(loop: Loop, shop: Workshop, install: Install) -> None:
    install("hello", HELLO)
    loop.run(shop.run_plugin("hello"))
    loop.run(shop.call("hello.add", "moin"))
    directory = shop.directory / "plugins" / "hello"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    with pytest.raises(Conflict, match="it is started"):
        loop.run(shop.call("plugin.purge", "hello", {"confirm": "hello"}))
    loop.run(shop.call("plugin.stop", "hello"))
    loop.run(shop.call("plugin.disable", "hello"))
    loop.run(shop.run_plugin("hello"))
    with closing(sqlite3.connect(shop.store.path)) as db:
        assert db.execute("SELECT word FROM hello_words").fetchall() == [("moin",)]
        db.execute("INSERT INTO hello_uses (word_id) VALUES (1)")
        db.commit()
    loop.run(shop.call("plugin.stop", "hello"))
    loop.run(shop.call("plugin.disable", "hello"))
    with pytest.raises(InvalidInput, match="confirm"):
        loop.run(shop.call("plugin.purge", "hello"))
    would = loop.run(shop.call("plugin.purge", "hello", {"dry_run": True}))
    assert would["vanishes"] == {"tables": ["hello_uses", "hello_words"]}
    assert "hello_words" in tables(shop)
    loop.run(shop.call("plugin.purge", "hello", {"confirm": "hello"}))
    assert not {each for each in tables(shop) if each.startswith("hello")}
    assert not directory.exists()
    loop.run(shop.run_plugin("hello"))
    assert "hello_words" in tables(shop)


def test_what_was_started_starts_again_with_the_daemon(tmp_path: Path, loop: Loop, install: Install) -> None:
    install("hello", HELLO)
    first = Workshop(tmp_path, loop, loop.deliver)
    loop.run(first.start())
    loop.run(first.run_plugin("hello"))
    loop.run(first.stop())
    second = Workshop(tmp_path, loop, loop.deliver)
    loop.run(second.start())
    assert loop.run(second.call("hello.say"))["said"] == "hello"
    loop.run(second.stop())


def test_a_dry_run_says_what_would_appear_and_changes_nothing(loop: Loop, shop: Workshop, install: Install) -> None:
    install("hello", HELLO)
    loop.run(shop.plugins.discover())
    would = loop.run(shop.call("plugin.enable", "hello", {"dry_run": True}))
    assert would["appears"] == {"migrations": ["m001_first"]}
    assert state_of(loop, shop, "hello") == ("installed", "")
    loop.run(shop.call("plugin.enable", "hello"))
    would = loop.run(shop.call("plugin.start", "hello", {"dry_run": True}))
    assert would["appears"]["verbs"] == ["hello.add", "hello.say"]
    assert state_of(loop, shop, "hello") == ("enabled", "")
    assert not shop.registries.offered
    loop.run(shop.call("plugin.start", "hello"))
    would = loop.run(shop.call("plugin.stop", "hello", {"dry_run": True}))
    assert would["vanishes"]["actions"] == ["hello.wave"]
    assert state_of(loop, shop, "hello") == ("started", "")


def test_the_same_key_starts_once(loop: Loop, shop: Workshop, install: Install) -> None:
    install("hello", HELLO)
    loop.run(shop.plugins.discover())
    loop.run(shop.call("plugin.enable", "hello", {"key": "e1"}))
    first = loop.run(shop.call("plugin.start", "hello", {"key": "s1"}))
    assert loop.run(shop.call("plugin.start", "hello", {"key": "s1"})) == first
    with pytest.raises(Conflict, match="started"):
        loop.run(shop.call("plugin.start", "hello", {"key": "s2"}))


def test_its_configuration_is_read_at_start(loop: Loop, shop: Workshop, install: Install) -> None:
    install("hello", HELLO)
    files = shop.directory / "plugins.d"
    files.mkdir()
    (files / "hello.toml").write_text('greetign = "moin"\n', encoding="utf-8")
    loop.run(shop.plugins.discover())
    loop.run(shop.call("plugin.enable", "hello"))
    with pytest.raises(PluginFault, match=r"hello.toml.*greetign.*did you mean greeting"):
        loop.run(shop.call("plugin.start", "hello"))
    assert state_of(loop, shop, "hello")[0] == "quarantined"
    (files / "hello.toml").write_text('greeting = "moin"\n', encoding="utf-8")
    loop.run(shop.call("plugin.start", "hello"))
    assert loop.run(shop.call("hello.say"))["said"] == "moin"
    assert state_of(loop, shop, "hello") == ("started", "")


def test_services_begin_and_end_with_the_plugin(loop: Loop, shop: Workshop, install: Install) -> None:
    package = install("hello", HELLO)
    loop.run(shop.run_plugin("hello"))
    module = __import__(package)
    loop.run_until(lambda: len(module.BEATS) >= 3, what="three beats")
    assert module.BEATS[0] == {"said": "hello!", "as": "plugin:hello"}
    loop.run(shop.call("plugin.stop", "hello"))
    assert module.BELL.log == ["start", "stop"]
    seen = len(module.BEATS)
    for _ in range(10):
        loop.turn()
    assert len(module.BEATS) == seen


def test_the_list_is_filtered_and_paged(loop: Loop, shop: Workshop, install: Install) -> None:
    for name in ("alpha", "beta", "gamma"):
        install(name, "class Plugin(Base): pass\n")
    loop.run(shop.run_plugin("beta"))
    first = loop.run(shop.call("plugin.list", {"fields": ["name"], "where": {"kind": "test"}, "limit": 2}))
    assert [set(each) for each in first] == [{"id", "name"}] * 2
    rest = loop.run(shop.call("plugin.list", {"where": {"kind": "test"}, "after": first[-1]["id"]}))
    assert [each["name"] for each in first + rest] == ["alpha", "beta", "gamma"]
    started = loop.run(shop.call("plugin.list", {"where": {"state": "started"}}))
    assert [each["name"] for each in started] == ["beta"]
    with pytest.raises(InvalidInput, match="no field 'colour'"):
        loop.run(shop.call("plugin.list", {"where": {"colour": "red"}}))


# ---------------------------------------------------------------- what depends on it


def _insert(db: Transaction, sql: str) -> None:
    db.execute(sql)


def test_types_in_use_keep_it_started(loop: Loop, shop: Workshop, install: Install) -> None:
    install("hello", HELLO)
    loop.run(shop.run_plugin("hello"))
    loop.run(
        shop.store_write(
            "INSERT INTO hosts (name, uri, virtualization_type, state) VALUES ('h1', 'u', 'hello-vm', 'up')",
            "INSERT INTO storages (name, deployment_type, location) VALUES ('s1', 'hello-disk', '/s')",
        )
    )
    with pytest.raises(Conflict, match=r"host h1 is of its type hello-vm; storage s1 is of its type hello-disk"):
        loop.run(shop.call("plugin.stop", "hello"))
    assert len(loop.run(shop.call("plugin.get", "hello"))["depended_on_by"]) == 2
    loop.run(shop.store_write("UPDATE hosts SET state = 'removed'", "DELETE FROM storages"))
    loop.run(shop.call("plugin.stop", "hello"))


STEP = (
    (
        "INSERT INTO workflows (id, operation, subject, state, arguments, actor, role, reason, started_at)"
        " VALUES (7, 'appliance.start', 'appliance:1', 'running', '{}', 'a', 'administrator', '', 1)"
    ),
    (
        "INSERT INTO steps (workflow_id, position, action, version, plugin, phase, title, args, provides, on_failure,"
        " owns, disowns, state)"
        " VALUES (7, 0, 'hello.wave', 1, 'hello', 9, 'wave to web-1', '{}', '{}', 'undo', '[]', '[]', 'running')"
    ),
)


def test_live_steps_keep_it_started_and_waiting_drains_them(loop: Loop, shop: Workshop, install: Install) -> None:
    install("hello", HELLO)
    loop.run(shop.run_plugin("hello"))
    loop.run(shop.store_write(*STEP))
    with pytest.raises(Conflict, match=r"workflow 7 \(appliance.start of appliance:1\) has its step: wave to web-1"):
        loop.run(shop.call("plugin.stop", "hello"))
    loop.callLater(0.05, lambda: shop.store.write(_insert, "UPDATE workflows SET state = 'done'"))
    loop.run(shop.call("plugin.stop", "hello", {"wait": 20}))
    assert state_of(loop, shop, "hello") == ("enabled", "")


def test_a_debt_keeps_it_started(loop: Loop, shop: Workshop, install: Install) -> None:
    install("hello", HELLO)
    loop.run(shop.run_plugin("hello"))
    loop.run(shop.store_write(*STEP, "UPDATE workflows SET state = 'done'", "UPDATE steps SET state = 'debt'"))
    with pytest.raises(Conflict, match="wave to web-1"):
        loop.run(shop.call("plugin.stop", "hello"))


OWNED = (
    (
        "INSERT INTO owned (subject, plugin, kind, external_id, place, workflow_id)"
        " VALUES ('appliance:1', 'hello', 'card', 'c-1', 'table:1', 7)"
    ),
)


def test_owned_things_are_withdrawn_or_left_never_forgotten(loop: Loop, shop: Workshop, install: Install) -> None:
    package = install("hello", HELLO)
    loop.run(shop.run_plugin("hello"))
    loop.run(shop.store_write(*OWNED))
    with pytest.raises(Conflict, match=r"1 things it made are still there: card c-1 at table:1.*withdraw.*leave"):
        loop.run(shop.call("plugin.stop", "hello"))
    loop.run(shop.call("plugin.stop", "hello", {"leave": True}))
    assert len(loop.run(shop.call("plugin.get", "hello"))["owned"]) == 1
    with pytest.raises(Conflict, match="still there"):
        loop.run(shop.call("plugin.disable", "hello"))
    loop.run(shop.call("plugin.start", "hello"))
    loop.run(shop.call("plugin.stop", "hello", {"withdraw": True}))
    assert __import__(package).Cards.removed == ["c-1"]
    assert loop.run(shop.call("plugin.get", "hello"))["owned"] == []
    loop.run(shop.call("plugin.disable", "hello"))


def test_what_it_requires_comes_first_and_goes_last(tmp_path: Path, loop: Loop, install: Install) -> None:
    install("base", "class Plugin(Base): pass\n")
    install("alpha", "class Plugin(Base): pass\n", requires=("base",))
    shop = Workshop(tmp_path, loop, loop.deliver)
    loop.run(shop.start())
    with pytest.raises(Conflict, match="requires plugin base, which is not enabled"):
        loop.run(shop.call("plugin.enable", "alpha"))
    loop.run(shop.call("plugin.enable", "base"))
    loop.run(shop.call("plugin.enable", "alpha"))
    with pytest.raises(Conflict, match="requires plugin base, which is not started"):
        loop.run(shop.call("plugin.start", "alpha"))
    loop.run(shop.call("plugin.start", "base"))
    loop.run(shop.call("plugin.start", "alpha"))
    with pytest.raises(Conflict, match="plugin alpha requires it"):
        loop.run(shop.call("plugin.stop", "base"))
    loop.run(shop.stop())
    again = Workshop(tmp_path, loop, loop.deliver)
    loop.run(again.start())
    assert list(again.registries.offered) == ["base", "alpha"]
    loop.run(again.stop())


def test_unknown_plugins_are_not_found(loop: Loop, shop: Workshop) -> None:
    for change in ("enable", "start", "stop", "disable", "purge", "get"):
        with pytest.raises(NotFound, match="no plugin"):
            loop.run(shop.call(f"plugin.{change}", "nobody"))
