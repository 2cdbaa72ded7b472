"""A real dnsmasq, real bridges, real DHCP clients."""

from __future__ import annotations

import dataclasses
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from qrmd.drivers import Found
from qrmd.model import Network
from qrmd.process import spawn
from qrmd.testing.waiting import wait_until
from qrmd_dnsmasq.files import Reservation
from qrmd_dnsmasq.stale import find_stale

MAC = "52:54:00:00:00:05"
OTHER = "52:54:00:00:00:06"
WEB = Reservation(MAC, "10.9.1.15", "web-1", "appliance:12")
SYSTEM_FILES = ("/etc/dnsmasq.conf", "/etc/dnsmasq.d", "/etc/default/dnsmasq", "/var/lib/misc/dnsmasq.leases")


def conf_of(state_dir: Path, number: int = 1) -> Path:
    [installation] = state_dir.iterdir()
    return installation / f"network-{number}" / "dnsmasq.conf"


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_known_card_gets_exactly_its_address_and_name(agent: Any, clients: Any, network: Network) -> None:
    agent.settle("reserve", network, WEB)
    client = clients()
    assert client.ask(MAC) == {"ip": "10.9.1.15", "router": "10.9.1.1", "dns": "10.9.1.1", "hostname": "web-1"}
    assert client.ask(MAC)["ip"] == "10.9.1.15"
    said = client.resolve("web-1.lab.example", "10.9.1.1", "10.9.1.15/24")
    assert "10.9.1.15" in said.partition("web-1.lab.example")[2]
    agent.settle("release", network, MAC)
    said = client.resolve("web-1.lab.example", "10.9.1.1", "10.9.1.15/24")
    assert "10.9.1.15" not in said


def test_an_unknown_card_gets_nothing(agent: Any, clients: Any, network: Network) -> None:
    agent.settle("reserve", network, WEB)
    assert clients().ask(OTHER, tries=2) == {}


def test_a_released_address_is_free_at_once(agent: Any, clients: Any, network: Network) -> None:
    agent.settle("reserve", network, WEB)
    client = clients()
    assert client.ask(MAC)["ip"] == WEB.address
    assert agent.call("servers", "release", network, MAC) != ""  # the lease is there, so it is not done at once
    agent.settle("release", network, MAC)
    assert agent.call("auditor", "owned", "network:1") == []
    assert client.ask(MAC, tries=2) == {}
    agent.settle("reserve", network, dataclasses.replace(WEB, mac=OTHER))
    assert client.ask(OTHER)["ip"] == WEB.address


def test_a_changed_address_replaces_the_old_one(agent: Any, clients: Any, network: Network) -> None:
    agent.settle("reserve", network, WEB)
    client = clients()
    assert client.ask(MAC)["ip"] == WEB.address
    agent.settle("reserve", network, dataclasses.replace(WEB, address="10.9.1.16"))
    assert client.ask(MAC)["ip"] == "10.9.1.16"
    agent.settle("reserve", network, dataclasses.replace(WEB, mac=OTHER))
    assert client.ask(OTHER)["ip"] == WEB.address


def test_a_killed_dnsmasq_comes_back(agent: Any, clients: Any, network: Network) -> None:
    agent.settle("reserve", network, WEB)
    client = clients()
    client.ask(MAC)

    def another(gone: int) -> bool:
        return agent.call("servers", "pid", 1) not in {None, gone}

    for _ in range(3):
        before = agent.pid(1)
        os.kill(before, signal.SIGKILL)
        wait_until(partial(another, before), what="a new dnsmasq")
    assert client.ask(MAC)["ip"] == WEB.address
    agent.settle("release", network, MAC)


def test_dnsmasq_does_not_outlive_a_killed_daemon(agents: Any, clients: Any, network: Network, state_dir: Path) -> None:
    first = agents()
    first.settle("reserve", network, WEB)
    pid = first.pid(1)
    client = clients()
    client.ask(MAC)
    os.kill(first.process.pid, signal.SIGKILL)
    wait_until(lambda: not is_running(pid), what="the end of dnsmasq")
    second = agents()
    second.call("servers", "refresh", [network])
    assert client.ask(MAC)["ip"] == WEB.address
    second.settle("release", network, MAC)
    second.end()
    assert find_stale(conf_of(state_dir)) == []


