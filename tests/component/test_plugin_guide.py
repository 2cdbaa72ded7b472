"""The plugin author's guide is true: its first plugin is installed by pip and run, each example is run."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qrmd import events, process
from qrmd.model import Appliance, ApplianceView, Image, ImageView, Storage
from qrmd.states import ApplianceState, ImageState
from qrmd.store.connection import Transaction
from qrmd.testing.distributions import write_distribution
from qrmd.testing.loop import Loop
from qrmd.testing.workshop import Workshop

GUIDE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
FRAME = re.search(r"```python frame\n(.*?)```", GUIDE, re.DOTALL)
EXAMPLES = dict(re.findall(r"^### `(\w+)`\n.*?```python\n(.*?)```", GUIDE, re.DOTALL | re.MULTILINE))
FILES = dict(re.findall(r"```\w+ file=(\S+)\n(.*?)```", GUIDE, re.DOTALL))

STORAGE = Storage(1, "s1", "dir", "/srv")
IMAGE = Image(1, "debian", 1, "debian.qcow2", "qcow2", 256, ImageState.IDLE)
APPLIANCE = Appliance(1, "web-1", 1, "any", 1, 256, 512, ApplianceState.STOPPED)
VIEWS: dict[str, Any] = {
    "appliance": ApplianceView("uuid", APPLIANCE, IMAGE, STORAGE, None, None, None, (), ()),
    "image": ImageView("uuid", IMAGE, STORAGE),
}


def start_example(loop: Loop, shop: Workshop, site: Path, hook: str) -> None:
    assert FRAME is not None
    write_distribution(site, "example", f"qrmd_example_{hook}", FRAME[1] + "\n" + EXAMPLES[hook])
    loop.run(shop.run_plugin("example"))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "site"
    made.mkdir()
    monkeypatch.syspath_prepend(str(made))
    return made


def happen(db: Transaction, kind: str) -> None:
    events.append(db, kind, "appliance:7")


async def _happen(shop: Workshop, kind: str) -> None:
    await shop.store.write(happen, kind)
    await shop.outbox.caught_up()


def test_the_first_plugin(tmp_path: Path, site: Path, loop: Loop, shop: Workshop) -> None:
    home = tmp_path / "greeter"
    home.mkdir()
    for name, text in FILES.items():
        (home / name).write_text(text, encoding="utf-8")
    code = [line for line in FILES["qrmd_greeter.py"].splitlines() if line.strip()]
    assert len(code) <= 32
    pip = (sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation")
    process.run([*pip, "--target", str(site), str(home)], timeout=120)

    loop.run(shop.run_plugin("greeter"))
    loop.run(_happen(shop, "appliance.started"))
    assert loop.run(shop.call("greeter.list")) == ["Welcome, appliance:7!"]
    loop.run(shop.call("plugin.stop", "greeter"))
    (tmp_path / "plugins.d").mkdir()
    (tmp_path / "plugins.d" / "greeter.toml").write_text('greeting = "Moin"\n', encoding="utf-8")
    loop.run(shop.call("plugin.start", "greeter"))
    loop.run(_happen(shop, "appliance.started"))
    assert loop.run(shop.call("greeter.list"))[-1] == "Moin, appliance:7!"


REGISTERED = {
    "register_actions": "example.wave",
    "register_auditors": "example",
    "register_deployment_types": "example-disk",
    "register_pages": "admin /example",
    "register_realms": "guest",
    "register_services": "bell",
    "register_settings": "example.cards",
    "register_state_machines": "example_lamp",
    "register_verbs": "example.count",
    "register_virtualization_types": "example-vm",
    "register_workflows": "example.paint",
}
PLANNED = {
    "appliance_remove": "forget its history",
    "appliance_restart": "expect a short silence",
    "appliance_start": "watch web-1",
    "appliance_stop": "watch no more",
    "image_clone": "label the copy",
    "image_import": "scan the image",
    "image_remove": "take its label off",
    "image_resize": "label its new size",
}


@pytest.mark.parametrize("hook", REGISTERED)
def test_an_example_that_registers(loop: Loop, shop: Workshop, site: Path, hook: str) -> None:
    start_example(loop, shop, site, hook)
    offered = shop.plugins.offered("example").as_dict()
    assert list(offered) == [hook.removeprefix("register_")]
    assert offered[hook.removeprefix("register_")][0] == REGISTERED[hook]
    loop.run(shop.call("plugin.stop", "example"))
    assert not shop.plugins.offered("example").as_dict()


@pytest.mark.parametrize("hook", PLANNED)
def test_an_example_that_plans(loop: Loop, shop: Workshop, site: Path, hook: str) -> None:
    start_example(loop, shop, site, hook)
    steps = shop.hooks.steps(hook, VIEWS[hook.partition("_")[0]])
    assert [(each.action, each.plugin, each.title) for each in steps] == [("example.wave", "example", PLANNED[hook])]


def test_the_example_that_checks(loop: Loop, shop: Workshop, site: Path) -> None:
    start_example(loop, shop, site, "operation_check")
    ask: Callable[..., list[str]] = shop.hooks.objections
    assert ask("appliance.start", "appliance:1", None, {}) == []
    assert "name server" in ask("appliance.stop", "appliance:1", None, {})[0]


def test_the_example_that_observes(loop: Loop, shop: Workshop, site: Path) -> None:
    start_example(loop, shop, site, "on_event")
    loop.run(_happen(shop, "appliance.error"))
    assert loop.run(shop.call("plugin.get", "example"))["parked"] == []
    refused = loop.run(shop.events("plugin.request_refused"))
    assert "there is no verb 'appliance.stop'" in refused[0].data["fault"]["message"]


def test_no_example_is_left_out() -> None:
    assert set(EXAMPLES) == {*REGISTERED, *PLANNED, "operation_check", "on_event"}


def test_the_example_asks_for_its_settings_where_it_uses_them(loop: Loop, shop: Workshop, site: Path) -> None:
    start_example(loop, shop, site, "register_settings")
    loop.run(shop.call("settings.set", {"example.colour": "green", "example.cards": 7}))
    (implemented,) = (each for each in shop.hooks._manager.get_plugins() if type(each).__module__ != "qrmd.hooks.specs")
    assert loop.run(implemented.deal()) == "7 green cards"
