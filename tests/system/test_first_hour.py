"""The commands of docs/admin.md, run on a machine that stands in for a real host."""

from __future__ import annotations

import configparser
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qrmd.process import Completed, Process, run, spawn
from qrmd.testing.lab import LabAccess, exec_argv, lab
from qrmd.testing.needs import require
from qrmd.testing.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/admin.md"
LAB = "first-hour"
LEFT_OUT = ("build", ".git", "node_modules", "__pycache__", "*.egg-info", ".*_cache", ".hypothesis")
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def commands() -> list[str]:
    """All commands of the page, in order; continued lines are joined. The stand-in image's user is root."""
    text = "".join(BLOCK.findall(PAGE.read_text(encoding="utf-8")))
    text = text.replace("--default-user debian", "--default-user root").replace("debian@", "root@")
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


class Machine:
    """A copy-on-write view of this machine: private libvirtd behind ``qemu:///system``, private network.

    Args:
        work: an empty directory.
    """

    def __init__(self, work: Path, access: LabAccess) -> None:
        self.root = work / "root"
        self.said = work / "qrmd.out"
        self._work = work
        self._access = access
        self._holder = spawn(["unshare", "--mount", "--propagation", "private", "--", "sleep", "infinity"])
        self._service: Process | None = None
        own = Path("/proc/self/ns/mnt").readlink()
        theirs = Path(f"/proc/{self._holder.pid}/ns/mnt")
        wait_until(lambda: theirs.readlink() != own, timeout=10, what="a mount namespace")
        self._mount()

    def shell(self, line: str, *, network: bool = True, given: str = "", check: bool = True) -> Completed:
        """A command as root in the source tree; ``network``: of the machine, else of this one (to download)."""
        program = ["sh", "-e", "-c", f"cd /root/source && {line}"]
        environment = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", **keep("PIP_")}
        return run(self._inside(program, network=network), timeout=600, env=environment, input=given, check=check)

    def start_service(self, unit: Path) -> None:
        """Start what the unit says as it says: user, groups, capabilities. Returns when it is ready."""
        service = read_unit(unit)
        self._introduce_users()
        self.shell(f"install -d -o qrmd -g qrmd -m 0700 /var/lib/{service['StateDirectory']}")
        groups = ",".join(["qrmd", *service["SupplementaryGroups"].split()])
        capabilities = [f"+{name.removeprefix('CAP_').lower()}" for name in service["AmbientCapabilities"].split()]
        kept = ",".join(capabilities)
        become = ["setpriv", "--reuid", "qrmd", "--regid", "qrmd", "--groups", groups, "--no-new-privs"]
        become += ["--inh-caps", f"-all,{kept}", "--ambient-caps", f"-all,{kept}", "--bounding-set", f"-all,{kept}"]
        line = self._inside([*become, "--", *service["ExecStart"].split()], network=True)
        environment = {"PATH": PATH, "HOME": "/var/lib/qrmd", "LANG": "C.UTF-8"}
        self._service = spawn(line, log=self.said, env=environment)
        wait_until(self._is_ready, timeout=60, what="qrmd")

    def password(self) -> str:
        """Of the first administrator, as the service said it."""
        found = re.search(r"password: (\S+)", self.said.read_text())
        assert found is not None
        return found[1]

    def close(self) -> None:
        """End it; its mounts go with it."""
        if self._service is not None:
            self._service.terminate()
        self._holder.kill()

    def _introduce_users(self) -> None:
        """Libvirtd looks up who speaks to it: it sees the accounts of the machine that it plays."""
        host = (self._access.state_dir / "host.pid").read_text().strip()
        for name in ("passwd", "group"):
            known = self._access.state_dir / name
            known.write_text(self.shell(f"cat /etc/{name}").stdout)
            mount = ["mount", "--bind", str(known), f"/etc/{name}"]
            run(["nsenter", f"--mount=/proc/{host}/ns/mnt", "--", *mount], timeout=10)

    def _is_ready(self) -> bool:
        assert self._service is not None
        assert self._service.poll() is None, self.said.read_text()
        return "password: " in self.said.read_text()

    def _inside(self, line: list[str], *, network: bool) -> list[str]:
        entered = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--", "chroot", str(self.root), *line]
        return exec_argv(self._access, entered) if network else entered

    def _mount(self) -> None:
        upper, state = self._work / "upper", self._access.state_dir
        self._do("mount", "-t", "tmpfs", "tmpfs", str(self._work))
        for path in (upper, self._work / "work", self.root):
            self._do("mkdir", str(path))
        layers = f"lowerdir=/,upperdir={upper},workdir={self._work / 'work'}"
        self._do("mount", "-t", "overlay", "-o", layers, "overlay", str(self.root))
        for name in ("proc", "sys", "dev"):
            self._do("mount", "--rbind", f"/{name}", str(self.root / name))
        for name, mode in (("run", "755"), ("tmp", "1777"), ("root", "700")):
            self._do("mount", "-t", "tmpfs", "-o", f"mode={mode}", "tmpfs", str(self.root / name))
        for name in ("etc/qrmd", "var/lib/qrmd", "opt/qrmd"):
            self._do("rm", "-rf", str(self.root / name))
        self._do("mount", "--bind", str(state / "lib"), str(self.root / "var/lib/libvirt"))
        self._do("mkdir", str(self.root / "run/libvirt"))
        sockets = self.root / "run/libvirt/libvirt-sock"
        self._do("touch", str(sockets))
        self._do("mount", "--bind", str(state / "libvirt-sock"), str(sockets))
        self._do("chgrp", "libvirt", str(sockets))
        self._do("chmod", "0770", str(sockets))
        self._do("cp", "-r", str(self._work.parent / "source"), str(self.root / "root/source"))

    def _do(self, *line: str) -> None:
        run(["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--", *line], timeout=60)


