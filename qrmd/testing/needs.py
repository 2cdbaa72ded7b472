"""Needs of tests: a missing one skips on a laptop and fails where ``QRMD_REQUIRE`` names it.

``QRMD_REQUIRE`` is a comma-separated list of needs; ``all`` names each.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable

import pytest

from qrmd.process import find_program


def _programs(*names: str) -> Callable[[], str]:
    def check() -> str:
        missing = [name for name in names if find_program(name) is None]
        return f"programs are missing: {', '.join(missing)}" if missing else ""

    return check


def _modules(*names: str) -> Callable[[], str]:
    def check() -> str:
        missing = [name for name in names if importlib.util.find_spec(name) is None]
        return f"Python modules are missing: {', '.join(missing)}" if missing else ""

    return check


def _root() -> str:
    return "" if os.geteuid() == 0 else "this needs root"


def _lab() -> str:
    from qrmd.testing.lab import preconditions  # noqa: PLC0415 - only where the lab's extra is installed

    return "; ".join(str(fault) for fault in preconditions.find_faults())


NEEDS: dict[str, tuple[Callable[[], str], ...]] = {
    "root": (_root,),
    "libvirt": (_root, _programs("libvirtd", "virtlogd", "virsh", "qemu-system-x86_64"), _modules("libvirt")),
    "lab": (_root, _modules("pyroute2", "aiosmtpd"), _lab),
    "qemu-img": (_programs("qemu-img"),),
    "dnsmasq": (_root, _programs("dnsmasq", "busybox", "ip", "nsenter", "unshare")),
    "filesystems": (_root, _programs("mkfs.ext4", "mkfs.btrfs", "mkfs.xfs", "mount")),
    "ssh": (_programs("ssh", "sshpass", "ssh-keygen"),),
    "busybox": (_programs("busybox"),),
    "iso": (_programs("genisoimage"),),
    "debian": (
        _root,
        _programs("mmdebstrap", "sfdisk", "mkfs.ext4", "extlinux", "qemu-img", "qemu-system-x86_64", "unshare"),
    ),
    "strace": (_programs("strace"),),
    "chromium": (_programs("chromium"),),
}
"""What a need is made of: each check returns what is missing, or nothing."""


def find_missing(need: str) -> str:
    """Why this need is not met here; empty if it is."""
    for check in NEEDS[need]:
        if missing := check():
            return missing
    return ""


def require(*needs: str) -> None:
    """Go on if all needs are met; else skip the test (or module), or fail it where the need is demanded."""
    demanded = {name.strip() for name in os.environ.get("QRMD_REQUIRE", "").split(",")}
    for need in needs:
        missing = find_missing(need)
        if not missing:
            continue
        if demanded & {need, "all"}:
            pytest.fail(f"{need} is required here: {missing}", pytrace=False)
        pytest.skip(f"{need}: {missing}", allow_module_level=True)
