"""What of this machine goes into an image: the guest kernel and the installed packages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from qrmd.errors import PreconditionFailed
from qrmd.process import ProcessFailed, run

PACKAGES = (
    "busybox-static",
    "dropbear-bin",
    "e2fsprogs",
    "extlinux",
    "syslinux-common",
    "qemu-utils",
    "kmod",
)
"""Debian packages that the builder takes files from or runs."""


@dataclass(frozen=True)
class Kernel:
    """A kernel for guests: its release, its file, and the directory of its modules."""

    release: str
    vmlinuz: Path
    modules: Path


def find_kernel(boot: Path = Path("/boot"), modules: Path = Path("/lib/modules")) -> Kernel:
    """The newest installed Debian cloud kernel.

    Raises:
        PreconditionFailed: there is none.
    """
    found = [
        Kernel(release, path, modules / release)
        for path in boot.glob("vmlinuz-*-cloud-amd64")
        if (modules / (release := path.name.removeprefix("vmlinuz-")) / "modules.dep").exists()
    ]
    if not found:
        raise PreconditionFailed(
            "there is no kernel for guests in /boot", hint="apt-get install linux-image-cloud-amd64"
        )
    return max(found, key=lambda kernel: sort_release(kernel.release))


def sort_release(release: str) -> tuple[int, ...]:
    """The numbers of a kernel release, for sorting: ``6.1.0-56-cloud-amd64`` is (6, 1, 0, 56, 64)."""
    return tuple(int(number) for number in re.findall(r"\d+", release))


def read_versions(kernel: Kernel) -> dict[str, str]:
    """Version by package name, of the kernel's package too.

    Raises:
        PreconditionFailed: some are not installed.
    """
    names = [*PACKAGES, f"linux-image-{kernel.release}"]
    form = "${Package}\t${db:Status-Status}\t${Version}\n"
    try:
        said = run(["dpkg-query", "--show", f"--showformat={form}", *names], timeout=20, check=False).stdout
    except ProcessFailed as error:
        raise PreconditionFailed("this is not a Debian system: dpkg-query is missing") from error
    rows = [line.split("\t") for line in said.splitlines()]
    versions = {name: version for name, status, version in rows if status == "installed"}
    missing = [name for name in PACKAGES if name not in versions]
    if missing:
        raise PreconditionFailed(
            "packages that the image is made of are missing", hint="apt-get install " + " ".join(missing)
        )
    return versions
