"""The core's verbs attacked over the real daemon: a clear fault with a code, nothing changed, the daemon lives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qrmd.cli.connection import CallFailed
from qrmd.deployment.sources import check_source, file_digest
from qrmd.errors import InvalidInput
from qrmd.testing.daemon import Daemon
from qrmd.testing.sites import password_of, running_sites

HOSTILE = [
    'a"b', "a'b", "a\nb", "a;b", "../x", "x" * 10_000, "", "A", "-a", "a..b", "ä", "a b", "a\tb", "<a>", "a%s", "12",
]  # fmt: skip
REFUSED = {400, 403, 404, 409, 412, 507}
NETWORK = {"name": "m", "bridge": "br9", "cidr": "10.99.0.0/24"}
APPLIANCES: list[dict[str, Any]] = [
    {"cpus": 0}, {"cpus": -1}, {"cpus": 10**6}, {"cpus": "x"}, {"cpus": True}, {"cpus": 1.5}, {"cpus": "9" * 20},
    {"memory_mb": 0}, {"memory_mb": "9223372036854775807"}, {"disk_mb": -1}, {"disk_mb": "1" * 19}, {"image": "nope"},
    {"image": 999}, {"image": -1}, {"image": []}, {"image": {}}, {"networks": ["nope"]}, {"networks": "tenants"},
    {"networks": [["tenants"]]}, {"networks": ["tenants"] * 9}, {"nope": 1}, {"ssh_keys": ["x"]},
    {"ssh_keys": ["ssh-ed25519 AAAA\nx"]}, {"hostname": "a_b"}, {"kernel": "zz"}, {"type": "'"}, {"login": "a b"},
    {"owner": "x" * 501},
]  # fmt: skip
NETWORKS: list[dict[str, Any]] = [
    {"cidr": "10.20.0.128/25"}, {"cidr": "10.0.0.0/8"}, {"cidr": "0.0.0.0/0"}, {"cidr": "x"}, {"cidr": "10.5.0.1/24"},
    {"cidr": "10.5.0.0/31"}, {"cidr": "10.5.0.0/32"}, {"cidr": "127.0.0.0/8"}, {"cidr": "224.0.0.0/24"},
    {"bridge": "br0"}, {"bridge": "a;b"}, {"gateway": "10.6.0.1"}, {"dns": ["x"]}, {"range": "10.99.0.0-10.99.0.9"},
    {"range": "10.99.0.9-10.99.0.3"}, {"range": "10.99.0.9-10.98.0.3"}, {"range": "::1-::2"},
    {"range": "10.99.0.9-10.99.0.255"},
]  # fmt: skip
LISTS: list[dict[str, Any]] = [
    {"where": {"name; DROP TABLE hosts": 1}}, {"where": {"id": [1]}}, {"where": {"id": {"a": 1}}}, {"where": "x"},
    {"where": {"rowid": 1}}, {"fields": ["1; select"]}, {"fields": ["(select 1)"]}, {"fields": "name"},
    {"fields": ["sealed"]}, {"limit": -1}, {"limit": 0}, {"limit": 10**6}, {"after": -1}, {"order": "x"},
]  # fmt: skip
NOUNS = ("appliance", "workflow", "host", "image", "network", "storage", "resource", "kernel")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_sites(tmp_path_factory.mktemp("verbs")) as found:
        yield found


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with things that are no files."""
    path = tmp_path_factory.mktemp("odd")
    os.mkfifo(path / "fifo")
    (path / "loop").symlink_to(path / "loop")
    (path / "outside").symlink_to("/etc/passwd")
    (path / "good").write_bytes(b"good")
    return path


def rows(daemon: Daemon) -> dict[str, list[tuple[Any, ...]]]:
    with daemon.journal() as journal:
        names = [row[0] for row in journal.db.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: [tuple(row) for row in journal.db.rows(f"SELECT * FROM {name}")] for name in names}  # noqa: S608


def refuse(daemon: Daemon, *calls: tuple[Any, ...]) -> None:
    before = rows(daemon)
    for method, *arguments in calls:
        fault = daemon.fault(method, *arguments)
        assert fault.code in REFUSED, (method, str(arguments)[:200], fault)
        assert len(str(fault)) < 2000, method
    assert rows(daemon) == before
    assert daemon.call("qrm.version")


def test_hostile_names(daemon: Daemon, odd: Path) -> None:
    for name in HOSTILE:
        refuse(
            daemon,
            ("image.import", {"name": name, "storage": "pool", "path": str(odd / "good"), "format": "raw"}),
            ("image.clone", "small", name),
            ("appliance.add", {"name": name, "image": "small"}),
            ("network.add", NETWORK | {"name": name}),
            ("host.add", {"name": name, "uri": "simulated://z", "type": "simulated-vm"}),
            ("storage.add", {"name": name, "location": "simulated://z", "type": "simulated"}),
            ("appliance.start", f"nope{name}"),
        )


def test_sizes_types_and_unknown_things(daemon: Daemon) -> None:
    refuse(daemon, *(("appliance.add", {"name": "ok", "image": "small", **each}) for each in APPLIANCES))
    nothing: list[Any] = [[], {}, "x", 1.5]
    refuse(daemon, *(("appliance.add", each) for each in nothing))
    refuse(daemon, *(("network.add", NETWORK | each) for each in NETWORKS))
    refuse(daemon, *((f"appliance.{verb}", 10**6) for verb in ("start", "stop", "restart", "remove", "get", "explain")))
    refuse(
        daemon, *((f"workflow.{verb}", ref) for verb in ("cancel", "retry", "skip", "abandon") for ref in (1, "x", -1))
    )
    refuse(daemon, *((f"workflow.{verb}", 1, {"dry_run": True}) for verb in ("cancel", "retry", "skip", "abandon")))
    refuse(daemon, ("image.resize", "small", 0), ("image.resize", "small", "1099511627776"), ("image.remove", "small"))
    refuse(daemon, ("storage.remove", "pool"), ("network.remove", "nope"), ("host.remove", "node-1"))
    refuse(daemon, ("resource.power", 1, "on"), ("resource.power", 1, "zz"), ("resource.remove", 1))
    refuse(daemon, ("audit.leftovers", {"action": "zap"}), ("audit.leftovers", {"action": "ignore"}))


