"""A Debian machine of its own, with systemd: in namespaces, at the speed of the machine that runs it."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from qrmd.process import Completed, Process, ProcessFailed, run, spawn
from qrmd.testing.images.packages import find_kernel
from qrmd.testing.lab.probe import find_domain_type
from qrmd.testing.waiting import wait_until

BOOT_SECONDS = 120.0
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "net/tun")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"}
NAMESPACES = ("--mount", "--uts", "--ipc", "--pid", "--cgroup", "--root", "--wd")
ALONE = ("unshare", "--mount", "--propagation", "private", "--", "sh", "-e", "-c")
OF_NETWORK = re.compile("PIP_.*|(https?|no)_proxy", re.IGNORECASE)
"""Settings of the test machine that say how packages are reached."""

PREFIX = "qrmd-machine-"

SWITCH_ON = rf"""
name=$1 root=$2 boot=$3
shift 3
mount --bind "$root" "$root"
mount -o remount,bind,dev,suid,exec "$root"
mount -t cgroup2 cgroup2 "$root/mnt"
for left in "$root/mnt/{PREFIX}"*; do # by a test that was killed, and whose machine ended with it
    owner=${{left##*/{PREFIX}}}
    [ -d "/proc/${{owner%-*}}" ] || ! grep -qs 'populated 0' "$left/cgroup.events" ||
        find "$left" -depth -type d -exec rmdir {{}} + || true
done
mkdir "$root/mnt/$name"
echo $$ >"$root/mnt/$name/cgroup.procs"
umount "$root/mnt"
exec unshare --cgroup --mount --propagation private --pid --fork --kill-child --uts --ipc --net -- \
    sh -e -c "$boot" sh "$root" "$@"
"""
BOOT = r"""
root=$1
shift
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
# what belongs to the kernel and not to a namespace is not for this machine to change
mount --bind "$root/proc/sys/net" "$root/mnt"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount --move "$root/mnt" "$root/proc/sys/net"
mount --bind "$root/sys/devices/virtual/net" "$root/sys/devices/virtual/net"
mount -o remount,bind,ro "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/net" "$root/dev/pts" "$root/dev/shm"
for device; do
    mknod -m 666 "$root/dev/$device" c $((0x$(stat -c %t "/dev/$device"))) $((0x$(stat -c %T "/dev/$device")))
done
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"
ip link set lo up
cd "$root"
pivot_root . .
umount -l .
exec setpriv --bounding-set=-sys_module,-sys_rawio,-sys_time,-syslog -- \
    env -i container=qrmd /lib/systemd/systemd --log-target=journal --show-status=no
"""
FORGET = """
mount -t cgroup2 cgroup2 "$2"
[ ! -d "$2/$1" ] || find "$2/$1" -depth -type d -exec rmdir {} +
"""


class Machine:
    """A Debian machine with a network of its own, which reaches nothing. Its kernel is the test machine's.

    From a chroot its servers don't start: libvirt would look for their devices in the root around it.
    ``root`` is its root directory, as this machine sees it; ``group`` names its control group.

    Args:
        work: an empty directory, where its log files are when it is closed.
        image: a root directory (see ``images.fresh``), which is copied.
        name: its host name.
    """

    def __init__(self, work: Path, image: Path, name: str) -> None:
        self.root = work / "root"
        self._work, self._image, self._name = work, image, name
        # a process id says who may still need it; in another namespace, or after a kill, another one has the same
        self.group = f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        self._processes: list[Process] = []

    def __enter__(self) -> Self:
        """Switch it on; systemd has started everything when this returns."""
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """As if somebody pulled the plug."""
        self.close()

    def run(
        self, line: str, *, online: bool = False, timeout: float = 900, given: str = "", check: bool = True
    ) -> Completed:
        """A command line of root's shell, with ``given`` as its input.

        Args:
            online: it finds the test machine's network in the place of the machine's.

        Raises:
            ProcessFailed: its status was not 0 (and ``check``).
        """
        environment = {**ENVIRONMENT, **(_network_settings() if online else {})}
        entered = self._enter(*NAMESPACES, *(() if online else ("--net",)))
        argv = [*entered, "sh", "-e", "-c", line]
        return run(argv, timeout=timeout, input=given, env=environment, check=check)

    def outside(self, argv: Sequence[str], *, timeout: float = 60) -> Completed:
        """Run a program of the test machine that finds the machine's network in the place of its own."""
        return run([*self._enter("--net"), *argv], timeout=timeout)

    def attach(self, argv: Sequence[str]) -> None:
        """Start a program of the test machine in the machine's network; it ends with the machine."""
        self._processes.append(spawn([*self._enter("--net"), *argv], log=self._work / "attached.log"))

    def close(self) -> None:
        """End it; its root directory is gone afterwards."""
        for process in reversed(self._processes):
            process.kill()
        self._processes.clear()
        if not self.root.exists():
            return
        wait_until(self._is_forgotten, timeout=120, interval=0.1, what=f"the end of {self.group}")
        if not (self._work / "log").exists() and (self.root / "var/log").exists():
            shutil.move(self.root / "var/log", self._work / "log")
        shutil.rmtree(self.root)

    def _furnish(self) -> None:
        run(["cp", "--archive", "--reflink=auto", str(self._image), str(self.root)], timeout=600)
        etc = self.root / "etc"
        (etc / "hostname").write_text(f"{self._name}\n", encoding="ascii")
        (etc / "hosts").write_text(f"127.0.0.1 localhost {self._name}\n", encoding="ascii")
        (etc / "machine-id").write_text("", encoding="ascii")
        (self.root / "var/log/journal").mkdir(exist_ok=True)
        for path in (Path("/etc/resolv.conf"), Path("/etc/pip.conf")):
            if path.exists():
                shutil.copy(path, etc / path.name)
        trusted = self.root / "usr/local/share/ca-certificates"
        trusted.mkdir(parents=True, exist_ok=True)
        for path in Path("/usr/local/share/ca-certificates").rglob("*.crt"):
            shutil.copy(path, trusted / path.name)

    def _start(self) -> None:
        self._furnish()
        accelerator = ["kvm"] if find_domain_type(find_kernel()) == "kvm" else []
        given = [self.group, str(self.root), BOOT, *DEVICES, *accelerator]
        self._processes.append(spawn([*ALONE, SWITCH_ON, "sh", *given], log=self._work / "boot.log"))
        wait_until(self._is_up, timeout=BOOT_SECONDS, interval=0.1, what=f"systemd (see {self._work})")

    def _is_up(self) -> bool:
        if self._processes[0].poll() is not None:
            raise AssertionError((self._work / "boot.log").read_text(encoding="utf-8"))
        try:
            if Path(f"/proc/{self._find_init()}/comm").read_text(encoding="ascii").strip() != "systemd":
                return False
            said = self.run("systemctl is-system-running", timeout=60, check=False).stdout.strip()
        except (OSError, IndexError, ProcessFailed):
            return False
        return said in {"running", "degraded"}

    def _is_forgotten(self) -> bool:
        asked = [*ALONE, FORGET, "sh", self.group, str(self._work)]
        return run(asked, timeout=60, check=False).returncode == 0

    def _enter(self, *namespaces: str) -> list[str]:
        return ["nsenter", f"--target={self._find_init()}", *namespaces, "--"]

    def _find_init(self) -> int:
        """The machine's first process, by its number out here."""
        pid = self._processes[0].pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()[0])


def _network_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if OF_NETWORK.fullmatch(name)}
