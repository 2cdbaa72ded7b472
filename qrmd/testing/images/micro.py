"""The micro image: a guest that boots in seconds, reads a NoCloud seed and answers by ssh.

It is the Debian cloud kernel with busybox and dropbear on a whole-disk ext4. The scripts that run inside the
guest are the files in ``rootfs/``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qrmd.testing.images import cache
from qrmd.testing.images.disk import SIZE, convert, make_disk
from qrmd.testing.images.packages import find_kernel, read_versions
from qrmd.testing.images.tree import SOURCES, make_initrd, make_root

Progress = Callable[[str], None]
"""Is told one short line when a part of long work begins."""


@dataclass(frozen=True)
class MicroImage:
    """The same disk twice, and the kernel that is in it; ``size`` is virtual, in bytes."""

    raw: Path
    qcow2: Path
    kernel_release: str
    size: int


def build(progress: Progress) -> MicroImage:
    """The micro image for this machine, from the cache or built now (about five seconds).

    Raises:
        PreconditionFailed: packages are missing; the hint says which.
        ProcessFailed: a tool failed.
    """
    kernel = find_kernel()
    inputs = {**read_versions(kernel), "vmlinuz": str(kernel.vmlinuz.stat().st_size)}
    key = cache.make_key(SOURCES, inputs)

    def make(target: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="tree-", dir=target) as directory:
            work = Path(directory)
            (work / "initrd").mkdir()
            (work / "root").mkdir()
            progress(f"micro image: collecting files for kernel {kernel.release}")
            make_initrd(work / "initrd.img", kernel, work / "initrd")
            make_root(work / "root", kernel, work / "initrd.img")
            progress("micro image: writing the disk")
            make_disk(work / "root", target / "micro.raw")
            convert(target / "micro.raw", target / "micro.qcow2")

    directory = cache.fetch(cache.cache_root() / "images", key, make)
    return MicroImage(directory / "micro.raw", directory / "micro.qcow2", kernel.release, SIZE)