def test_lists_take_names_of_fields_and_nothing_else(daemon: Daemon) -> None:
    refuse(daemon, *((f"{noun}.list", each) for noun in NOUNS for each in LISTS))
    assert daemon.call("appliance.list", {"where": {"name": "' OR 1=1 --"}}) == []


def test_only_regular_files_become_images_and_kernels(daemon: Daemon, odd: Path) -> None:
    paths = [
        odd / "fifo",
        odd,
        odd / "loop",
        "/dev/zero",
        "/proc/self/environ",
        "/nope",
        "good",
        "\n",
        "/etc/" + "x" * 900,
    ]
    for path in map(str, paths):
        refuse(daemon, ("image.import", {"name": "x", "storage": "pool", "path": path, "format": "raw"}))
    for path in map(str, paths[:4] + paths[5:]):
        refuse(daemon, ("kernel.add", {"name": "k", "path": path}))
    refuse(daemon, ("kernel.add", {"name": "k", "path": ""}))


def test_files_come_from_the_import_directories(odd: Path) -> None:
    assert check_source(str(odd / "good"), (odd,), odd / "private") == odd / "good"
    told = set()
    for place in ("/etc/shadow", "/etc/shadow.nope", "/root", "/root/nope/nope", str(odd / "outside")):
        with pytest.raises(InvalidInput) as caught:
            check_source(place, (odd,), odd / "private")
        told.add(str(caught.value).replace(place, ""))
    kept = odd / "state"
    (kept / "import").mkdir(parents=True)
    for path in (kept / "key", kept / "import/good"):
        path.write_bytes(b"x")
    assert check_source(str(kept / "import/good"), (odd, kept / "import"), kept) == kept / "import/good"
    for directories in ((odd,), (kept,), (odd, kept / "import")):
        with pytest.raises(InvalidInput):
            check_source(str(kept / "key"), directories, kept)
    assert len(told) == 1, "what is there outside of them is not told apart from what is not"
    for path in (odd / "outside", odd / "../etc/passwd", Path("/etc/passwd"), odd / "fifo", odd):
        with pytest.raises(InvalidInput):
            check_source(str(path), (odd,), odd / "private")
    with pytest.raises(InvalidInput, match="no directory"):
        check_source(str(odd / "good"), (), odd / "private")
    for path in (odd / "fifo", odd / "outside", odd):
        with pytest.raises(InvalidInput):
            file_digest(path)


def test_a_readonly_user_may_call_no_verb_that_changes(daemon: Daemon) -> None:
    before = rows(daemon)
    someone = daemon.login("readonly", password_of("readonly"))
    for told in someone.call("system.describe"):
        if told["changes"] and told["name"].partition(".")[0] in {*NOUNS, "plugin", "user", "settings"}:
            with pytest.raises(CallFailed) as caught:
                someone.call(told["name"])
            assert caught.value.code == 403, told["name"]
    assert rows(daemon) == before


def test_the_default_range_spares_bridge_gateway_and_broadcast(daemon: Daemon) -> None:
    ident = daemon.call(
        "network.add", {"name": "small", "bridge": "br5", "cidr": "10.55.0.0/29", "gateway": "10.55.0.3"}
    )
    found = daemon.call("network.get", ident)
    assert (found["range_first"], found["range_last"], found["free_addresses"]) == ("10.55.0.2", "10.55.0.6", 4)
    daemon.call("network.remove", ident)


def test_a_dry_run_of_an_import_or_clone_is_the_real_plan(daemon: Daemon, odd: Path) -> None:
    before = rows(daemon)
    spec = {"name": "x", "storage": "pool", "path": str(odd / "good"), "format": "raw"}
    for arguments in (("image.import", spec), ("image.clone", "small", "copy")):
        plan = daemon.call(*arguments, {"dry_run": True})
        assert len(plan["steps"]) == 1
        assert plan["facts"]["storage"] == "pool"
    assert rows(daemon) == before


def test_an_import_is_idempotent_by_its_key(daemon: Daemon, tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(bytes(2**20))
    spec = {"name": "keyed", "storage": "pool", "path": str(disk), "format": "raw"}
    first = daemon.call("image.import", spec, {"key": "k"})
    assert daemon.call("image.import", spec, {"key": "k"}) == first
    assert daemon.wait(first)["state"] == "done"
    assert daemon.call("image.import", spec, {"key": "k"}) == first
    daemon.finish("image.remove", "keyed")


def test_workflows_and_events_are_listed_newest_first(daemon: Daemon) -> None:
    for noun in ("workflow", "event"):
        known = [each["id"] for each in daemon.call(f"{noun}.list", {"fields": ["id"]})]
        latest = daemon.call(f"{noun}.list", {"order": "-id", "limit": 2, "fields": ["id"]})
        assert [each["id"] for each in latest] == known[:-3:-1]
    before = known[-2]
    assert daemon.call("event.list", {"order": "-id", "after": before, "limit": 1})[0]["id"] == known[-3]
    assert daemon.call("event.list", {"order": "id", "limit": 1})[0]["id"] == known[0]
    refuse(daemon, *(("event.list", each) for each in ({"order": "kind"}, {"where": {"newest": True}})))
