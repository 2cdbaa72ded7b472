"""A private network namespace with bridges, clients in namespaces of their own, and a serving process."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Iterator
from multiprocessing import connection
from pathlib import Path
from typing import Any

import pytest

from qrmd.model import Network
from qrmd.process import Process, run, spawn
from qrmd.testing.needs import require
from qrmd.testing.waiting import wait_until

INSTALLATION = "11111111-1111-4111-8111-111111111111"
AGENT = Path(__file__).with_name("agent.py")

_numbers = itertools.count(1)


class Space:
    """A network namespace, held by a sleeping process."""

    def __init__(self) -> None:
        self.process = spawn(["unshare", "-n", "sleep", "infinity"])
        ours = Path("/proc/self/ns/net").readlink()
        theirs = Path(f"/proc/{self.process.pid}/ns/net")
        wait_until(lambda: theirs.readlink() != ours, timeout=10, what="a network namespace")
        self.run("ip", "link", "set", "lo", "up")

    @property
    def enter(self) -> list[str]:
        """Prefix of an argument list."""
        return ["nsenter", "-t", str(self.process.pid), "-n", "--"]

    def run(self, *argv: str, check: bool = True, timeout: float = 30) -> str:
        """Run a program inside; what it says on both channels."""
        done = run([*self.enter, *argv], timeout=timeout, check=check)
        return done.stdout + done.stderr


class Client:
    """A machine on a bridge."""

    def __init__(self, server: Space, bridge: str, script: Path) -> None:
        self.space = Space()
        self._script = script
        port = f"port{next(_numbers)}"
        peer = str(self.space.process.pid)
        server.run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", peer)
        server.run("ip", "link", "set", port, "master", bridge, "up")

    def ask(self, mac: str, *, tries: int = 3) -> dict[str, str]:
        """Ask for an address by DHCP as ``mac``; what was given (``ip``, ``router``, ``dns``, ``hostname``)."""
        self.space.run("ip", "link", "set", "eth0", "down")
        self.space.run("ip", "link", "set", "eth0", "address", mac)
        self.space.run("ip", "link", "set", "eth0", "up")
        words = ("-f", "-n", "-q", "-t", str(tries), "-T", "1", "-i", "eth0", "-s", str(self._script))
        said = self.space.run("busybox", "udhcpc", *words, check=False)
        return dict(re.findall(r"^given (\w+)=(\S*)$", said, re.MULTILINE))

    def resolve(self, name: str, server: str, own: str) -> str:
        """What the DNS server says of a name (``own``: an address to ask from)."""
        self.space.run("ip", "address", "replace", own, "dev", "eth0")
        return self.space.run("busybox", "nslookup", name, server, check=False)


class Agent:
    """The serving process."""

    def __init__(self, space: Space, state_dir: Path) -> None:
        socket = str(state_dir.parent / f"agent{next(_numbers)}")
        program = [sys.executable, str(AGENT), socket, str(state_dir), INSTALLATION]
        self.process: Process = spawn([*space.enter, *program], log=state_dir.parent / "agent.log")
        wait_until(lambda: Path(socket).exists(), timeout=20, what="the agent's socket")
        self._connection: connection.Connection = connection.Client(socket)

    def call(self, name: str, method: str, *arguments: Any) -> Any:
        """Call a method; a deliberate error comes as AssertionError."""
        self._connection.send((name, method, arguments))
        fine, value = self._connection.recv()
        assert fine, value
        return value

    def settle(self, method: str, *arguments: Any) -> None:
        """Call ``reserve`` or ``release`` until nothing is left to do."""
        wait_until(lambda: self.call("servers", method, *arguments) == "", timeout=20, what=method)

    def pid(self, number: int) -> int:
        """Process id of a network's dnsmasq once it is ready."""
        return wait_until(lambda: self.call("servers", "pid", number), timeout=20, what="dnsmasq") or 0

    def end(self) -> None:
        """Stop as the daemon does."""
        self._connection.send(("end", "", ()))
        self.process.wait(20)


@pytest.fixture
def space() -> Iterator[Space]:
    """A namespace with bridges br-a (10.9.1.1/24) and br-b (10.9.2.1/24)."""
    require("dnsmasq")
    space = Space()
    for bridge, address in (("br-a", "10.9.1.1/24"), ("br-b", "10.9.2.1/24")):
        space.run("ip", "link", "add", bridge, "type", "bridge")
        space.run("ip", "address", "add", address, "dev", bridge)
        space.run("ip", "link", "set", bridge, "up")
    yield space
    space.process.kill()


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "state"
    directory.mkdir(mode=0o700)
    return directory


@pytest.fixture
def agents(space: Space, state_dir: Path) -> Iterator[Any]:
    """Start serving processes; all are killed in the end."""
    started: list[Agent] = []

    def start() -> Agent:
        started.append(Agent(space, state_dir))
        return started[-1]

    yield start
    for agent in started:
        agent.process.kill()


@pytest.fixture
def agent(agents: Callable[[], Agent]) -> Agent:
    return agents()


@pytest.fixture
def clients(space: Space, tmp_path: Path) -> Iterator[Any]:
    """Make clients on a bridge."""
    script = tmp_path / "given"
    lines = "".join(f'echo "given {name}=${name}"\n' for name in ("ip", "router", "dns", "hostname"))
    script.write_text(f'#!/bin/sh\n[ "$1" = bound ] || exit 0\n{lines}')
    script.chmod(0o755)
    made: list[Client] = []

    def make(bridge: str = "br-a") -> Client:
        made.append(Client(space, bridge, script))
        return made[-1]

    yield make
    for client in made:
        client.space.process.kill()


@pytest.fixture
def network() -> Network:
    return Network(
        1, "front", "br-a", "10.9.1.0/24", "10.9.1.10", "10.9.1.250", "10.9.1.1", ("192.0.2.53",), "lab.example"
    )


@pytest.fixture
def back() -> Network:
    return Network(2, "back", "br-b", "10.9.2.0/24", "10.9.2.10", "10.9.2.250")
