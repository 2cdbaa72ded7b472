"""A storage or a host that never answers: nobody waits for it, and what is not known is said."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qrmd.testing.daemon import Daemon, Setting
from qrmd.testing.sites import password_of, populate
from qrmd.testing.waiting import wait_until
from qrmd.testing.web import web_client

MUTE = [{"verb": verb, "effect": "hang", "host": host} for verb, host in (("usage", "pool"), ("find", "node-1"))]
HANGS = 30.0
"""Seconds; whoever waits for the mute place waits a minute."""


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faults") / "faults.json"
    path.write_text("[]", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, faults: Path) -> Iterator[Daemon]:
    plugins = {"simulated": {"faults": str(faults), "blocking": True}}
    directory = tmp_path_factory.mktemp("mute")
    with Daemon(Setting(directory, plugins=plugins)) as running:
        populate(running, directory)
        yield running


def timed(daemon: Daemon, *call: Any) -> tuple[Any, float]:
    began = time.monotonic()
    return daemon.call(*call), time.monotonic() - began


def test_the_load_of_a_host_is_told_with_its_age(daemon: Daemon, faults: Path) -> None:
    faults.write_text("[]", encoding="utf-8")
    before = wait_until(lambda: loaded(daemon), timeout=60, what="an answer")
    assert 0 <= before["cpu"] <= 1
    assert before["memory_free_mb"] == 65536 - 256
    faults.write_text(json.dumps([{"verb": "load", "effect": "hang", "host": "node-1"}]), encoding="utf-8")
    found, seconds = timed(daemon, "host.get", 1)
    assert seconds < HANGS
    assert found["load"]["silent_since"]
    assert {name: found["load"][name] for name in before} == before
    faults.write_text("[]", encoding="utf-8")
    wait_until(lambda: loaded(daemon), timeout=60, what="an answer")


def loaded(daemon: Daemon) -> dict[str, Any]:
    """The load, once the host tells it."""
    found: dict[str, Any] = daemon.call("host.get", 1)["load"]
    return {} if "silent_since" in found else found


@pytest.mark.parametrize(("verb", "known"), [("storage.get", "free_mb"), ("resource.get", "machine")])
def test_the_last_answer_is_shown_with_its_age(daemon: Daemon, faults: Path, verb: str, known: str) -> None:
    faults.write_text("[]", encoding="utf-8")
    before = wait_until(lambda: fresh(daemon, verb), timeout=60, what="an answer")
    faults.write_text(json.dumps(MUTE), encoding="utf-8")
    first, seconds = timed(daemon, verb, 1)
    assert seconds < HANGS
    assert (first[known], first["seen_at"]) == (before[known], before["seen_at"])
    assert first["silent_since"] > before["seen_at"]
    assert first["fault"]
    again, seconds = timed(daemon, verb, 1)
    assert seconds < HANGS
    assert again["silent_since"] == first["silent_since"]
    faults.write_text("[]", encoding="utf-8")
    after = wait_until(lambda: fresh(daemon, verb), timeout=60, what="an answer")
    assert after["seen_at"] > first["silent_since"]


def fresh(daemon: Daemon, verb: str) -> dict[str, Any]:
    """The answer, once there is one."""
    found: dict[str, Any] = daemon.call(verb, 1)
    return {} if "silent_since" in found else found


def test_what_never_answered_is_unknown(daemon: Daemon, faults: Path) -> None:
    mute = [{"verb": "usage", "effect": "hang", "host": "other"}]
    other = {"name": "other", "location": "simulated://other?capacity_mb=5000", "type": "simulated", "capacity_mb": 9}
    ident = daemon.call("storage.add", other)
    faults.write_text(json.dumps(mute), encoding="utf-8")
    found, seconds = timed(daemon, "storage.get", ident)
    assert seconds < HANGS
    assert not {"free_mb", "total_mb", "seen_at"} & set(found)
    assert found["silent_since"]
    assert found["promised_mb"] == 0


def test_lists_and_pages_ask_nobody(daemon: Daemon, faults: Path) -> None:
    faults.write_text(json.dumps(MUTE), encoding="utf-8")
    began = time.monotonic()
    pool = daemon.call("storage.list", {"where": {"name": "pool"}})[0]
    assert pool["promised_mb"] == daemon.call("storage.get", "pool")["promised_mb"] > 0
    client = web_client(daemon)
    client.login("readonly", password_of("readonly"))
    for path in ("/", "/storages", "/storages/1", "/hosts", "/map", "/resources", "/resources/1"):
        assert client.get(path).status == 200
    assert time.monotonic() - began < HANGS
