"""The commands of docs/admin.md, run on a Debian with systemd; then what systemd does to the service."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from qrmd.testing.images import debian, fresh
from qrmd.testing.machine import Machine
from qrmd.testing.needs import require
from qrmd.testing.waiting import wait_until
from qrmd.web.tls import ensure_certificate

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/admin.md"
LAST_PART = "## Back to nothing"
LEFT_OUT = ("build", "node_modules", ".git", "__pycache__", "*.egg-info", ".*_cache", ".hypothesis", "bench.json")
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ONLINE = ("apt-get ", "/opt/qrmd/bin/pip ")
"""Commands that need a network."""

ASK = """
import ssl, sys, urllib.request
trust = ssl._create_unverified_context()
print(urllib.request.urlopen(sys.argv[1], context=trust, timeout=30).read().decode())
"""
SERVE = """
import functools, http.server, ssl, sys
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", 443), handler)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(sys.argv[2], sys.argv[3])
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
LOOK = "hostname; id -un; sudo -n id -u; df --output=size -m / | tail -1; sudo -n cloud-init status --wait"
LAST_BOOT = "cat /proc/sys/kernel/random/boot_id"


def commands(text: str) -> list[str]:
    """All commands of a part of the page, in order; continued lines are joined."""
    lines = "".join(BLOCK.findall(text)).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip()]


def downloads() -> list[str]:
    """The addresses of what the page has the reader download."""
    lines = [shlex.split(line) for line in commands(PAGE.read_text(encoding="utf-8")) if line.startswith("curl ")]
    return [line[-1] for line in lines]


class Site:
    """What the page downloads, at the same addresses, inside the machine: Debian's images are too far away for a test.

    Args:
        work: an empty directory.
    """

    def __init__(self, work: Path) -> None:
        self._home = work / "site"
        self._name = str(urlsplit(downloads()[0]).hostname)
        self._certificate = ensure_certificate(work, [self._name])
        image, sums = (self._home / urlsplit(address).path.lstrip("/") for address in downloads())
        image.parent.mkdir(parents=True)
        image.symlink_to(debian.build())
        with image.open("rb") as file:
            digest = hashlib.file_digest(file, "sha512").hexdigest()
        sums.write_text(f"{'0' * 128}  another-image.qcow2\n{digest}  {image.name}\n", encoding="ascii")

    def open(self, machine: Machine) -> None:
        """Serve until the machine ends, which finds it by name and will trust its certificate."""
        trusted = machine.root / "usr/local/share/ca-certificates/site.crt"
        shutil.copy(self._certificate.certificate_file, trusted)
        with (machine.root / "etc/hosts").open("a", encoding="ascii") as hosts:
            hosts.write(f"127.0.0.1 {self._name}\n")
        files = (self._home, self._certificate.certificate_file, self._certificate.key_file)
        machine.attach([sys.executable, "-c", SERVE, *map(str, files)])


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    require("lab", "debian", "ssh")
    work = tmp_path_factory.mktemp("first-hour")
    (work / "machine").mkdir()
    site = Site(work)
    with Machine(work / "machine", fresh.build(), "server") as made:
        shutil.copytree(ROOT, made.root / "root/source", ignore=shutil.ignore_patterns(*LEFT_OUT))
        site.open(made)
        yield made


def type_in(machine: Machine, lines: list[str]) -> dict[str, str]:
    """What each command said; the password is found where the page says."""
    said: dict[str, str] = {}
    for line in lines:
        given = ""
        if line.startswith("qrm login "):
            found = re.search(r"password: (\S+)", said["journalctl -u qrmd --no-pager -o cat"])
            assert found is not None
            given = f"admin\n{found[1]}\n"
        said[line] = machine.run(f"cd /root/source && {line}", online=line.startswith(ONLINE), given=given).stdout
    return said


@pytest.fixture(scope="module")
def said(machine: Machine) -> dict[str, str]:
    """What each command of the page said, to the one that logs in to the server."""
    machine.run("apt-get update", online=True)
    first, _last = PAGE.read_text(encoding="utf-8").split(LAST_PART)
    return type_in(machine, commands(first))


