"""A plugin that comes when appliances run already, or goes while they do; and workflows that wait for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qrmd.testing.daemon import Daemon, Setting
from qrmd.testing.distributions import write_distribution
from qrmd.testing.sites import password_of, populate
from qrmd.testing.waiting import wait_until
from qrmd.testing.web import web_client

BEACON = '''
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from qrmd.api import (
    OPERATE, Again, Call, Done, Edge, Final, Found, Journey, Manifest, Migrations, Options, Owned, Phase, StateMachine,
    Step, StepFailed, WorkflowKind, collect, hookimpl, verb,
)

@dataclass(frozen=True)
class Config:
    outside: str = ""

tables = Migrations("beacon")

@tables()
def m001(db):
    db.conn.execute("CREATE TABLE beacon_lamps (id INTEGER PRIMARY KEY, state TEXT NOT NULL) STRICT")
    db.conn.execute("INSERT INTO beacon_lamps (state) VALUES ('dark')")

class Lamp(StrEnum):
    DARK = "dark"
    WARM = "warm"
    LIT = "lit"

class Light:
    name, timeout, retries = "beacon.light", 60.0, 0

    def __init__(self, outside):
        self.outside = outside

    async def do(self, ctx, args):
        if (self.outside / "broken").exists():
            raise StepFailed("no bulb", subject=ctx.subject)
        (self.outside / args["name"]).write_text(str(ctx.slots["answer"]))
        return Done()

    async def undo(self, ctx, args):
        (self.outside / args["name"]).unlink(missing_ok=True)
        return Done()

class Douse(Final):
    name, timeout, retries = "beacon.douse", 60.0, 0

    def __init__(self, outside):
        self.outside = outside

    async def do(self, ctx, args):
        (self.outside / args["name"]).unlink(missing_ok=True)
        return Done()

class Warm:
    name, timeout, retries = "beacon.warm", 600.0, 0

    def __init__(self, outside):
        self.outside = outside

    async def do(self, ctx, args):
        return Done() if (self.outside / "warm").exists() else Again(0.1, "cold")

    async def undo(self, ctx, args):
        return Done()

class Lights:
    plugin = "beacon"

    def __init__(self, outside):
        self.outside = outside

    def places(self):
        return ["sky"]

    def owned(self, place):
        return [Found("light", each.name, place) for each in self.outside.glob("light-*")]

    def remove_found(self, found):
        (self.outside / found.external_id).unlink(missing_ok=True)

class Plugin:
    manifest = Manifest("beacon", "Beacon", "A light for each server", "example")
    config_type, migrations = Config, tables

    def __init__(self, services):
        self.outside = Path(services.config.outside)

    @hookimpl
    def register_actions(self):
        return [Light(self.outside), Douse(self.outside), Warm(self.outside)]

    @hookimpl
    def register_auditors(self):
        return [Lights(self.outside)]

    @hookimpl
    def appliance_start(self, view):
        if (self.outside / "confused").exists():
            raise RuntimeError("confused")
        name = f"light-{view.appliance.name}"
        light = Owned("light", name, "sky")
        return [
            Step("beacon.light", {"name": name}, Phase.MONITOR, f"light {name}", needs=("answer",), owns=(light,)),
            Step("beacon.warm", {}, Phase.ANNOUNCE, "only at a start: it owns nothing"),
        ]

    @hookimpl
    def appliance_stop(self, view):
        name = f"light-{view.appliance.name}"
        return [Step("beacon.douse", {"name": name}, Phase.MONITOR, f"douse {name}", needs=("off",),
                     disowns=(Owned("light", name, "sky"),))]

    @hookimpl
    def register_state_machines(self):
        edges = (Edge(Lamp.DARK, Lamp.WARM, "go"), Edge(Lamp.WARM, Lamp.LIT, "done"), Edge(Lamp.WARM, Lamp.DARK, "no"))
        return [StateMachine("beacon_lamp", "beacon_lamps", Lamp, edges)]

    @hookimpl
    def register_workflows(self):
        journey = Journey((Lamp.DARK,), Lamp.WARM, Lamp.LIT, Lamp.DARK, Lamp.DARK)
        return [WorkflowKind("beacon.warm", "beacon_lamp", journey, lambda db, ident, arguments, workflow: ident,
                             lambda hooks, seen: [Step("beacon.warm", {}, Phase.CONFIGURE, "warm it up")])]

    @hookimpl
    def register_verbs(self):
        return collect(self)

    @verb("beacon.warm", roles=OPERATE, changes=True)
    async def warm(self, call: Call, options: Options = Options()) -> int:
        """Warm the lamp up."""
        return await call.start("beacon.warm", 1, {}, options)
'''


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    return path


@pytest.fixture
def daemon(tmp_path: Path, outside: Path) -> Iterator[Daemon]:
    """Runs two appliances; the beacon is installed only."""
    write_distribution(tmp_path / "site", "beacon", "qrmd_beacon", BEACON)
    setting = Setting(tmp_path, plugins={"beacon": {"outside": str(outside)}}, site=tmp_path / "site")
    with Daemon(setting) as made:
        populate(made, tmp_path)
        made.finish("appliance.start", "web-2")
        made.call("plugin.list")
        yield made


def lights(outside: Path) -> list[str]:
    return sorted(path.name for path in outside.glob("light-*"))


def reconcile(daemon: Daemon, *options: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = daemon.call("plugin.reconcile", "beacon", *options)
    for workflow in answer["workflows"]:
        daemon.wait(workflow)
    return answer


def states(daemon: Daemon) -> set[str]:
    return {each["state"] for each in daemon.call("appliance.list")}


def test_starting_a_plugin_offers_what_runs_already_lacks_and_reconcile_gives_it(daemon: Daemon, outside: Path) -> None:
    assert "it does not run" in str(daemon.fault("plugin.reconcile", "beacon"))
    daemon.call("plugin.enable", "beacon")
    offered = daemon.call("plugin.start", "beacon")["lacking"]
    assert (offered["number"], offered["looked_at"]) == (2, 2)
    assert offered["appliances"][0] == {
        "appliance": 1, "steps": ["recall answer of web-1", "light light-web-1"],
    }  # fmt: skip
    assert daemon.call("plugin.get", "beacon")["lacking"] == offered
    planned = daemon.call("plugin.reconcile", "beacon", {"dry_run": True})["plans"]
    assert [step["action"] for step in planned[0]["steps"]] == ["core.recall", "beacon.light"]
    assert lights(outside) == []

    answer = reconcile(daemon, {"key": "once", "reason": "everybody gets a light"})
    assert (len(answer["workflows"]), answer["refused"]) == (2, [])
    assert daemon.call("plugin.reconcile", "beacon", {"key": "once"}) == answer
    assert lights(outside) == ["light-web-1", "light-web-2"]
    assert (outside / "light-web-1").read_text(encoding="utf-8") == "running", "what its start found out"
    assert states(daemon) == {"active"}
    assert daemon.call("plugin.get", "beacon").get("lacking") == {}
    assert reconcile(daemon) == {"workflows": [], "refused": []}
    assert daemon.call("audit.leftovers")["clean"]
    daemon.finish("appliance.stop", "web-1", {"grace_seconds": 0})
    assert lights(outside) == ["light-web-2"]


def test_a_reconciliation_that_fails_is_undone_and_harms_no_server(daemon: Daemon, outside: Path) -> None:
    daemon.run_plugins("beacon")
    (outside / "broken").touch()
    answer = reconcile(daemon)
    assert [daemon.call("workflow.get", each)["state"] for each in answer["workflows"]] == ["undone", "undone"]
    assert states(daemon) == {"active"}
    (outside / "broken").unlink()
    reconcile(daemon)
    assert lights(outside) == ["light-web-1", "light-web-2"]


def test_disabling_asks_whether_to_withdraw_or_to_leave(daemon: Daemon, outside: Path) -> None:
    daemon.run_plugins("beacon")
    reconcile(daemon)
    for verb in ("plugin.disable", "plugin.stop"):
        refused = daemon.fault(verb, "beacon")
        assert refused.code == 409
        assert "2 things it made are still there" in str(refused)
        assert "withdraw" in str(refused)
        assert "leave" in str(refused)
        would = daemon.call(verb, "beacon", {"withdraw": True, "dry_run": True})
        assert [step["title"] for plan in would["plans"] for step in plan["steps"]] == [
            "douse light-web-1", "douse light-web-2",
        ]  # fmt: skip
        assert "plans" not in daemon.call(verb, "beacon", {"leave": True, "dry_run": True})
    assert len(lights(outside)) == 2
    left = daemon.call("plugin.disable", "beacon", {"leave": True, "key": "k"})
    assert daemon.call("plugin.disable", "beacon", {"leave": True, "key": "k"}) == left
    assert daemon.call("plugin.get", "beacon")["state"] == "installed"
    assert len(lights(outside)) == 2
    (unknown,) = daemon.call("audit.leftovers")["unknown"]
    assert unknown == {
        "place": "sky",
        "fault": "nobody looks there for what plugin beacon made",
        "owned": ["light light-web-1", "light light-web-2"],
    }

    daemon.call("plugin.enable", "beacon")
    assert daemon.call("plugin.start", "beacon")["lacking"] == {}, "what was left is still its own"
    daemon.call("plugin.disable", "beacon", {"withdraw": True, "reason": "too bright"})
    assert daemon.call("plugin.get", "beacon")["state"] == "installed"
    assert lights(outside) == []
    assert states(daemon) == {"active"}
    done = daemon.call("workflow.list", {"where": {"operation": "plugin.withdraw"}})
    assert [(each["state"], each["reason"]) for each in done] == [("done", "too bright")] * 2
    assert daemon.call("audit.leftovers")["clean"]


def test_a_plugin_started_later_takes_up_its_waiting_workflows(daemon: Daemon, outside: Path, tmp_path: Path) -> None:
    daemon.run_plugins("beacon")
    workflow = daemon.call("beacon.warm")
    refused = daemon.fault("plugin.stop", "beacon")
    assert f"workflow {workflow} (beacon.warm of beacon_lamp:1) has its step: warm it up" in str(refused)
    daemon.stop()
    config = tmp_path / "plugins.d/beacon.toml"
    good = config.read_text(encoding="utf-8")
    config.write_text("nonsense = 1\n", encoding="utf-8")
    daemon.start()
    assert daemon.call("plugin.get", "beacon")["state"] == "quarantined"
    (outside / "warm").touch()
    assert daemon.call("workflow.get", workflow)["state"] == "running"
    config.write_text(good, encoding="utf-8")
    daemon.call("plugin.start", "beacon")
    wait_until(lambda: daemon.call("workflow.get", workflow)["state"] == "done", timeout=60, what="the workflow")


def test_the_dashboard_asks_no_planner(daemon: Daemon, outside: Path) -> None:
    """It is fetched again with each event: what all servers lack of all plugins is not worked out for it."""
    daemon.call("plugin.enable", "beacon")
    daemon.call("plugin.start", "beacon")
    (outside / "confused").touch()
    browser = web_client(daemon)
    assert browser.login("readonly", password_of("readonly")).status == 303
    assert browser.get("/").status == 200
    state = {each["name"]: each["state"] for each in daemon.call("plugin.list")}
    assert state["beacon"] == "started", "a planner that raises is quarantined"
