"""Settings of plugins: ``register_settings`` makes them appear with the plugin and vanish with it, at every door."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import pytest

from qrmd.errors import InvalidInput, NotFound, PluginFault
from qrmd.operations.schema import Range
from qrmd.settings import Setting, Settings
from qrmd.testing.daemon import Daemon
from qrmd.testing.loop import Loop
from qrmd.testing.sites import password_of, running_sites
from qrmd.testing.web import web_client
from qrmd.testing.workshop import Workshop

Install = Callable[..., str]

BODY = """
from typing import Annotated

class Plugin(Base):
    @hookimpl
    def register_settings(self):
        return [
            Setting("deck.colour", one_of("red", "green"), "red", "colour of the cards"),
            Setting("deck.cards", Annotated[int, Range(1, {most})], 32, "how many there are"),
            Setting("deck.marked", bool, False, "whether they are marked"),
            Setting("deck.word", Annotated[str, Length(20)], "", "what opens it", secret=True),
        ]

    @hookimpl
    def register_verbs(self):
        return collect(self)

    @verb("deck.deal", roles=LOOK)
    async def deal(self, call: Call) -> int:
        \"\"\"How many cards are dealt.\"\"\"
        return await self.services.ask("settings.get", "deck.cards")
"""
FAULTY = {
    "other.cards": 'Setting("other.cards", int, 1, "not its own")',
    "smtp.host": 'Setting("smtp.host", str, "", "the core\'s")',
    "deck": 'Setting("deck", int, 1, "no dot")',
    "deck.A b": 'Setting("deck.A b", int, 1, "no word")',
    "deck.cards": 'Setting("deck.cards", Annotated[int, Range(1, 5)], 9, "a default that does not fit")',
    "deck.mute": 'Setting("deck.mute", int, 1, "")',
    "deck.odd": 'Setting("deck.odd", object, "", "no type of ours")',
    "deck.list": 'Setting("deck.list", tuple[str, ...], (), "no form can show it")',
    "deck.key": 'Setting("deck.key", str, "known to all", "a secret with a default", secret=True)',
    "deck.twice": 'Setting("deck.twice", int, 1, "once"), Setting("deck.twice", int, 1, "again")',
}


def told(shop: Workshop, loop: Loop) -> dict[str, Any]:
    known: dict[str, Any] = loop.run(shop.call("settings.get"))
    return {name: each for name, each in known.items() if name.startswith("deck.")}


def change(shop: Workshop, loop: Loop, **values: Any) -> Any:
    return loop.run(shop.call("settings.set", {f"deck.{name}": value for name, value in values.items()}))


def test_they_appear_and_vanish_with_their_plugin(shop: Workshop, loop: Loop, install: Install) -> None:
    install("deck", BODY.format(most=52))
    with pytest.raises(NotFound):
        change(shop, loop, cards=20)
    changed = loop.run(shop.run_plugin("deck"))
    assert changed.appears["settings"] == ["deck.cards", "deck.colour", "deck.marked", "deck.word"]
    assert {each["plugin"] for each in told(shop, loop).values()} == {"deck"}
    change(shop, loop, cards=20, colour="green", marked=True, word="sesame")
    assert {name: each["value"] for name, each in told(shop, loop).items()} == {
        "deck.cards": 20, "deck.colour": "green", "deck.marked": True, "deck.word": "set",
    }  # fmt: skip
    assert loop.run(shop.call("deck.deal")) == 20
    gone = loop.run(shop.call("plugin.stop", "deck"))
    assert gone["vanishes"]["settings"] == changed.appears["settings"]
    assert told(shop, loop) == {}
    for call in (("settings.get", "deck.cards"), ("settings.set", {"deck.cards": 3})):
        with pytest.raises(NotFound, match="there is no setting"):
            loop.run(shop.call(*call))


def test_they_are_validated(shop: Workshop, loop: Loop, install: Install) -> None:
    install("deck", BODY.format(most=52))
    loop.run(shop.run_plugin("deck"))
    for wrong in ({"cards": 53}, {"cards": "many"}, {"colour": "blue"}, {"marked": 1}, {"word": "x" * 21}):
        with pytest.raises(InvalidInput):
            change(shop, loop, cards=7, **wrong) if "cards" not in wrong else change(shop, loop, **wrong)
    assert told(shop, loop)["deck.cards"]["value"] == 32


def test_values_outlive_a_stop_and_a_disabling_but_no_purge(shop: Workshop, loop: Loop, install: Install) -> None:
    install("deck", BODY.format(most=52))
    loop.run(shop.run_plugin("deck"))
    change(shop, loop, cards=20, word="sesame")
    for verb in ("plugin.stop", "plugin.disable"):
        loop.run(shop.call(verb, "deck"))
    loop.run(shop.run_plugin("deck"))
    assert told(shop, loop)["deck.cards"]["value"] == 20
    for verb, *options in (("plugin.stop",), ("plugin.disable",), ("plugin.purge", {"confirm": "deck"})):
        loop.run(shop.call(verb, "deck", *options))
    loop.run(shop.run_plugin("deck"))
    assert {name: each["value"] for name, each in told(shop, loop).items() if each["value"] != each["default"]} == {}


def test_a_value_that_is_not_allowed_any_more_counts_as_not_set() -> None:
    known = Settings()
    known.add([Setting("deck.cards", Annotated[int, Range(1, 40)], 32, "fewer than before")], "deck")
    assert [known.value("deck.cards", {"deck.cards": kept}) for kept in (40, 50, "many")] == [40, 32, 32]
    assert known.value("deck.cards", {}) == 32


@pytest.mark.parametrize("name", FAULTY)
def test_a_plugin_with_a_faulty_setting_does_not_start(shop: Workshop, loop: Loop, install: Install, name: str) -> None:
    body = BODY.format(most=52)
    begin, end = body.index("            Setting("), body.index("        ]")
    install("deck", body[:begin] + f"            {FAULTY[name]}\n" + body[end:])
    with pytest.raises(PluginFault, match=r"deck|smtp"):
        loop.run(shop.run_plugin("deck"))
    assert told(shop, loop) == {}
    assert loop.run(shop.call("settings.get", "smtp.host")) == ""
    assert loop.run(shop.call("plugin.get", "deck"))["state"] == "quarantined"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_sites(tmp_path_factory.mktemp("settings"), cloud=True) as running:
        yield running


def test_the_settings_page_shows_those_of_the_cloud_while_it_is_started(daemon: Daemon) -> None:
    client = web_client(daemon)
    client.login("administrator", password_of("administrator"))
    assert "cloud.orders_per_hour" in client.get("/settings").text
    daemon.call("settings.set", {"cloud.max_quantity": 7})
    daemon.call("plugin.stop", "cloud", {"leave": True})
    assert "cloud." not in client.get("/settings").text
    assert daemon.fault("settings.set", {"cloud.max_quantity": 8}).code == 404
    daemon.call("plugin.start", "cloud")
    assert "cloud.max_quantity" in client.get("/settings").text
    assert daemon.call("settings.get", "cloud.max_quantity") == 7
    assert daemon.fault("settings.set", {"cloud.approval_under_ccu": "much"}).code == 400
