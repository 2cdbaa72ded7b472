"""A plugin that fails is shown with its fault, leaves nothing behind, and harms nobody."""

from __future__ import annotations

import sqlite3  # noqa: TID251 - the file as others see it
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from qrmd.errors import PluginFault
from qrmd.states import MACHINES
from qrmd.store import transitions
from qrmd.testing.loop import Loop
from qrmd.testing.workshop import Workshop

Install = Callable[..., str]

GOOD = """
class Wave:
    name = "good.wave"
    timeout = 10.0
    retries = 0

class Plugin(Base):
    @hookimpl
    def register_actions(self):
        return [Wave()]
    @hookimpl
    def register_verbs(self):
        return collect(self)
    @verb("good.say", roles=LOOK)
    async def say(self, call: Call) -> str:
        '''Say it.'''
        return self.services.config.greeting
    @hookimpl
    def appliance_start(self, view):
        return [Step("good.wave", {}, Phase.ANNOUNCE, "wave")]
"""


def state_of(loop: Loop, shop: Workshop, name: str) -> tuple[str, str]:
    found = loop.run(shop.call("plugin.get", name))
    return found["state"], found["fault"]


def tables(shop: Workshop) -> set[str]:
    with closing(sqlite3.connect(shop.store.path)) as db:
        return {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


FAULTY: dict[str, tuple[str, str]] = {
    "constructor": (
        "class Plugin(Base):\n    def __init__(self, services):\n        raise RuntimeError('no wires')\n",
        "RuntimeError: no wires",
    ),
    "register": (
        "class Plugin(Base):\n    @hookimpl\n    def register_verbs(self):\n        raise RuntimeError('no words')\n",
        "register_verbs raised RuntimeError: no words",
    ),
    "unknown hook": (
        "class Plugin(Base):\n    @hookimpl\n    def appliance_explode(self, view):\n        return []\n",
        "appliance_explode",
    ),
    "unknown argument": (
        "class Plugin(Base):\n    @hookimpl\n    def appliance_start(self, veiw):\n        return []\n",
        "veiw",
    ),
    "coroutine": (
        "class Plugin(Base):\n    @hookimpl\n    async def appliance_start(self, view):\n        return []\n",
        "coroutine",
    ),
    "wrapper": (
        (
            "class Plugin(Base):\n    @hookimpl(wrapper=True)\n    def appliance_start(self, view):\n"
            "        return (yield)\n"
        ),
        "wrapper",
    ),
    "foreign action": (
        (
            "class A:\n    name = 'core.evil'\nclass Plugin(Base):\n    @hookimpl\n    def register_actions(self):\n"
            "        return [A()]\n"
        ),
        "must be named bad.",
    ),
    "taken verb": (
        (
            "class V:\n    @verb('plugin.list', roles=LOOK)\n    async def it(self, call: Call) -> list:\n"
            "        '''Mine.'''\nclass Plugin(Base):\n    @hookimpl\n    def register_verbs(self):\n"
            "        return collect(V())\n"
        ),
        "plugin.list is taken by plugin core",
    ),
    "service": (
        (
            "class S:\n    name = 's'\n    async def start(self):\n        raise OSError('port in use')\n"
            "    async def stop(self):\n        pass\nclass Plugin(Base):\n    @hookimpl\n"
            "    def register_services(self):\n        return [S()]\n"
            "    @hookimpl\n    def appliance_start(self, view):\n        return []\n"
        ),
        "OSError: port in use",
    ),
    "not a list": (
        "class Plugin(Base):\n    @hookimpl\n    def register_pages(self):\n        return 5\n",
        "TypeError",
    ),
}


@pytest.mark.parametrize("case", FAULTY)
def test_a_failing_start_leaves_nothing_and_shows_its_fault(
    loop: Loop, shop: Workshop, install: Install, case: str
) -> None:
    body, said = FAULTY[case]
    install("bad", body)
    install("good", GOOD)
    loop.run(shop.run_plugin("good"))
    before = {name: offered.as_dict() for name, offered in shop.registries.offered.items()}
    loop.run(shop.call("plugin.enable", "bad"))
    with pytest.raises(PluginFault, match=said):
        loop.run(shop.call("plugin.start", "bad"))
    state, fault = state_of(loop, shop, "bad")
    assert (state, said in fault) == ("quarantined", True)
    assert {name: offered.as_dict() for name, offered in shop.registries.offered.items()} == before
    assert not shop.hooks._manager.has_plugin("bad")
    quarantined = loop.run(shop.events("plugin.quarantined"))
    assert said in quarantined[-1].data["fault"]
    assert loop.run(shop.call("good.say")) == "hello"
    loop.run(shop.call("plugin.stop", "bad"))
    assert state_of(loop, shop, "bad") == ("enabled", "")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise RuntimeError('no luck')\n", "RuntimeError: no luck"),
        ("class Plugin: pass\n", "no manifest"),
        ("class Plugin(Base):\n    manifest = Manifest('other', '', '', '')\n", "manifest says other"),
        ("class Plugin(Base):\n    config_type = dict\n", "config_type"),
        ("class Plugin(Base):\n    migrations = Migrations('other')\n", "migrations"),
    ],
)
def test_a_plugin_that_cant_be_imported_is_listed_with_its_fault(
    loop: Loop, shop: Workshop, install: Install, body: str, said: str
) -> None:
    install("bad", body)
    listed = {each["name"]: each for each in loop.run(shop.call("plugin.list"))}
    assert said in listed["bad"]["fault"]
    with pytest.raises(PluginFault, match=said):
        loop.run(shop.call("plugin.enable", "bad"))
    assert state_of(loop, shop, "bad")[0] == "installed"


