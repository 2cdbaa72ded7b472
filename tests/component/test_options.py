"""The contract with clients: the names there are, what lists take, and key, reason and dry run of each change."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from qrmd.testing.daemon import Daemon, Setting
from qrmd.testing.journal import Journal
from qrmd.testing.sites import populate
from qrmd.testing.waiting import wait_until

PROMISED = """
    qrm.version() qrm.health() · resource.list/get/power/remove/explain · host.add/list/get/remove/maintenance
    · storage.add/list/get/remove · network.add/list/get/remove · kernel.add/list/remove
    · image.add/import/list/get/clone/resize/remove · appliance.add/list/get/update/start/stop/restart/remove/explain
    · workflow.list/get/wait/cancel/retry/skip/abandon · plugin.list/get/enable/disable/start/stop/purge · event.list
    · user.add/list/set_role/set_password/remove · token.create/list/revoke · settings.get/set · audit.leftovers
    · cloud.user.add/list/get/set_ccus/set_limits/remove
    · cloud.request.create/plan/list/get/approve/deny/cancel/deprovision/extend · cloud.account.get/transactions
    · cloud.server.list/get/start/stop/restart/console_log · cloud.product.list/add/update/remove
"""
ORDER = {
    "image": "string", "cpus": "integer", "memory_mb": "integer", "disk_mb": "integer", "nics": "integer",
    "quantity": "integer", "type": "string", "start": "string", "stop": "string", "ha": "boolean",
    "hostname": "string", "ssh_key": "string", "partial": "boolean", "reason": "string",
}  # fmt: skip
LISTED = {"fields": "array", "where": "struct", "limit": "integer", "after": "integer"}
CHANGED = {"key": "string", "reason": "string", "dry_run": "boolean"}
SILENT = ("check", "find", "machines", "load")


@dataclass
class Place:
    """A daemon, a host that can be silenced, and names that nobody has yet."""

    daemon: Daemon
    directory: Path
    faults: Path
    numbers: count[int]
    waiting: list[int]

    def call(self, method: str, *arguments: Any) -> Any:
        return self.daemon.call(method, *arguments)

    def new(self) -> str:
        return f"n{next(self.numbers)}"

    def made(self, verb: str, *arguments: Any) -> int:
        return int(self.call(verb, *arguments))

    def play(self, *rules: dict[str, Any]) -> None:
        self.faults.write_text(json.dumps(rules), encoding="utf-8")

    def appliance(self, *, runs: bool = False) -> str:
        name = self.new()
        self.call("appliance.add", {"name": name, "image": "small", "memory_mb": 64})
        if runs:
            self.daemon.finish("appliance.start", name)
        return name

    def paused(self) -> str:
        name = self.appliance()
        self.play({"verb": "power_on", "effect": "pause", "nth": 1})
        self.daemon.finish("appliance.start", name)
        wait_until(lambda: self.call("appliance.get", name)["state"] == "paused", timeout=60, what="the monitor")
        self.play()
        return name

    def stuck(self) -> int:
        """Several at once, because it takes a while until nothing is tried any more."""
        if not self.waiting:
            self.play(*({"verb": each, "effect": "fail"} for each in ("power_on", "power_off", "undefine")))
            self.waiting += [self.made("appliance.start", self.appliance()) for _ in range(3)]
            assert {self.daemon.wait(each, 300)["state"] for each in self.waiting} == {"stuck"}
            self.play()
        return self.waiting.pop()

    def begun(self) -> int:
        """A workflow that goes on until it is cancelled."""
        self.play({"verb": "power_on", "effect": "hang"})
        workflow = self.made("appliance.start", self.appliance())
        wait_until(lambda: self.hangs(workflow), timeout=60, what="the call that hangs")
        return workflow

    def hangs(self, workflow: int) -> bool:
        with self.daemon.journal() as journal:
            return journal.step_state(workflow, "core.power_on") == "running"

    def host(self) -> str:
        name = self.new()
        self.call("host.add", {"name": name, "uri": f"simulated://{name}", "type": "simulated-vm"})
        return name

    def silent(self) -> str:
        name = self.host()
        self.play(*({"verb": each, "effect": "fail", "host": name} for each in SILENT))
        return name

    def fenced(self) -> str:
        name = self.silent()
        self.call("host.declare_fenced", name, {"reason": "unplugged"})
        self.play()
        return name

    def storage(self) -> dict[str, Any]:
        name = self.new()
        return {"name": name, "location": f"simulated://{name}?capacity_mb=1000", "type": "simulated"}

    def network(self) -> dict[str, Any]:
        name = self.new()
        return {"name": name, "bridge": f"br-{name}", "cidr": f"10.{100 + next(self.numbers)}.0.0/24"}

    def file(self) -> str:
        path = self.directory / f"{self.new()}.raw"
        path.write_bytes(bytes(2**20))
        return str(path)

    def image(self) -> str:
        name = self.new()
        self.daemon.finish("image.clone", "small", name)
        return name

    def volume(self) -> dict[str, Any]:
        volume = self.call("image.get", self.image())["volume"]
        return {"name": self.new(), "storage": "pool", "path": volume, "format": "raw"}

    def plugin(self, *verbs: str) -> str:
        """One that nothing uses, brought so far."""
        state = self.call("plugin.get", "dir-storage")["state"]
        back = {"started": ["stop", "disable"], "enabled": ["disable"], "installed": []}[state]
        for verb in (*back, *verbs):
            self.call(f"plugin.{verb}", "dir-storage")
        return "dir-storage"

    def user(self) -> str:
        name = self.new()
        self.call("user.add", name, "readonly", "long enough")
        return name

    def product(self) -> int:
        return self.made("cloud.product.add", {"kind": "image", "value": self.new(), "price": "1"})

    def customer(self) -> str:
        name = self.new()
        user = {"name": name, "email": f"{name}@example.org", "password": "long enough", "ccus": "100000"}
        self.call("cloud.user.add", user)
        return name

    def ordered(self, **more: Any) -> int:
        return self.made("cloud.request.create", {"image": "small", "user": self.customer(), **more})

    def approved(self) -> int:
        """It waits for its start time."""
        request = self.ordered(start="2099-01-01T00:00:00Z", stop="2099-01-02T00:00:00Z")
        self.call("cloud.request.approve", request)
        return request

    def active(self) -> int:
        request = self.ordered()
        self.daemon.finish("cloud.request.approve", request)
        wait_until(
            lambda: self.call("cloud.request.get", request)["state"] == "active", timeout=60, what="an active request"
        )
        return request

    def server(self, *, stopped: bool = False) -> int:
        ident = int(self.call("cloud.request.get", self.active())["servers"][0]["id"])
        if stopped:
            self.daemon.finish("cloud.server.stop", ident)
        return ident


FAR = "2099-02-01T00:00:00Z"
DEEDS: dict[str, Callable[[Place], list[Any]]] = {
    "appliance.add": lambda it: [{"name": it.new(), "image": "small"}],
    "appliance.remove": lambda it: [it.appliance()],
    "appliance.restart": lambda it: [it.appliance(runs=True)],
    "appliance.resume": lambda it: [it.paused()],
    "appliance.start": lambda it: [it.appliance(), ""],
    "appliance.stop": lambda it: [it.appliance(runs=True)],
    "appliance.update": lambda it: [it.appliance(), {"cpus": 2}],
    "cloud.deprovision": lambda it: [it.active(), "enough"],
    "cloud.product.add": lambda it: [{"kind": "image", "value": it.new(), "price": "1"}],
    "cloud.product.remove": lambda it: [it.product()],
    "cloud.product.update": lambda it: [it.product(), {"price": "2"}],
    "cloud.provision": lambda it: [it.approved()],
    "cloud.request.approve": lambda it: [it.ordered()],
    "cloud.request.cancel": lambda it: [it.ordered()],
    "cloud.request.create": lambda it: [{"image": "small", "user": it.customer()}],
    "cloud.request.deny": lambda it: [it.ordered()],
    "cloud.request.deprovision": lambda it: [it.active()],
    "cloud.request.extend": lambda it: [it.approved(), FAR],
    "cloud.server.restart": lambda it: [it.server()],
    "cloud.server.start": lambda it: [it.server(stopped=True)],
    "cloud.server.stop": lambda it: [it.server()],
    "cloud.user.add": lambda it: [{"name": it.new(), "email": "a@example.org"}],
    "cloud.user.remove": lambda it: [it.customer()],
    "cloud.user.set_ccus": lambda it: [it.customer(), "+5"],
    "cloud.user.set_limits": lambda it: [it.customer(), {"servers": 3}],
    "host.add": lambda it: [{"name": (name := it.new()), "uri": f"simulated://{name}", "type": "simulated-vm"}],
    "host.admit": lambda it: [it.fenced()],
    "host.declare_fenced": lambda it: [it.silent()],
    "host.maintenance": lambda it: [it.host()],
    "host.remove": lambda it: [it.host()],
    "host.scrap": lambda it: [it.fenced()],
    "image.add": lambda it: [it.volume()],
    "image.clone": lambda it: ["small", it.new()],
    "image.import": lambda it: [{"name": it.new(), "storage": "pool", "path": it.file(), "format": "raw"}],
    "image.remove": lambda it: [it.image()],
    "image.resize": lambda it: [it.image(), 8],
    "kernel.add": lambda it: [{"name": it.new(), "path": it.file()}],
    "kernel.remove": lambda it: [it.made("kernel.add", {"name": it.new(), "path": it.file()})],
    "network.add": lambda it: [it.network()],
    "network.remove": lambda it: [it.made("network.add", it.network())],
    "plugin.disable": lambda it: [it.plugin("enable")],
    "plugin.enable": lambda it: [it.plugin()],
    "plugin.purge": lambda it: [it.plugin()],
    "plugin.start": lambda it: [it.plugin("enable")],
    "plugin.stop": lambda it: [it.plugin("enable", "start")],
    "qrm.backup": lambda it: [it.new()],
    "resource.power": lambda it: [it.call("appliance.get", it.appliance(runs=True))["resource_id"], "reset"],
    "settings.set": lambda _it: [{"smtp.port": 2525}],
    "storage.add": lambda it: [it.storage()],
    "storage.remove": lambda it: [it.made("storage.add", it.storage())],
    "token.create": lambda it: [it.new(), ""],
    "token.revoke": lambda it: [it.call("token.create", it.new())["id"]],
    "user.add": lambda it: [it.new(), "readonly", "long enough"],
    "user.remove": lambda it: [it.user()],
    "user.set_password": lambda it: [it.user(), "longer still"],
    "user.set_role": lambda it: [it.user(), "operator"],
    "workflow.abandon": lambda it: [it.stuck()],
    "workflow.cancel": lambda it: [it.begun()],
    "workflow.retry": lambda it: [it.stuck()],
    "workflow.skip": lambda it: [it.stuck()],
}
ELSEWHERE = {
    "cloud.mail",  # the schedule sends queued mails too, and would be faster
    "cloud.queue.advance",  # says whose turn it is; asking again does no harm
    "plugin.reconcile",  # test_adoption.py
    "plugin.unpark",  # test_outbox.py
    "resource.remove",  # machines that no appliance made; there are none yet
}
SECRETS = ("password", "token")
"""Told in the first answer only."""
MORE: dict[str, dict[str, Any]] = {"appliance.stop": {"grace_seconds": 0}, "appliance.restart": {"grace_seconds": 0},
        "plugin.purge": {"confirm": "dir-storage"}}  # fmt: skip
MOVING = (
    "cursors", "requested", "sqlite_sequence", "events", "workflows", "steps", "cloud_requests", "cloud_queue",
    "cloud_holds", "cloud_ledger", "cloud_mails", "cloud_marks", "cloud_servers",
)  # fmt: skip
"""Tables that observers and the bills of other servers write; who wrote the events and workflows is told by them."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("contract")
    faults = directory / "faults.json"
    faults.write_text("[]", encoding="utf-8")
    plugins = {"simulated": {"faults": str(faults), "blocking": True}}
    with Daemon(Setting(directory, plugins=plugins)) as daemon:
        populate(daemon, directory)
        daemon.run_plugins("cloud")
        yield Place(daemon, directory, faults, count(1), [])


