"""The simulated hypervisor host: ``python -m qrmd.testing.lab.host NAME``, started by ``hypervisor.start``.

It runs in the lab's network namespace and in mount and UTS namespaces of its own, gives libvirt private
directories there, starts virtlogd and libvirtd, and stays as their reaper: QEMU daemonises itself, and
libvirt waits until somebody has reaped it, which makes each ``destroy`` slow where PID 1 is slow at it.

SIGUSR1 starts libvirtd again if it has ended; it finds the guests that went on running.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from pathlib import Path

from qrmd.process import run
from qrmd.testing.lab.access import state_dir
from qrmd.testing.lab.detachment import detach
from qrmd.testing.lab.processes import track

PID_FILE = "host.pid"
BINDS = {
    "etc": "/etc/libvirt",
    "lib": "/var/lib/libvirt",
    "log": "/var/log/libvirt",
    "cache": "/var/cache/libvirt",
    "run": "/run/libvirt",
    "hosts": "/etc/hosts",
    "passwd": "/etc/passwd",
    "group": "/etc/group",
}
"""What libvirt sees at a path of the machine, by its name in the lab's directory."""

HIDDEN = ("/run/dbus", "/run/systemd")  # else libvirt would register its guests with the machine's services

_PR_SET_CHILD_SUBREAPER = 36
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}


def prepare_mounts(directory: Path) -> None:
    """Give this mount namespace the lab's libvirt directories."""
    for name, target in BINDS.items():
        if not Path(target).exists():
            Path(target).mkdir(parents=True)
        _mount("--bind", str(directory / name), target)
    if Path("/etc/resolv.conf").exists():
        _mount("--bind", os.devnull, "/etc/resolv.conf")
    for target in HIDDEN:
        if Path(target).is_dir():
            _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", target)
    # /sys shows the links of the namespace in which it was mounted, and no control groups in a fresh one
    run(["umount", "--lazy", "/sys"], timeout=10, check=False)
    _mount("-t", "sysfs", "sysfs", "/sys")


def serve(name: str) -> None:
    """Prepare, leave the caller behind, and reap until killed."""
    directory = state_dir(name)
    prepare_mounts(directory)
    socket.sethostname(name)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGUSR1})
    detach(directory / PID_FILE, directory / "log/host.log")
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    _start("virtlogd", "--pid-file", str(directory / "virtlogd.pid"))
    _reap(directory, _start_libvirtd(directory))


def _reap(directory: Path, libvirtd: int) -> None:
    while True:
        number = signal.sigwait({signal.SIGCHLD, signal.SIGUSR1})
        while ended := _reap_one():
            if ended == libvirtd:
                libvirtd = 0
        if number == signal.SIGUSR1 and libvirtd and track(libvirtd) is None:
            os.waitpid(libvirtd, 0)  # it is dead, only some of its threads take their time
            libvirtd = 0
        if number == signal.SIGUSR1 and not libvirtd:
            libvirtd = _start_libvirtd(directory)


def _reap_one() -> int:
    try:
        return os.waitpid(-1, os.WNOHANG)[0]
    except ChildProcessError:
        return 0


def _start_libvirtd(directory: Path) -> int:
    return _start("libvirtd", "--config", "/etc/libvirt/libvirtd.conf", "--pid-file", str(directory / "libvirtd.pid"))


def _start(*line: str) -> int:
    """Start a child that ends with us; it is reaped by ``_reap``, for which a Popen would have to be kept."""
    program = ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--", *line]
    return os.posix_spawn(program[0], program, _ENVIRONMENT, setsigmask=(), setsid=True)


def _mount(*arguments: str) -> None:
    run(["mount", *arguments], timeout=10)


if __name__ == "__main__":
    serve(sys.argv[1])
