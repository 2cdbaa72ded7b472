"""Steps that may come later, on a host that is fenced meanwhile: seen with the host, done at its return, or never."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qrmd.process import run
from qrmd.testing.daemon import Daemon, Setting
from qrmd.testing.distributions import write_distribution
from qrmd.testing.sites import password_of, populate
from qrmd.testing.waiting import wait_until
from qrmd.testing.web import web_client

AGENT = """
    from dataclasses import dataclass
    from pathlib import Path
    from qrmd.api import Done, Final, Manifest, OnFailure, Phase, Step, StepFailed, hookimpl

    @dataclass(frozen=True)
    class Config:
        directory: str = ""

    class Leave(Final):
        name = "agent.leave"
        timeout = 5.0
        retries = 0

        def __init__(self, directory):
            self.directory = directory

        async def do(self, ctx, args):
            with (self.directory / "tries").open("a") as file:
                file.write(args["name"] + "\\n")
            if (self.directory / "broken").exists():
                raise StepFailed("nobody opens", subject=ctx.subject)
            return Done()

    class Plugin:
        manifest = Manifest("agent", "Agent", "Leaves hosts late", "test")
        config_type, migrations = Config, None

        def __init__(self, services):
            self.directory = Path(services.config.directory)

        @hookimpl
        def register_actions(self):
            return [Leave(self.directory)]

        @hookimpl
        def appliance_stop(self, view):
            place, title = f"host:{view.host.id}", f"take leave of {view.host.name}"
            args = {"name": view.appliance.name}
            return [Step("agent.leave", args, Phase.MONITOR, title, on_failure=OnFailure.LATER, place=place)]
"""
TITLE = "take leave of node-1"


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Where the plugin writes its tries, and fails while there is a file ``broken``."""
    path = tmp_path / "world"
    path.mkdir()
    (path / "broken").touch()
    return path


@pytest.fixture
def daemon(tmp_path: Path, faults: Path, world: Path) -> Iterator[Daemon]:
    """With a debt at node-1: web-1 was stopped there."""
    site = tmp_path / "site"
    write_distribution(site, "agent", "agent_plugin", AGENT)
    plugins = {"simulated": {"faults": str(faults)}, "agent": {"directory": str(world)}}
    with Daemon(Setting(tmp_path, plugins=plugins, site=site)) as made:
        populate(made, tmp_path)
        made.call("host.add", {"name": "node-2", "uri": "simulated://node-2", "type": "simulated-vm"})
        made.run_plugins("agent")
        made.finish("appliance.stop", "web-1", {"grace_seconds": 0})
        yield made


def owed(daemon: Daemon) -> list[tuple[str, str]]:
    return [(each["title"], each["state"]) for each in daemon.call("host.get", "node-1")["owed"]]


def tries(world: Path) -> int:
    return len((world / "tries").read_text(encoding="utf-8").splitlines())


def fence(daemon: Daemon, faults: Path) -> None:
    """The host does not answer and is declared off; what is owed there is not tried any more."""
    faults.write_text(json.dumps([{"verb": "check", "effect": "fail"}]), encoding="utf-8")
    daemon.call("host.declare_fenced", "node-1", {"reason": "I have pulled its plug"})
    wait_until(lambda: owed(daemon) == [(TITLE, "owed")], timeout=60, what="the debt to be owed")


def test_a_debt_is_seen_with_its_host_which_can_not_be_forgotten(daemon: Daemon) -> None:
    assert owed(daemon) == [(TITLE, "debt")]
    url = f"https://admin:{daemon.password}@127.0.0.1:{daemon.port}"
    environment = {**os.environ, "QRM_URL": url, "QRM_CA_FILE": str(daemon.ca_file)}
    printed = run([sys.executable, "-m", "qrmd.cli.main", "host", "get", "node-1"], timeout=120, env=environment)
    assert f"title={TITLE}" in printed.stdout
    client = web_client(daemon)
    client.login("readonly", password_of("readonly"))
    page = client.get("/hosts/1").text
    assert "What is owed there" in page
    assert TITLE in page
    refused = daemon.fault("host.remove", "node-1")
    assert refused.code == 409
    assert f"{TITLE} is still owed there" in str(refused)
    assert "What is owed there" not in client.get("/hosts/2").text


def test_a_debt_at_a_fenced_host_is_done_before_that_is_admitted(daemon: Daemon, faults: Path, world: Path) -> None:
    fence(daemon, faults)
    before = tries(world)
    faults.write_text("[]", encoding="utf-8")
    refused = daemon.fault("host.admit", "node-1")
    assert f"still owed: {TITLE}" in str(refused)
    assert tries(world) == before + 1
    (world / "broken").unlink()
    assert daemon.call("host.admit", "node-1")["paid"] == [TITLE]
    assert tries(world) == before + 2
    assert owed(daemon) == []
    assert daemon.call("workflow.debts") == []
    assert daemon.call("audit.leftovers")["clean"]


def test_a_debt_is_written_off_with_its_host(daemon: Daemon, faults: Path, world: Path) -> None:
    fence(daemon, faults)
    before = tries(world)
    assert daemon.call("host.scrap", "node-1", {"reason": "burnt"}) == 1
    assert daemon.call("workflow.debts") == []
    (world / "broken").unlink()
    daemon.restart()
    assert daemon.call("workflow.debts") == []
    assert tries(world) == before
    daemon.call("plugin.stop", "agent")
    assert daemon.call("audit.leftovers")["clean"]