def test_a_stale_dnsmasq_is_found_and_ended(
    agents: Any, space: Any, network: Network, state_dir: Path, tmp_path: Path
) -> None:
    first = agents()
    first.settle("reserve", network, WEB)
    first.end()
    conf = conf_of(state_dir)
    stale = spawn([*space.enter, "/usr/sbin/dnsmasq", f"--conf-file={conf}"])
    foreign_conf = tmp_path / "foreign.conf"
    foreign_conf.write_text("port=0\nkeep-in-foreground\npid-file=\n")
    foreign = spawn([*space.enter, "/usr/sbin/dnsmasq", f"--conf-file={foreign_conf}"])
    wait_until(lambda: find_stale(conf) == [stale.pid], what="the stale dnsmasq")
    second = agents()
    second.call("servers", "refresh", [network])
    assert second.pid(1) != stale.pid
    assert not is_running(stale.pid)
    assert is_running(foreign.pid)
    foreign.kill()


def test_two_networks(agent: Any, clients: Any, network: Network, back: Network) -> None:
    agent.settle("reserve", network, WEB)
    agent.settle("reserve", back, dataclasses.replace(WEB, address="10.9.2.15"))
    assert clients("br-a").ask(MAC)["ip"] == "10.9.1.15"
    given = clients("br-b").ask(MAC)
    assert given == {"ip": "10.9.2.15", "router": "", "dns": "10.9.2.1", "hostname": "web-1"}
    assert agent.call("auditor", "places") == ["network:1", "network:2"]
    agent.settle("release", back, MAC)
    agent.call("servers", "refresh", [network])
    assert agent.call("auditor", "places") == ["network:1"]


def test_a_changed_network_reaches_clients(agent: Any, clients: Any, network: Network) -> None:
    agent.settle("reserve", network, WEB)
    before = agent.pid(1)
    client = clients()
    agent.call("servers", "refresh", [network])
    assert agent.pid(1) == before
    agent.call("servers", "refresh", [dataclasses.replace(network, gateway="10.9.1.254")])
    assert agent.pid(1) != before
    assert client.ask(MAC)["router"] == "10.9.1.254"


def test_five_hundred_reservations(agent: Any, clients: Any, space: Any) -> None:
    space.run("ip", "address", "add", "10.8.0.1/16", "dev", "br-a")
    network = Network(3, "wide", "br-a", "10.8.0.0/16", "10.8.0.10", "10.8.255.250")
    all_of_them = [
        Reservation(f"52:54:00:01:{n >> 8:02x}:{n & 255:02x}", f"10.8.{1 + n // 250}.{1 + n % 250}", f"n-{n}", f"a:{n}")
        for n in range(500)
    ]
    for one in all_of_them:
        agent.call("servers", "reserve", network, one)
    agent.settle("reserve", network, all_of_them[-1])
    client = clients()
    for one in (all_of_them[0], all_of_them[250], all_of_them[499]):
        assert client.ask(one.mac)["ip"] == one.address
    assert len(agent.call("auditor", "owned", "network:3")) == 500


def test_a_bridge_without_an_address_is_named_and_served_later(
    agent: Any, clients: Any, space: Any, network: Network
) -> None:
    space.run("ip", "address", "flush", "dev", "br-a")
    waiting = agent.call("servers", "reserve", network, WEB)
    assert "br-a has no address in 10.9.1.0/24" in waiting
    space.run("ip", "address", "add", "10.9.1.1/24", "dev", "br-a")
    agent.settle("reserve", network, WEB)
    assert clients().ask(MAC)["ip"] == WEB.address


