"""Is /dev/kvm really usable? It can be there, open, and still never run a guest."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from qrmd.errors import QrmdError
from qrmd.process import spawn
from qrmd.testing.images.cache import cache_root
from qrmd.testing.images.packages import Kernel
from qrmd.testing.waiting import wait_until

LIMIT = 8.0
"""Seconds in which a guest kernel has to say something."""


def read_boot_id() -> str:
    """Changes with each boot of this machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def find_domain_type(kernel: Kernel) -> str:
    """``kvm`` if that kernel boots under KVM here, else ``qemu``; asked once per kernel and boot."""
    memory = cache_root() / "kvm.json"
    question = {"boot": read_boot_id(), "kernel": kernel.release}
    try:
        known = json.loads(memory.read_text(encoding="ascii"))
    except (OSError, ValueError):
        known = {}
    if {key: known.get(key) for key in question} == question and known.get("answer") in {"kvm", "qemu"}:
        return str(known["answer"])
    answer = "kvm" if boots(kernel) else "qemu"
    memory.parent.mkdir(parents=True, exist_ok=True)
    draft = memory.with_name(f"{memory.name}.{os.getpid()}")
    draft.write_text(json.dumps({**question, "answer": answer}), encoding="ascii")
    draft.replace(memory)
    return answer


def boots(kernel: Kernel, *, accelerator: str = "kvm", limit: float = LIMIT) -> bool:
    """Whether that kernel writes its version to the serial console within ``limit`` seconds."""
    if accelerator == "kvm" and not Path("/dev/kvm").exists():
        return False
    with tempfile.TemporaryDirectory(prefix="qrmd-probe-") as directory:
        console = Path(directory, "console")
        console.touch()
        machine = ["-machine", "pc", "-accel", accelerator, "-cpu", "max", "-m", "128", "-no-reboot"]
        devices = ["-nodefaults", "-display", "none", "-serial", f"file:{console}"]
        boot = ["-kernel", str(kernel.vmlinuz), "-append", "console=ttyS0 earlyprintk=serial,ttyS0 panic=-1"]
        try:
            guest = spawn(["qemu-system-x86_64", *machine, *devices, *boot])
        except QrmdError:
            return False

        def is_settled() -> bool:
            return _speaks(console) or guest.poll() is not None

        try:
            wait_until(is_settled, timeout=limit, interval=0.05, what="a guest kernel")
        except TimeoutError:
            return False
        finally:
            guest.kill()
        return _speaks(console)


def _speaks(console: Path) -> bool:
    return b"Linux version" in console.read_bytes()