def test_one_bad_plugin_never_stops_the_daemon(tmp_path: Path, loop: Loop, install: Install) -> None:
    package = install(
        "bad",
        "import os\nif os.path.exists(os.path.dirname(__file__) + '/broken'):\n"
        "    raise RuntimeError('rotten')\nclass Plugin(Base): pass\n",
    )
    install("good", GOOD)
    shop = Workshop(tmp_path, loop, loop.deliver)
    loop.run(shop.start())
    loop.run(shop.run_plugin("bad"))
    loop.run(shop.run_plugin("good"))
    loop.run(shop.stop())
    (tmp_path / "site" / package / "broken").touch()
    del sys.modules[package]
    again = Workshop(tmp_path, loop, loop.deliver)
    loop.run(again.start())
    assert loop.run(again.call("good.say")) == "hello"
    state, fault = state_of(loop, again, "bad")
    assert (state, "rotten" in fault) == ("quarantined", True)
    loop.run(again.stop())


def test_a_planner_that_raises_quarantines_its_plugin_only(loop: Loop, shop: Workshop, install: Install) -> None:
    install("bad", "class Plugin(Base):\n    @hookimpl\n    def appliance_start(self, view):\n        return 1 / 0\n")
    install("good", GOOD)
    loop.run(shop.run_plugin("bad"))
    loop.run(shop.run_plugin("good"))
    with pytest.raises(PluginFault, match="appliance_start raised ZeroDivisionError"):
        shop.hooks.steps("appliance_start", None)
    assert [each.plugin for each in shop.hooks.steps("appliance_start", None)] == ["good"]
    loop.run(shop.plugins.settled())
    state, fault = state_of(loop, shop, "bad")
    assert (state, "ZeroDivisionError" in fault) == ("quarantined", True)
    assert loop.run(shop.events("plugin.quarantined"))[-1].severity == "error"


def test_a_periodic_that_fails_is_one_event_and_goes_on(loop: Loop, shop: Workshop, install: Install) -> None:
    package = install(
        "bad",
        "CALLS = []\nclass Plugin(Base):\n    @hookimpl\n    def register_services(self):\n"
        "        return [Periodic('tick', 0.01, self.tick)]\n"
        "    async def tick(self):\n        CALLS.append(1)\n        if len(CALLS) < 4:\n"
        "            raise OSError('no line')\n",
    )
    loop.run(shop.run_plugin("bad"))
    loop.run_until(lambda: len(__import__(package).CALLS) >= 6, what="six calls")
    loop.run_until(lambda: bool(loop.run(shop.events("plugin.periodic_recovered"))), what="the recovery")
    failed = loop.run(shop.events("plugin.periodic_failed"))
    assert [each.data["fault"] for each in failed] == ["OSError: no line"]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ('db.conn.execute("CREATE TABLE evil (x)")', "change table evil"),
        ('db.conn.execute("DELETE FROM meta")', "change table meta"),
        ('db.conn.execute("ALTER TABLE users ADD COLUMN x")', "change table users"),
        ('db.conn.execute("CREATE INDEX bad_i ON events (kind)")', "change table events"),
        ('db.conn.executescript("CREATE TABLE bad_x (x)")', "end the transaction"),
        ('db.conn.execute("CREATE TABLE bad_x (x)"); raise RuntimeError("half done")', "half done"),
    ],
)
def test_a_migration_may_touch_its_own_tables_only(
    loop: Loop, shop: Workshop, install: Install, statement: str, said: str
) -> None:
    install("bad", f"@MIGRATIONS()\ndef m001(db):\n    {statement}\nclass Plugin(Base):\n    migrations = MIGRATIONS\n")
    loop.run(shop.plugins.discover())
    before = tables(shop) - {"_sqlite_migrations"}
    with pytest.raises(PluginFault, match=said):
        loop.run(shop.call("plugin.enable", "bad"))
    assert tables(shop) - {"_sqlite_migrations"} == before
    assert state_of(loop, shop, "bad")[0] == "installed"
    loop.run(shop.store_write("UPDATE settings SET value = value"))


def test_state_machines_of_the_core_cant_be_taken(loop: Loop, shop: Workshop, install: Install) -> None:
    install(
        "bad",
        "class S(StrEnum):\n    A = 'a'\nclass Plugin(Base):\n    @hookimpl\n"
        "    def register_state_machines(self):\n        return [StateMachine('appliance', 'bad_t', S, ())]\n",
    )
    with pytest.raises(PluginFault, match="appliance is taken by plugin core"):
        loop.run(shop.run_plugin("bad"))
    assert transitions._TABLES["appliance"] == "appliances"
    assert "appliance" in MACHINES


def test_purging_never_takes_a_table_of_somebody_else(loop: Loop, shop: Workshop, install: Install) -> None:
    """``audit`` has the prefix of a table of the core, ``dir`` that of ``dir-storage``."""
    body = (
        "@MIGRATIONS()\ndef m001(db):\n    db.conn.execute('CREATE TABLE {0}_own (x)')\n"
        "class Plugin(Base):\n    migrations = MIGRATIONS\n"
    )
    for name in ("audit", "dir", "dir-x"):
        install(name, body.format(name.replace("-", "_")))
    loop.run(shop.plugins.discover())
    for name in ("audit", "dir", "dir-x"):
        loop.run(shop.call("plugin.enable", name))
    for name in ("audit", "dir"):
        loop.run(shop.call("plugin.disable", name))
        loop.run(shop.call("plugin.purge", name, {"confirm": name}))
    left = tables(shop)
    assert {"audit_ignored", "dir_x_own"} <= left
    assert not {"audit_own", "dir_own"} & left
