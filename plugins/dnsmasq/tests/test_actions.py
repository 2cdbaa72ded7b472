"""Actions against a real dnsmasq, as the engine calls them."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from qrmd.model import Network
from qrmd.testing.waiting import wait_until
from qrmd.workflow.action import Again, Done, Outcome
from qrmd_dnsmasq.actions import Release, Reserve

MAC = "52:54:00:00:00:05"


class Remote:
    """The servers in another process, so that they are in the namespace."""

    def __init__(self, agent: Any) -> None:
        self._agent = agent

    def reserve(self, *arguments: Any) -> str:
        return str(self._agent.call("servers", "reserve", *arguments))

    def release(self, *arguments: Any) -> str:
        return str(self._agent.call("servers", "release", *arguments))


class Attempt:
    """What the engine gives to an action, as far as these use it."""

    subject = "appliance:12"

    async def call(self, lane: str, function: Callable[..., Any], *args: Any) -> Any:
        assert lane == "network:1"
        return function(*args)


def settle(deed: Callable[..., Coroutine[Any, Any, Outcome]], args: dict[str, Any]) -> Done:
    """Do it as often as it asks."""

    def again() -> Done | None:
        outcome = asyncio.run(deed(Attempt(), args))
        assert isinstance(outcome, (Again, Done))
        return outcome if isinstance(outcome, Done) else None

    done = wait_until(again, timeout=20, what="the action")
    assert done is not None
    return done


def test_reserve_and_release_twice_each(agent: Any, clients: Any, network: Network) -> None:
    remote: Any = Remote(agent)
    row = dataclasses.asdict(network) | {"dns": list(network.dns)}
    args = {"network": row, "mac": MAC, "address": "10.9.1.15", "hostname": "web-1"}
    for _ in range(2):
        assert settle(Reserve(remote).do, args) == Done({"address": "10.9.1.15"})
    client = clients()
    assert client.ask(MAC)["ip"] == "10.9.1.15"
    for _ in range(2):
        assert settle(Release(remote).do, {"network": row, "mac": MAC}) == Done()
    assert agent.call("auditor", "owned", "network:1") == []


def test_undo_takes_the_reservation_back(agent: Any, network: Network) -> None:
    remote: Any = Remote(agent)
    row = dataclasses.asdict(network) | {"dns": list(network.dns)}
    args = {"network": row, "mac": MAC, "address": "10.9.1.15", "hostname": "web-1"}
    assert settle(Reserve(remote).undo, args) == Done()
    settle(Reserve(remote).do, args)
    assert settle(Reserve(remote).undo, args) == Done()
    assert agent.call("auditor", "owned", "network:1") == []


def test_undo_takes_back_a_reservation_cut_off_in_the_middle_of_a_file(
    agent: Any, network: Network, state_dir: Path
) -> None:
    remote: Any = Remote(agent)
    row = dataclasses.asdict(network) | {"dns": list(network.dns)}
    args = {"network": row, "mac": MAC, "address": "10.9.1.15", "hostname": "web-1"}
    settle(Reserve(remote).do, args)
    written = [path for path in state_dir.rglob(MAC.replace(":", "-")) if path.is_file()]
    assert len(written) == 2
    for path in written:
        path.rename(path.with_name(f".{path.name}"))
    assert settle(Reserve(remote).undo, args) == Done()
    assert [path for place in written for path in place.parent.iterdir()] == []