def show(machine: Machine, field: str) -> str:
    """A property of the service."""
    return machine.run(f"systemctl show qrmd --value --property {field}").stdout.strip()


def ask(machine: Machine, path: str) -> str:
    """What the service answers to a browser."""
    return machine.outside([sys.executable, "-c", ASK, f"https://127.0.0.1:7443{path}"]).stdout


def is_ready(machine: Machine) -> bool:
    """As systemd and the service itself say."""
    return show(machine, "ActiveState") == "active" and '"ready": true' in ask(machine, "/readyz")


def ask_server(machine: Machine, said: dict[str, str], look: str) -> list[str]:
    """What the server says, line by line, to the one who follows the page."""
    login = next(line for line in said if line.startswith("ssh -i"))
    answer = machine.run(f"{login.removesuffix(' hostname')} {shlex.quote(look)}").stdout
    return [line.strip() for line in answer.splitlines() if line.strip(". \r")]


def test_the_commands_lead_to_a_server(machine: Machine, said: dict[str, str]) -> None:
    assert next(said[line] for line in said if line.startswith("ssh -i")).strip() == "web"
    journal = said["journalctl -u qrmd --no-pager -o cat"]
    assert "certificate SHA-256" in journal
    assert journal.count("password: ") == 1
    assert machine.run("virsh --connect qemu:///system list --name").stdout.split() == ["qrmd-1-web"]


def test_the_server_is_as_it_was_ordered(machine: Machine, said: dict[str, str]) -> None:
    name, user, root, size, status = ask_server(machine, said, LOOK)
    assert (name, user, root, status) == ("web", "debian", "0", "status: done")
    assert 4096 * 0.9 < int(size) <= 4096


def test_systemd_finds_nothing_wrong_with_the_unit(machine: Machine, said: dict[str, str]) -> None:
    verified = machine.run("systemd-analyze verify /etc/systemd/system/qrmd.service 2>&1").stdout
    assert "qrmd" not in verified
    # 10 is a service without any sandbox; above this threshold, in tenths, the status is not 0
    machine.run("systemd-analyze security --threshold=30 qrmd.service")


def test_a_browser_gets_the_page_and_all_that_it_loads(machine: Machine, said: dict[str, str]) -> None:
    page = ask(machine, "/")
    loaded = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    assert loaded
    assert all(ask(machine, path) for path in loaded)


def test_the_service_comes_back_after_a_crash_and_the_server_never_went(machine: Machine, said: dict[str, str]) -> None:
    assert is_ready(machine)
    before, booted = show(machine, "MainPID"), ask_server(machine, said, LAST_BOOT)
    machine.run(f"kill -9 {before}")
    wait_until(lambda: show(machine, "NRestarts") == "1", timeout=300, interval=1, what="a restart")
    wait_until(lambda: show(machine, "ActiveState") == "active", timeout=600, interval=1, what="readiness")
    assert is_ready(machine)
    assert show(machine, "MainPID") != before
    assert machine.run("pgrep --count --uid qrmd dnsmasq").stdout.strip() == "1"
    assert machine.run("journalctl -u qrmd --no-pager -o cat").stdout.count("password: ") == 1
    assert machine.run("qrm host list -o csv").stdout.count(",up,") == 1
    assert machine.run("qrm appliance list -o csv").stdout.count(",active,") == 1
    assert ask_server(machine, said, LAST_BOOT) == booted


def test_the_last_commands_lead_back_to_nothing(machine: Machine, said: dict[str, str]) -> None:
    _first, last = PAGE.read_text(encoding="utf-8").split(LAST_PART)
    assert "qrm audit leftovers" in type_in(machine, commands(last))
    assert machine.run("virsh --connect qemu:///system list --all --name").stdout.strip() == ""
    assert machine.run("ls -A /var/lib/libvirt/images/qrmd").stdout.split() == [".image-1.owner", "image-1"]
    assert machine.run("pgrep qemu-system", check=False).stdout == ""


def test_the_service_stops_gracefully(machine: Machine, said: dict[str, str]) -> None:
    machine.run("systemctl stop qrmd", timeout=300)
    assert show(machine, "Result") == "success"
    assert show(machine, "ActiveState") == "inactive"
    assert machine.run("pgrep --uid qrmd", check=False).stdout == ""
