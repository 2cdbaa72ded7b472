"""A Debian machine of its own, under QEMU, with systemd: what no namespace can stand in for."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from qrmd.process import Completed, Process, ProcessFailed, ProcessTimedOut, run, spawn
from qrmd.testing.images.packages import find_kernel
from qrmd.testing.lab.probe import find_domain_type
from qrmd.testing.waiting import wait_until

BOOT_SECONDS = 600.0
SSH_PORT = 2222
SEED = """#cloud-config
hostname: {name}
disable_root: false
ssh_genkeytypes: [ed25519]
users: [{{name: root, ssh_authorized_keys: ["{key}"]}}]
# only what this needs: without KVM each module takes seconds
cloud_init_modules: [set_hostname, users-groups, ssh]
cloud_config_modules: []
cloud_final_modules: []
"""


class Machine:
    """A Debian machine; its root is reached by ssh. It reaches nothing, and its ports are not the test machine's.

    Args:
        work: an empty directory.
        image: its disk (qcow2, see ``images.debian``), which is not changed.
        drives: further disks (raw), which are.
        ports: TCP ports of the machine that ``outside`` finds on 127.0.0.1.
    """

    def __init__(self, work: Path, image: Path, drives: Sequence[Path] = (), ports: Sequence[int] = ()) -> None:
        self._work = work
        self._image = image
        self._drives = drives
        self._ports = {SSH_PORT: 22, **{port: port for port in ports}}
        self._short = tempfile.TemporaryDirectory(prefix="qrmd-")  # a socket's path has 107 bytes
        self._processes: list[Process] = []

    def __enter__(self) -> Self:
        """Switch it on; root can log in when this returns."""
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

    def run(self, line: str, *, timeout: float = 900, given: str = "", check: bool = True) -> Completed:
        """A command line of root's shell, with ``given`` as its input.

        Raises:
            ProcessFailed: its status was not 0 (and ``check``).
        """
        remote = shlex.join(["sh", "-e", "-c", line])
        return run([*self._ssh("-T"), remote], timeout=timeout, input=given, check=check)

    def outside(self, argv: Sequence[str], *, timeout: float = 60) -> Completed:
        """Run a program of the test machine where the machine's ports are on 127.0.0.1."""
        return run(self._beside(argv), timeout=timeout)

    def close(self) -> None:
        """End it."""
        for process in reversed(self._processes):
            process.kill()
        self._processes.clear()
        self._short.cleanup()

    def _start(self) -> None:
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._work / "key")], timeout=30)
        key = (self._work / "key.pub").read_text(encoding="ascii").strip()
        seed, disk = self._make_seed(key), self._work / "disk.qcow2"
        backed = ["-b", str(self._image), "-F", "qcow2"]
        run(["qemu-img", "create", "-q", "-f", "qcow2", *backed, str(disk)], timeout=60)
        alone = ["unshare", "--net", "--", "sh", "-e", "-c", 'ip link set lo up; exec "$@"', "sh"]
        log = self._work / "qemu.log"
        self._processes.append(spawn([*alone, *self._qemu(disk, seed)], log=log))
        wait_until(self._answers, timeout=BOOT_SECONDS, interval=1, what=f"ssh (see {self._work})")
        # one connection for all commands: each handshake would cost seconds
        self._processes.append(spawn(self._ssh("-N", "-M"), log=self._work / "ssh.log"))
        wait_until(Path(self._short.name, "ssh").exists, timeout=120, what="the connection")

    def _qemu(self, disk: Path, seed: Path) -> list[str]:
        accelerator = "kvm" if find_domain_type(find_kernel()) == "kvm" else "tcg,thread=multi"
        line = ["qemu-system-x86_64", "-machine", "pc", "-accel", accelerator, "-cpu", "max", "-smp", "2", "-m", "3072"]
        line += ["-nodefaults", "-display", "none", "-serial", f"file:{self._work / 'console.log'}"]
        for path, form in ((disk, "qcow2"), (seed, "raw"), *((path, "raw") for path in self._drives)):
            line += ["-drive", f"file={path},format={form},if=virtio,cache=unsafe"]
        forwards = [f"hostfwd=tcp:127.0.0.1:{ours}-:{its}" for ours, its in self._ports.items()]
        return [
            *line,
            "-netdev",
            ",".join(["user", "id=net", "restrict=on", *forwards]),
            "-device",
            "virtio-net,netdev=net",
        ]

    def _make_seed(self, key: str) -> Path:
        source, seed = self._work / "seed", self._work / "seed.iso"
        source.mkdir()
        (source / "meta-data").write_text("instance-id: first\nlocal-hostname: server\n", encoding="ascii")
        (source / "user-data").write_text(SEED.format(name="server", key=key), encoding="ascii")
        run(["genisoimage", "-quiet", "-V", "cidata", "-J", "-r", "-o", str(seed), str(source)], timeout=60)
        return seed

    def _answers(self) -> bool:
        assert self._processes[0].poll() is None, (self._work / "qemu.log").read_text()
        try:
            return run([*self._ssh("-T"), "true"], timeout=60, check=False).returncode == 0
        except (ProcessFailed, ProcessTimedOut):
            return False

    def _ssh(self, *options: str) -> list[str]:
        line = ["ssh", "-i", str(self._work / "key"), "-p", str(SSH_PORT), "-S", str(Path(self._short.name, "ssh"))]
        for setting in ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes"):
            line += ["-o", setting]
        return self._beside([*line, *options, "root@127.0.0.1"])

    def _beside(self, argv: Sequence[str]) -> list[str]:
        return ["nsenter", f"--net=/proc/{self._processes[0].pid}/ns/net", "--", *argv]