@pytest.fixture(scope="module")
def verbs(place: Place) -> dict[str, dict[str, Any]]:
    place.plugin("enable", "start")
    place.daemon.run_plugins("kvm", "dnsmasq")
    found = {each["name"]: each for each in place.call("system.describe")}
    for name in ("kvm", "dnsmasq"):
        place.call("plugin.stop", name)
    return found


def fields(parameter: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["type"] for each in parameter["fields"]}


def test_every_promised_name_is_there_with_help(place: Place, verbs: dict[str, dict[str, Any]]) -> None:
    promised = [
        f"{noun}.{verb}"
        for noun, names in re.findall(r"([a-z.]+)\.([a-z_/]+)(?:\(\))?", PROMISED)
        for verb in names.split("/")
    ]
    assert len(promised) > 80
    assert [name for name in promised if name not in verbs] == []
    for name in verbs:
        assert place.call("system.methodHelp", name).startswith(f"{name}("), name


def test_every_change_takes_key_reason_and_dry_run(verbs: dict[str, dict[str, Any]]) -> None:
    changing = [each for each in verbs.values() if each["changes"]]
    assert len(changing) > 50
    for each in (*changing, verbs["audit.leftovers"]):
        options = each["parameters"][-1]
        assert (options["name"], options["required"]) == ("options", False), each["name"]
        assert fields(options).items() >= CHANGED.items(), each["name"]


