"""``make demo`` as a user types it, in a fresh copy of the tree."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import stat
import urllib.request
import xmlrpc.client
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qrmd.process import Completed, Process, run, spawn
from qrmd.testing.interpreter import module_argv, module_environment
from qrmd.testing.lab import lab
from qrmd.testing.lab.access import namespace_of
from qrmd.testing.needs import require
from qrmd.testing.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
LAB = "demo-test"
FLAGS = f"FLAGS=--lab {LAB} --ports 0 0 0"
LEFT_OUT = ("build", ".git", "node_modules", "__pycache__", "*.egg-info", ".*_cache", ".hypothesis")
SHOWN = ("Placement", "Price of one server", "Steps", "The final bill", "audit.leftovers: clean", "planted-orphan")
INSTALL_SECONDS = 600.0
JOB_SECONDS = 400.0
KEYS = {
    "rpc_url", "admin_url", "portal_url", "boot_url", "admin_user", "admin_password", "cloud_user", "cloud_password",
    "ca_file", "pid", "namespace",
}  # fmt: skip


class Tree:
    """A copy of the tree, in which ``make`` is typed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.access_file = directory / "build/demo/access.json"
        self.output = directory.parent / "output"

    def make(self, *words: str) -> Completed:
        """``make demo`` to its end."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "PYTEST"))}
        limit = INSTALL_SECONDS + JOB_SECONDS
        return run(["make", "demo", FLAGS, *words], timeout=limit, cwd=self.directory, env=environment, check=False)

    def start(self, *words: str) -> Process:
        """``make demo``, not waited for; it dies with nobody."""
        self.output.unlink(missing_ok=True)
        return spawn(["make", "demo", FLAGS, *words], log=self.output, cwd=self.directory, pdeathsig=False)

    def wait_up(self, process: Process) -> dict[str, Any]:
        """What ``access.json`` says once it is there; one that was killed has left its own."""

        def is_there() -> bool:
            assert process.poll() is None, self.output.read_text()
            return self.access_file.exists() and json.loads(self.access_file.read_text())["pid"] == find_demo(process)

        wait_until(is_there, timeout=JOB_SECONDS, what="access.json")
        found: dict[str, Any] = json.loads(self.access_file.read_text())
        return found

    def interrupt(self, process: Process) -> None:
        """Ctrl-C: the whole group of the terminal gets it. Nothing may be left."""
        process.signal(signal.SIGINT)
        process.wait(60)
        wait_until(lambda: not self.access_file.exists() and not lab.sweep(LAB), timeout=60, what="a clean end")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    require("lab", "libvirt", "ssh")
    directory = tmp_path_factory.mktemp("checkout") / "qrmd"
    shutil.copytree(ROOT, directory, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
    yield Tree(directory)
    lab.down(LAB)
    shutil.rmtree(directory)


def check_result(done: Completed) -> None:
    """Exit status and last line say the same: two servers, two logins, a bill, nothing left."""
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    seconds, billed = result.pop("seconds_to_active"), result.pop("ccu_billed")
    assert result == {"ok": True, "servers": 2, "ssh_logins": 2, "leftovers": 0}
    assert 0 < seconds < JOB_SECONDS
    assert isinstance(billed, str)
    assert float(billed) > 0
    assert lab.sweep(LAB) == []


def test_once_in_a_fresh_tree_and_again_after_a_kill(tree: Tree) -> None:
    first = tree.make("ONCE=1")
    check_result(first)
    assert [part for part in SHOWN if part not in first.stdout] == []
    assert not tree.access_file.exists()
    cut = tree.start("ONCE=1")
    wait_until(has_domains, timeout=JOB_SECONDS, what="a server")
    os.kill(find_demo(cut), signal.SIGKILL)
    cut.wait(30)
    second = tree.make("ONCE=1")
    check_result(second)
    assert "bootstrap:" not in second.stdout


def test_it_stays_up_for_any_client_until_ctrl_c(tree: Tree) -> None:
    process = tree.start()
    access = tree.wait_up(process)
    assert set(access) == KEYS
    assert stat.S_IMODE(tree.access_file.stat().st_mode) == 0o600
    assert access["namespace"] == namespace_of(LAB)
    assert access["pid"] == find_demo(process)
    admin = login(access, "admin_user", "admin_password")
    assert {each["name"]: each["state"] for each in admin.plugin.list()}["cloud"] == "started"
    assert admin.appliance.list() == []
    user = login(access, "cloud_user", "cloud_password")
    assert [each["state"] for each in user.cloud.request.list()] == ["done"]
    context = ssl.create_default_context(cafile=access["ca_file"])
    for url in (access["admin_url"], access["portal_url"]):
        with urllib.request.urlopen(url, context=context, timeout=20) as page:  # noqa: S310 - https
            assert b"password" in page.read()
    check_boot(access["boot_url"])
    shown = tree.output.read_text()
    assert access["admin_password"] in shown
    assert access["cloud_password"] in shown
    assert access["admin_password"] not in (tree.directory / "build/demo/daemon.log").read_text()
    tree.interrupt(process)


def check_boot(url: str) -> None:
    """Plain HTTP: alive, and nothing else."""
    host = url.removeprefix("http://").rstrip("/")
    answers = {}
    for path in ("/healthz", "/", "/rpc", "/metrics"):
        connection = http.client.HTTPConnection(host, timeout=20)
        connection.request("GET", path)
        answers[path] = connection.getresponse().status
        connection.close()
    assert answers == {"/healthz": 200, "/": 404, "/rpc": 404, "/metrics": 404}


def test_without_a_job_and_after_every_kill(tree: Tree) -> None:
    victims: dict[str, Callable[[Process, dict[str, Any]], int]] = {
        "make": lambda process, _access: process.pid,
        "demo": lambda _process, access: int(access["pid"]),
        "daemon": lambda _process, access: find_daemon(int(access["pid"])),
    }
    for victim, find in victims.items():
        process = tree.start("JOB=0")
        access = tree.wait_up(process)
        admin = login(access, "admin_user", "admin_password")
        assert (admin.appliance.list(), admin.cloud.request.list()) == ([], []), victim
        carla = login(access, "cloud_user", "cloud_password")
        assert carla.cloud.account.get()["balance"] == "100"
        os.kill(find(process, access), signal.SIGKILL)
        assert process.wait(60) != 0, victim
    assert "daemon: it has ended with SIGKILL" in tree.output.read_text()
    process = tree.start("JOB=0")
    tree.wait_up(process)
    tree.interrupt(process)


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = demo(tmp_path, "--ports", "0", str(port), "0", "--no-job")
    assert done.returncode == 1
    assert done.stderr == f"demo: port {port} is in use (end what listens there: ss -ltnp sport = :{port})\n"
    assert lab.sweep(LAB) == []


def test_a_second_demo_beside_the_first_is_refused(tree: Tree, tmp_path: Path) -> None:
    process = tree.start("JOB=0")
    access = tree.wait_up(process)
    done = demo(tmp_path, "--ports", "0", "0", "0", "--no-job")
    assert done.returncode == 1
    assert f"another demo runs as process {access['pid']}" in done.stderr
    assert login(access, "admin_user", "admin_password").qrm.version()
    tree.interrupt(process)


def demo(directory: Path, *words: str) -> Completed:
    """The program itself, in a directory of its own."""
    line = module_argv("qrmd.testing.demo", "--lab", LAB, "--directory", str(directory / "demo"), *words)
    return run(line, timeout=120, check=False, env=module_environment())


def login(access: dict[str, Any], name: str, password: str) -> Any:
    """An ordinary XML-RPC client."""
    context = ssl.create_default_context(cafile=access["ca_file"])
    url = access["rpc_url"].replace("https://", f"https://{access[name]}:{access[password]}@")
    return xmlrpc.client.ServerProxy(url, context=context)


def has_domains() -> bool:
    """Whether a server is being made."""
    uri = f"qemu+unix:///system?socket=/run/qrm-lab/{LAB}/libvirt-sock"
    return bool(run(["virsh", "--connect", uri, "list", "--name"], timeout=30, check=False).stdout.strip())


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def find_demo(make: Process) -> int:
    """The demo is the child of make."""

    def look() -> list[int]:
        return [pid for pid in children(make.pid) if b"qrmd.testing.demo" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    wait_until(look, timeout=JOB_SECONDS, what="the demo's process")
    return look()[0]


def find_daemon(demo_pid: int) -> int:
    """The daemon is a child of the demo, of whichever of its threads."""
    tasks = Path(f"/proc/{demo_pid}/task").glob("*/children")
    pids = [int(each) for path in tasks for each in path.read_text().split()]
    return next(pid for pid in pids if b"\0qrmd\0--config" in Path(f"/proc/{pid}/cmdline").read_bytes())
