"""A lab as a whole: up, status, down, and a sweep that believes nobody."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qrmd.testing.images import micro
from qrmd.testing.images.packages import find_kernel
from qrmd.testing.lab import hypervisor, namespace, preconditions, probe, smtp, state
from qrmd.testing.lab.access import LabAccess, check_name, make_access, namespace_of, state_dir
from qrmd.testing.lab.processes import describe, end_all, find, is_alive, send, track
from qrmd.testing.lab.state import LabState

DEFAULT_NAME = "lab"

Progress = Callable[[str], None]
"""Is told one short line when a part of long work begins."""


@dataclass(frozen=True)
class Leftover:
    """Something of a lab on this machine: ``kind`` is process, namespace, mount or directory."""

    kind: str
    what: str


@dataclass(frozen=True)
class LabStatus:
    """How a lab is: ``up``, ``broken`` (parts are left) or ``down``; ``processes`` are lines for people."""

    name: str
    state: str
    access: LabAccess | None
    processes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON types."""
        return {**asdict(self), "access": self.access.as_dict() if self.access else None}


def up(name: str = DEFAULT_NAME, progress: Progress = lambda _line: None) -> LabAccess:
    """Bring a lab up, or find it up. What an earlier one of this name left is removed first.

    Raises:
        PreconditionFailed: the machine lacks something; nothing has changed.
        StepFailed: a part did not come up; everything is removed again.
    """
    preconditions.check()
    with state.locked(name):
        if found := _find_running(name):
            progress(f"lab {name} is up already")
            return found
        _remove(name)
        image = micro.build(progress)
        progress("looking whether KVM boots a guest")
        domain_type = probe.find_domain_type(find_kernel())
        access = make_access(name, domain_type, image.qcow2)
        try:
            _start(access, progress)
        except BaseException:
            _remove(name)
            raise
        progress(f"lab {name} is up, guests run under {'KVM' if domain_type == 'kvm' else 'QEMU without KVM'}")
        return access


def status(name: str = DEFAULT_NAME) -> LabStatus:
    """How the lab of this name is."""
    access = _find_running(name)
    processes = tuple(describe(process) for process in find(name))
    if access:
        return LabStatus(name, "up", access, processes)
    return LabStatus(name, "broken" if sweep(name) else "down", None, processes)


def down(name: str = DEFAULT_NAME, progress: Progress = lambda _line: None) -> None:
    """End everything of a lab: guests, hypervisor, whatever runs in its network, files. None is fine too.

    Raises:
        StepFailed: a process can't be killed.
    """
    check_name(name)
    if not sweep(name):
        return
    progress(f"ending lab {name}")
    with state.locked(name):
        _remove(name)


def sweep(name: str = DEFAULT_NAME) -> list[Leftover]:
    """Everything of this lab that the machine shows; nothing that the lab wrote about itself is believed."""
    found = [Leftover("process", describe(process)) for process in find(name)]
    if namespace.exists(namespace_of(name)):
        found.append(Leftover("namespace", namespace_of(name)))
    directory = state_dir(name)
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    found += [Leftover("mount", line.split()[4]) for line in mounts if f"/qrm-lab/{name}/" in line]
    if directory.exists():
        found.append(Leftover("directory", str(directory)))
    return found


def _find_running(name: str) -> LabAccess | None:
    known = state.load(name)
    if known is None or known.boot_id != probe.read_boot_id() or not Path(known.micro_image).exists():
        return None
    whole = all(map(is_alive, known.processes.values())) and namespace.exists(namespace_of(name))
    return known.access if whole and hypervisor.answers(known.access) else None


def _start(access: LabAccess, progress: Progress) -> None:
    progress("making the network")
    access.state_dir.mkdir(parents=True, mode=0o700)  # mails hold passwords
    namespace.create(access.namespace)
    progress("starting libvirt (the first time ever takes ten seconds)")
    hypervisor.start(access)
    progress("starting the mail sink")
    smtp.start(access)
    roles = {"host": "host.pid", "libvirtd": "libvirtd.pid", "smtp": smtp.PID_FILE}
    pids = {role: int((access.state_dir / file).read_text(encoding="ascii")) for role, file in roles.items()}
    processes = {role: process for role, pid in pids.items() if (process := track(pid))}
    image = str(access.micro_image)
    state.save(LabState(access.name, probe.read_boot_id(), access.domain_type, image, processes))


def _remove(name: str) -> None:
    """Remove a lab in any state. The host process goes last, since it reaps what it has started."""
    access = make_access(name, "qemu", Path())
    known = state.load(name)
    if known and known.boot_id == probe.read_boot_id():  # they are found here even if the namespace lost its name
        for role in known.processes.keys() - {"host"}:
            send(known.processes[role], signal.SIGKILL)
    end_all(name, spare=hypervisor.find_host(access))
    end_all(name)
    namespace.remove(namespace_of(name))
    shutil.rmtree(state_dir(name), ignore_errors=True)