def keep(prefix: str) -> dict[str, str]:
    """What our environment says about package sources."""
    return {name: value for name, value in os.environ.items() if name.startswith(prefix)}


def read_unit(path: Path) -> dict[str, str]:
    """``[Service]`` of a systemd unit."""
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(path, encoding="utf-8")
    return dict(parser["Service"])


@pytest.fixture
def access() -> Iterator[LabAccess]:
    require("lab", "libvirt", "ssh")
    yield lab.up(LAB)
    lab.down(LAB)


@pytest.fixture
def machine(access: LabAccess, tmp_path: Path) -> Iterator[Machine]:
    shutil.copytree(ROOT, tmp_path / "source", ignore=shutil.ignore_patterns(*LEFT_OUT))
    (tmp_path / "work").mkdir()
    made = Machine(tmp_path / "work", access)
    yield made
    made.close()


def stand_ins(machine: Machine, access: LabAccess) -> dict[str, Callable[[str], str]]:
    """What is done instead of a command, by its first word."""
    image = Path("root/image.qcow2")

    def download(line: str) -> str:
        target = re.search(r"--output (\S+)", line)
        assert target is not None
        machine._do("cp", str(access.micro_image), str(machine.root / image))
        return machine.shell(f"cp /{image} {target[1]}").stdout

    def control(line: str) -> str:
        if "enable" in line:
            machine.start_service(ROOT / "etc/qrmd.service")
        return ""

    return {
        "apt-get": lambda line: machine.shell(line.replace("install", "install --simulate", 1)).stdout,
        "systemctl": control,
        "journalctl": lambda _line: machine.said.read_text(),
        "curl": download,
        "python3": lambda line: machine.shell(line, network=False).stdout,
        "/opt/qrmd/bin/pip": lambda line: machine.shell(line, network=False).stdout,
        "qrm login": lambda line: machine.shell(line, given=f"admin\n{machine.password()}\n").stdout,
    }


def test_every_command_of_the_page_works(machine: Machine, access: LabAccess) -> None:
    others = stand_ins(machine, access)
    said: dict[str, str] = {}
    for line in commands():
        special = next((act for word, act in others.items() if line.startswith(f"{word} ")), None)
        said[line] = special(line) if special else machine.shell(line).stdout
    login = next(line for line in said if line.startswith("ssh -i"))
    assert said[login].strip() == "web"
    assert "certificate SHA-256" in said["journalctl -u qrmd --no-pager -o cat"]
    domains = run(["virsh", "--connect", access.libvirt_uri, "list", "--all", "--name"], timeout=30).stdout
    assert domains.strip() == ""
    assert not Path("/opt/qrmd").exists()


def test_the_page_says_what_it_stands_on() -> None:
    """Each way in which the test differs is on the page."""
    page = PAGE.read_text(encoding="utf-8").partition("## How this page is tested")[2]
    for word in ("apt-get", "systemctl", "journalctl", "curl", "namespace"):
        assert word in page
