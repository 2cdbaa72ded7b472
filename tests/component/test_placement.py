"""The load of hosts decides where appliances go, and is told with the choice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from qrmd.loads import UNKNOWN
from qrmd.monitor import MISSES, POLL_SECONDS
from qrmd.testing.daemon import Daemon
from qrmd.testing.harness import Harness
from qrmd.testing.loop import Loop
from qrmd.testing.sites import password_of
from qrmd.testing.waiting import wait_until
from qrmd.testing.web import web_client

SIZE = "cpus=8&memory_mb=8192"
MEASURED = "load counts 25%: processors {}% busy, memory {}% used"


@pytest.fixture
def open_daemon(tmp_path: Path, loop: Loop) -> Iterator[Callable[..., Harness]]:
    """``open_daemon(**hosts)``: what their URIs say beside their size; ``settings`` are the plugin's."""
    opened: list[Harness] = []

    def make(settings: str = "", **hosts: str) -> Harness:
        daemon = Harness(tmp_path, loop, ["simulated"], {"simulated": settings})
        daemon.start()
        opened.append(daemon)
        for name, said in hosts.items():
            daemon.call("host.add", {"name": name, "uri": f"simulated://{name}?{SIZE}{said}", "type": "simulated-vm"})
        daemon.call("storage.add", {"name": "pool", "location": "simulated://pool", "type": "simulated"})
        (tmp_path / "disk.raw").write_bytes(bytes(2**20))
        image = {"name": "small", "storage": "pool", "path": str(tmp_path / "disk.raw"), "format": "raw"}
        daemon.finish(daemon.call("image.import", image))
        daemon.call("appliance.add", {"name": "web", "image": "small", "memory_mb": 256})
        return daemon

    yield make
    for each in opened:
        each.stop()


def reasons(explained: Mapping[str, Any]) -> dict[str, str]:
    """Why, by host, the best first; without how much memory stays free."""
    return {each["host"]: each["reason"].rpartition("; ")[2] for each in explained["candidates"]}


def was_logged(caplog: pytest.LogCaptureFixture, words: str, times: int) -> bool:
    return caplog.text.count(words) >= times


def poll(daemon: Harness, loop: Loop, *hosts: str) -> None:
    """Turn time until these hosts were looked at: their loads are known then."""

    def known() -> bool:
        told = reasons(daemon.call("appliance.explain", "web"))
        return all("load counts" in told[each] for each in hosts)

    loop.advance(POLL_SECONDS)
    loop.run_until(known, what="a poll")


def test_the_idle_one_of_equal_hosts_is_chosen_and_the_plan_says_why(
    open_daemon: Callable[..., Harness], loop: Loop
) -> None:
    daemon = open_daemon(h1="&cpu_percent=80", h2="&cpu_percent=30", h3="&cpu_percent=30")
    poll(daemon, loop, "h1", "h2", "h3")
    explained = daemon.call("appliance.explain", "web")
    assert explained["hosts"] == ["h2"]
    assert list(reasons(explained).items()) == [
        ("h2", MEASURED.format(30, 0)),
        ("h3", MEASURED.format(30, 0)),
        ("h1", MEASURED.format(80, 0)),
    ]
    planned = daemon.call("appliance.start", "web", "", {"dry_run": True})
    assert planned["facts"]["host"] == "h2"
    assert reasons({"candidates": planned["facts"]["placement"]}) == reasons(explained)
    daemon.finish(daemon.call("appliance.start", "web"))
    assert daemon.call("appliance.get", "web")["host_id"] == 2
    assert reasons(daemon.call("appliance.explain", "web")) == reasons(explained), "kept as it was"


def test_a_busy_host_takes_what_fits_nowhere_else(open_daemon: Callable[..., Harness], loop: Loop) -> None:
    daemon = open_daemon(h1="&cpu_percent=100", h2="")
    daemon.call("host.maintenance", "h2")
    poll(daemon, loop, "h1")
    daemon.finish(daemon.call("appliance.start", "web"))
    assert daemon.call("appliance.get", "web")["host_id"] == 1


def test_a_host_that_does_not_tell_its_load_stays_up_and_counts_by_its_promises(
    open_daemon: Callable[..., Harness], loop: Loop, faults: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "qrmd.monitor")
    faults.write_text(json.dumps([{"verb": "load", "effect": "fail", "host": "h1"}]), encoding="utf-8")
    daemon = open_daemon(f'faults = "{faults}"', h1="", h2="&cpu_percent=10", h3="")
    for times in range(1, MISSES + 2):
        poll(daemon, loop, "h2", "h3")
        loop.run_until(partial(was_logged, caplog, "h1: its load is not known", times), what="a refusal")
    assert list(reasons(daemon.call("appliance.explain", "web")).items()) == [
        ("h3", MEASURED.format(0, 0)),
        ("h1", UNKNOWN.reason),
        ("h2", MEASURED.format(10, 0)),
    ]
    assert daemon.call("host.get", "h1")["state"] == "up"


def test_a_type_that_measures_no_load_is_not_asked_for_it(
    open_daemon: Callable[..., Harness], loop: Loop, faults: Path
) -> None:
    faults.write_text(json.dumps([{"verb": "load", "effect": "fail"}]), encoding="utf-8")
    daemon = open_daemon(f'faults = "{faults}"\nmeasures_load = false', h1="&cpu_percent=80", h2="")
    loop.advance(POLL_SECONDS)
    daemon.settle()
    assert reasons(daemon.call("appliance.explain", "web")) == {"h1": UNKNOWN.reason, "h2": UNKNOWN.reason}
    load = daemon.call("host.get", "h1")["load"]
    assert "cpu" not in load
    assert load["fault"] is None


def test_pages_show_how_the_load_counted(faulty_daemon: Daemon) -> None:
    wait_until(
        lambda: "load counts" in faulty_daemon.call("appliance.explain", "web-2")["candidates"][0]["reason"],
        timeout=120,
        what="a poll",
    )
    client = web_client(faulty_daemon)
    assert client.login("readonly", password_of("readonly")).status == 303
    assert MEASURED.format(0, 0) in client.get("/appliances/2").text
