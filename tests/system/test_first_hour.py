"""The commands of docs/admin.md, run on a Debian with systemd; then what systemd does to the service."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qrmd.process import run
from qrmd.testing.images import debian, micro
from qrmd.testing.machine import Machine
from qrmd.testing.needs import require
from qrmd.testing.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/admin.md"
LEFT_OUT = ("build", ".git", "__pycache__", "*.egg-info", ".*_cache", ".hypothesis", "bench.json")
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PATH = "/usr/bin:/bin:/usr/sbin:/sbin"  # the Python there is Debian's, also on a machine that has others
PREPARED = ("python3 ", "/opt/qrmd/bin/pip ")
"""Commands that need a network, and so are run outside."""

ASK = """
import ssl, sys, urllib.request
trust = ssl._create_unverified_context()
print(urllib.request.urlopen(sys.argv[1], context=trust, timeout=30).read().decode())
"""
PREPARE = """
mount -t tmpfs tmpfs "$1"
mkdir -p "$1/disk/opt" "$1/work"
mount -t overlay -o lowerdir=/opt,upperdir="$1/disk/opt",workdir="$1/work" overlay /opt
cp -r "$2" "$1/disk/source"
cp "$3" "$1/disk/image.qcow2"
cd "$1/disk/source"
"""
PACK = """
truncate -s 2G "$4"
mkfs.ext4 -q -F -L prepared -d "$1/disk" "$4"
"""


def commands() -> list[str]:
    """All commands of the page, in order; continued lines are joined. The stand-in image's user is root."""
    text = "".join(BLOCK.findall(PAGE.read_text(encoding="utf-8")))
    text = text.replace("--default-user debian", "--default-user root").replace("debian@", "root@")
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def packages() -> list[str]:
    """Debian packages that the page installs."""
    install = next(line for line in commands() if line.startswith("apt-get install"))
    return [word for word in shlex.split(install)[2:] if not word.startswith("-")]


def prepare(work: Path) -> Path:
    """A disk with the source tree, what the page installs from it, and the image that stands for Debian's."""
    source, parts, disk = work / "source", work / "parts", work / "prepared.raw"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*LEFT_OUT))
    parts.mkdir()
    installs = "\n".join(line for line in commands() if line.startswith(PREPARED))
    script = f"{PREPARE}{installs}\n{PACK}"
    image = micro.build(lambda _line: None).qcow2
    alone = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-e", "-c", script, "sh"]
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    environment = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", **kept}
    run([*alone, *map(str, (parts, source, image, disk))], timeout=900, env=environment)
    return disk


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    require("lab", "debian", "ssh", "iso")
    work = tmp_path_factory.mktemp("first-hour")
    (work / "machine").mkdir()
    image = debian.build(packages(), size="10G")
    with Machine(work / "machine", image, [prepare(work)], ports=[7443]) as made:
        made.run("mkdir -p /opt/qrmd /root/source && mount LABEL=prepared /mnt")
        made.run("mount --bind /mnt/opt/qrmd /opt/qrmd && mount --bind /mnt/source /root/source")
        yield made


def show(machine: Machine, field: str) -> str:
    """A property of the service."""
    return machine.run(f"systemctl show qrmd --value --property {field}").stdout.strip()


def ask(machine: Machine, path: str) -> str:
    """What the service answers to a browser."""
    return machine.outside([sys.executable, "-c", ASK, f"https://127.0.0.1:7443{path}"]).stdout


def is_ready(machine: Machine) -> bool:
    """As systemd and the service itself say."""
    return show(machine, "ActiveState") == "active" and '"ready": true' in ask(machine, "/readyz")


def stand_ins(machine: Machine) -> dict[str, Callable[[str], str]]:
    """What is done instead of a command, by its first word."""

    def download(line: str) -> str:
        target = Path(shlex.split(line)[shlex.split(line).index("--output") + 1])
        if target.suffix == ".qcow2":
            return machine.run(f"cp /mnt/image.qcow2 {target}").stdout
        return machine.run(f"cd {target.parent} && sha512sum *.qcow2 >{target}").stdout

    def login(line: str) -> str:
        said = machine.run("journalctl -u qrmd --no-pager -o cat").stdout
        found = re.search(r"password: (\S+)", said)
        assert found is not None
        return machine.run(line, given=f"admin\n{found[1]}\n").stdout

    return {
        "curl": download,
        "qrm login": login,
        **dict.fromkeys((word.strip() for word in PREPARED), lambda _line: ""),
    }


@pytest.fixture(scope="module")
def said(machine: Machine) -> dict[str, str]:
    """What each command of the page said."""
    others, said = stand_ins(machine), {}
    for line in commands():
        special = next((act for word, act in others.items() if line.startswith(f"{word} ")), None)
        said[line] = special(line) if special else machine.run(f"cd /root/source && {line}").stdout
    return said


def test_every_command_of_the_page_works(machine: Machine, said: dict[str, str]) -> None:
    assert next(said[line] for line in said if line.startswith("ssh -i")).strip() == "web"
    journal = said["journalctl -u qrmd --no-pager -o cat"]
    assert "certificate SHA-256" in journal
    assert journal.count("password: ") == 1
    assert "0 newly installed" in next(said[line] for line in said if line.startswith("apt-get"))
    assert machine.run("virsh --connect qemu:///system list --all --name").stdout.strip() == ""
    assert machine.run("ls -A /var/lib/libvirt/images/qrmd").stdout.split() == [".image-1.owner", "image-1"]


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


def test_the_service_comes_back_after_a_crash(machine: Machine, said: dict[str, str]) -> None:
    assert is_ready(machine)
    before = show(machine, "MainPID")
    machine.run(f"kill -9 {before}")
    wait_until(lambda: show(machine, "NRestarts") == "1", timeout=300, interval=1, what="a restart")
    wait_until(lambda: show(machine, "ActiveState") == "active", timeout=600, interval=1, what="readiness")
    assert is_ready(machine)
    assert show(machine, "MainPID") != before
    assert machine.run("pgrep --count --uid qrmd dnsmasq").stdout.strip() == "1"
    password = re.compile("password: ")
    assert len(password.findall(machine.run("journalctl -u qrmd --no-pager -o cat").stdout)) == 1
    assert machine.run("qrm host list -o csv").stdout.count(",up,") == 1


def test_the_service_stops_gracefully(machine: Machine, said: dict[str, str]) -> None:
    machine.run("systemctl stop qrmd", timeout=300)
    assert show(machine, "Result") == "success"
    assert show(machine, "ActiveState") == "inactive"
    assert machine.run("pgrep --uid qrmd", check=False).stdout == ""