def test_every_list_takes_fields_where_limit_and_after(verbs: dict[str, dict[str, Any]]) -> None:
    for name in [*(each for each in verbs if each.endswith(".list")), "cloud.account.transactions"]:
        options = verbs[name]["parameters"][0]
        assert not options["required"], name
        assert fields(options).items() >= LISTED.items(), name


def test_lists_do_what_these_say(place: Place, verbs: dict[str, dict[str, Any]]) -> None:
    for name in [each for each in verbs if each.endswith(".list")]:
        whole = place.call(name, {})
        page = place.call(name, {"limit": 1})
        assert page == whole[:1], name
        if whole:
            ident = whole[0]["id"]
            assert [each["id"] for each in place.call(name, {"after": ident})] == [each["id"] for each in whole[1:]]
            assert place.call(name, {"fields": ["id"], "limit": 1}) == [{"id": ident}], name
            assert place.daemon.fault(name, {"where": {"colour": "red"}}).code == 400, name


def test_an_order_has_the_promised_keys(verbs: dict[str, dict[str, Any]]) -> None:
    assert fields(verbs["cloud.request.create"]["parameters"][0]).items() >= ORDER.items()


def test_each_change_is_tried(verbs: dict[str, dict[str, Any]]) -> None:
    assert set(DEEDS) | ELSEWHERE == {name for name, each in verbs.items() if each["changes"]}


