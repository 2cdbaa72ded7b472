"""What a plugin could not digest, on its page: shown to it again or skipped, and planned before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qrmd.testing.daemon import Daemon, Setting
from qrmd.testing.distributions import write_distribution
from qrmd.testing.sites import password_of, populate
from qrmd.testing.waiting import wait_until
from qrmd.testing.web import WebClient, web_client

PICKY = """
from dataclasses import dataclass

from qrmd.api import Manifest, hookimpl

@dataclass(frozen=True)
class Config:
    pass

class Plugin:
    manifest = Manifest("picky", "Picky", "Digests no appliance", "example")
    config_type, migrations = Config, None

    def __init__(self, services):
        pass

    @hookimpl
    def on_event(self, event, db):
        if event.kind == "appliance.added":
            raise ValueError("I don't like it")
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    write_distribution(tmp_path / "site", "picky", "qrmd_picky", PICKY)
    with Daemon(Setting(tmp_path, site=tmp_path / "site")) as made:
        populate(made, tmp_path)
        made.call("plugin.list")
        made.run_plugins("picky")
        made.call("appliance.add", {"name": "bitter", "image": "small", "memory_mb": 64})
        wait_until(lambda: parked(made), timeout=120, what="the event to be parked")
        yield made


@pytest.fixture
def client(daemon: Daemon) -> WebClient:
    made = web_client(daemon)
    made.login("administrator", password_of("administrator"))
    return made


def parked(daemon: Daemon) -> list[int]:
    return [each["event_id"] for each in daemon.call("plugin.get", "picky")["parked"]]


def test_a_parked_event_is_planned_shown_again_and_skipped(daemon: Daemon, client: WebClient) -> None:
    (event,) = parked(daemon)
    for action, title in (("unpark", "Show again"), ("skip", "Skip")):
        answer = client.submit("/plugins/picky", action, {"plan": "1"})
        assert answer.status == 200
        assert f"The plan of “{title}” for event {event}" in answer.text
        assert f'form="deed-{action}-{event}"' in answer.text
        assert parked(daemon) == [event]
    again = client.submit("/plugins/picky", "unpark")
    assert again.status == 409
    assert "raised again" in again.text
    assert parked(daemon) == [event]
    skipped = client.submit("/plugins/picky", "skip", {"reason": "known"})
    assert (skipped.status, skipped.header("location")) == (303, "/plugins/picky")
    assert parked(daemon) == []
    (told,) = daemon.call("event.list", {"where": {"kind": "plugin.event_skipped"}})
    assert told["reason"] == "known"