def test_the_audit_finds_and_removes(agent: Any, clients: Any, network: Network, state_dir: Path) -> None:
    agent.settle("reserve", network, WEB)
    client = clients()
    client.ask(MAC)
    [found] = agent.call("auditor", "owned", "network:1")
    assert (found.kind, found.external_id, found.place, found.subject) == (
        "dhcp-host", MAC, "network:1", "appliance:12",
    )  # fmt: skip
    (conf_of(state_dir).parent / "hosts" / WEB.file_name).unlink()
    [orphan] = agent.call("auditor", "owned", "network:1")
    assert orphan == Found("dhcp-lease", MAC, "network:1", "", "a lease without reservation")
    agent.call("auditor", "remove_found", orphan)
    assert agent.call("auditor", "owned", "network:1") == []
    assert (conf_of(state_dir).parent / "leases").read_text() == ""


def test_a_network_is_served_until_nothing_is_reserved_on_it(agent: Any, network: Network) -> None:
    """The list of networks may be older than the reservation."""
    agent.settle("reserve", network, WEB)
    before = agent.pid(1)
    agent.call("servers", "refresh", [])
    assert agent.pid(1) == before
    agent.settle("release", network, MAC)
    agent.call("servers", "refresh", [])
    assert agent.call("servers", "pid", 1) is None
    assert agent.call("auditor", "places") == []


def test_what_is_left_of_a_removed_network_is_audited(
    agents: Any, space: Any, network: Network, state_dir: Path
) -> None:
    first = agents()
    for mac, address in ((MAC, "10.9.1.15"), (OTHER, "10.9.1.16")):
        first.settle("reserve", network, dataclasses.replace(WEB, mac=mac, address=address))
    first.end()
    stale = spawn([*space.enter, "/usr/sbin/dnsmasq", f"--conf-file={conf_of(state_dir)}"])
    wait_until(lambda: find_stale(conf_of(state_dir)) == [stale.pid], what="the stale dnsmasq")
    second = agents()  # the network was removed meanwhile
    assert not is_running(stale.pid)
    second.call("servers", "refresh", [])
    assert second.call("auditor", "places") == ["network:1"]
    found = second.call("auditor", "owned", "network:1")
    assert {one.external_id for one in found} == {MAC, OTHER}
    second.call("auditor", "remove_found", found[0])
    assert second.call("auditor", "owned", "network:1") == found[1:]
    second.call("auditor", "remove_found", found[1])
    assert second.call("auditor", "places") == []


def test_a_bridge_goes_over_to_another_network(agent: Any, clients: Any, network: Network) -> None:
    agent.settle("reserve", network, WEB)
    successor = dataclasses.replace(network, id=9, name="next")
    agent.call("servers", "refresh", [successor])
    agent.settle("reserve", successor, dataclasses.replace(WEB, mac=OTHER))
    assert clients().ask(OTHER)["ip"] == WEB.address
    assert agent.call("auditor", "places") == ["network:1", "network:9"]


def test_the_machines_own_dnsmasq_is_left_alone(agent: Any, network: Network, state_dir: Path) -> None:
    def state() -> list[object]:
        return [(path, os.stat(path).st_mtime_ns) for path in SYSTEM_FILES if Path(path).exists()]  # noqa: PTH116

    before = state()
    agent.settle("reserve", network, WEB)
    arguments = Path(f"/proc/{agent.pid(1)}/cmdline").read_bytes().split(b"\0")
    assert arguments[1:] == [f"--conf-file={conf_of(state_dir)}".encode(), b""]
    assert state() == before
    directory = conf_of(state_dir).parent
    assert directory.stat().st_mode & 0o777 == 0o700


def test_dnsmasq_keeps_few_capabilities(agent: Any, network: Network) -> None:
    agent.settle("reserve", network, WEB)
    status = Path(f"/proc/{agent.pid(1)}/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    allowed = sum(1 << bit for bit in (6, 10, 12, 13))  # setgid, net_bind_service, net_admin, net_raw
    assert effective & ~allowed == 0


@pytest.mark.parametrize("address", ["10.9.2.15", "10.9.1.0", "10.9.1.255", "x", "10.9.1.15,set:x"])
def test_an_address_outside_the_network_is_refused(agent: Any, network: Network, address: str) -> None:
    with pytest.raises(AssertionError, match=r"address"):
        agent.call("servers", "reserve", network, dataclasses.replace(WEB, address=address))
    assert agent.call("auditor", "owned", "network:1") == []