def dump(journal: Journal) -> dict[str, list[tuple[Any, ...]]]:
    return {name: rows for name, rows in journal.dump().items() if name not in MOVING}


def said(journal: Journal, why: str) -> list[int]:
    """How many events and workflows have this reason."""
    return [int(journal.db.value(f"SELECT count(*) FROM {table} WHERE reason = ?", (why,)))  # noqa: S608
            for table in ("events", "workflows")]  # fmt: skip


def is_still(journal: Journal) -> bool:
    """Whether nothing is under way that somebody did before."""
    sql = "SELECT count(*) FROM workflows WHERE state IN ('planning', 'running', 'undoing')"
    return not journal.db.value(sql)


def without_secrets(answer: Any) -> Any:
    return {key: answer[key] for key in answer if key not in SECRETS} if isinstance(answer, dict) else answer


@pytest.mark.parametrize("verb", DEEDS)
def test_a_change_is_rehearsed_done_once_and_remembered_with_its_reason(place: Place, verb: str) -> None:
    why, more = f"because of {verb}", MORE.get(verb, {})
    with place.daemon.journal() as journal:
        wait_until(lambda: is_still(journal), timeout=120, what="the deeds before")
        arguments = DEEDS[verb](place)
        before = dump(journal)
        place.call(verb, *arguments, {**more, "reason": why, "dry_run": True})
        assert dump(journal) == before
        assert said(journal, why) == [0, 0]
        given = {**more, "reason": why, "key": f"key of {verb}"}
        first = place.call(verb, *arguments, given)
        place.play()
        wait_until(lambda: is_still(journal), timeout=120, what="its end")
        assert without_secrets(place.call(verb, *arguments, given)) == without_secrets(first)
        assert said(journal, why)[0], "no event says why"
