"""libvirt with QEMU for a lab: its configuration, its start, and the faults that tests give it."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from qrmd.errors import StepFailed
from qrmd.process import ProcessFailed, ProcessTimedOut, run
from qrmd.testing.images.cache import cache_root
from qrmd.testing.interpreter import module_argv, module_environment
from qrmd.testing.lab.access import LabAccess, exec_argv
from qrmd.testing.lab.host import PID_FILE
from qrmd.testing.lab.processes import Tracked, send, track
from qrmd.testing.waiting import wait_until

_DIRECTORIES = (
    *("etc/qemu/networks", "etc/nwfilter", "etc/hooks", "lib/qemu", "lib/images", "lib/boot", "lib/dnsmasq"),
    *("log/qemu", "cache/qemu", "run", "mail"),
)
_ACCOUNTS = {
    "passwd": "libvirt-qemu:x:64055:64055:Libvirt Qemu:/var/lib/libvirt:/usr/sbin/nologin",
    "group": "libvirt-qemu:x:64055:",
}
"""Libvirt does not start without them; only libvirt-daemon-system, which also starts services, makes them."""

_OWN_MOUNTS = ("unshare", "--mount", "--uts", "--propagation", "private", "--")


def start(access: LabAccess) -> None:
    """Write the configuration and start the hypervisor; it answers when this returns.

    Raises:
        ProcessFailed: it could not start.
        StepFailed: it started and does not answer.
    """
    directory = access.state_dir
    for name in _DIRECTORIES:
        (directory / name).mkdir(parents=True, exist_ok=True)
    _configure(access)
    _introduce_accounts(directory)
    _fetch_capabilities(directory)
    host = module_argv("qrmd.testing.lab.host", access.name)
    run(exec_argv(access, [*_OWN_MOUNTS, *host]), timeout=30, env=module_environment())
    _wait_for_answer(access)
    run(["virsh", "--connect", access.libvirt_uri, "capabilities"], timeout=60)  # the first probe takes seconds
    _keep_capabilities(directory)


def answers(access: LabAccess, timeout: float = 5.0) -> bool:
    """Whether libvirtd answers a call within ``timeout`` seconds."""
    try:
        run(["virsh", "--connect", access.libvirt_uri, "list", "--name"], timeout=timeout)
    except (ProcessFailed, ProcessTimedOut):
        return False
    return True


def find_libvirtd(access: LabAccess) -> Tracked | None:
    """The lab's libvirtd, if it runs."""
    return _read_pid(access, "libvirtd.pid")


def find_host(access: LabAccess) -> Tracked | None:
    """The process that keeps the lab's hypervisor, if it runs."""
    return _read_pid(access, PID_FILE)


def kill_libvirtd(access: LabAccess) -> None:
    """Kill libvirtd as a crash would; its guests go on. It stays away until ``restart_libvirtd``."""
    libvirtd = find_libvirtd(access)
    if libvirtd is not None:
        send(libvirtd, signal.SIGKILL)
        wait_until(lambda: track(libvirtd.pid) != libvirtd, what="the end of libvirtd")


def freeze_libvirtd(access: LabAccess) -> None:
    """Stop libvirtd so that it takes connections and never answers."""
    libvirtd = find_libvirtd(access)
    if libvirtd is None:
        raise StepFailed("libvirtd does not run", subject=f"lab:{access.name}")
    send(libvirtd, signal.SIGSTOP)


def thaw_libvirtd(access: LabAccess) -> None:
    """Let a frozen libvirtd go on."""
    libvirtd = find_libvirtd(access)
    if libvirtd is not None:
        send(libvirtd, signal.SIGCONT)


def restart_libvirtd(access: LabAccess) -> None:
    """Start libvirtd again if it was killed; when this returns it answers and has its guests in hand again.

    Libvirt lists a guest before it has reached its monitor; a ``destroy`` in between ends the guest and is
    reported as "domain not found".
    """
    host = find_host(access)
    if host is None:
        raise StepFailed("the hypervisor does not run", subject=f"lab:{access.name}", hint="qrm lab up")
    send(host, signal.SIGUSR1)
    _wait_for_answer(access)
    virsh = ["virsh", "--connect", access.libvirt_uri]
    for guest in run([*virsh, "list", "--name"], timeout=30).stdout.split("\n"):
        if guest:  # this query needs the monitor, and so it waits for it
            run([*virsh, "domblkerror", guest], timeout=60, check=False)


def _wait_for_answer(access: LabAccess) -> None:
    try:
        wait_until(lambda: answers(access), timeout=60, interval=0.05, what="libvirtd")
    except TimeoutError as error:
        log = access.state_dir / "log"
        raise StepFailed(str(error), subject=f"lab:{access.name}", hint=f"see {log}") from error


def _read_pid(access: LabAccess, name: str) -> Tracked | None:
    with contextlib.suppress(OSError, ValueError):
        return track(int((access.state_dir / name).read_text(encoding="ascii")))
    return None


def _configure(access: LabAccess) -> None:
    directory = access.state_dir
    # A host name that does not resolve costs ten seconds at each start of a guest.
    hosts = f"127.0.0.1 localhost\n{access.address} {access.name}\n"
    (directory / "hosts").write_text(hosts, encoding="ascii")
    _write(
        directory / "etc/libvirtd.conf",
        host_uuid=str(uuid.uuid4()),
        listen_tls=0,
        listen_tcp=0,
        unix_sock_dir=str(directory),
        unix_sock_rw_perms="0700",
        unix_sock_ro_perms="0700",
        auth_unix_rw="none",
        auth_unix_ro="none",
        log_outputs="2:file:/var/log/libvirt/libvirtd.log",
    )
    _write(
        directory / "etc/qemu.conf",
        user="root",
        group="root",
        security_driver="none",
        namespaces=[],
        cgroup_controllers=[],
        stdio_handler="file",
        remember_owner=0,
        migration_address=access.address,
        vnc_listen=access.address,
    )
    for name in ("libvirt.conf", "virtlogd.conf"):
        (directory / "etc" / name).write_text("", encoding="ascii")


def _introduce_accounts(directory: Path) -> None:
    """The machine's own accounts, and what is missing among them."""
    for name, wanted in _ACCOUNTS.items():
        known = Path("/etc", name).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        missing = not any(line.startswith("libvirt-qemu:") for line in known)
        lines = [*known, *([wanted] if missing else [])]
        (directory / name).write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")


def _write(path: Path, **settings: str | int | list[str]) -> None:
    lines = [f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}" for key, value in settings.items()]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def _fetch_capabilities(directory: Path) -> None:
    """Start from what libvirt learned about QEMU in an earlier lab; it checks whether that still holds."""
    with _capabilities() as kept:
        if kept.exists():
            shutil.copytree(kept, directory / "cache/qemu/capabilities", copy_function=shutil.copy2)


def _keep_capabilities(directory: Path) -> None:
    with _capabilities() as kept:
        draft = Path(tempfile.mkdtemp(prefix="qemu-", dir=kept.parent))
        shutil.copytree(directory / "cache/qemu/capabilities", draft, dirs_exist_ok=True)
        shutil.rmtree(kept, ignore_errors=True)
        draft.rename(kept)


@contextlib.contextmanager
def _capabilities() -> Iterator[Path]:
    kept = cache_root() / "libvirt" / "qemu-capabilities"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with (kept.parent / ".lock").open("w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield kept
