"""A bootable whole-disk ext4 image out of a tree, as raw and as qcow2."""

from __future__ import annotations

from pathlib import Path

from qrmd.process import run
from qrmd.testing.interpreter import module_argv, module_environment

LABEL = "qrm-micro"
"""File system label by which the initial RAM disk finds its root."""

SIZE = 256 * 1024 * 1024


def make_disk(tree: Path, raw: Path) -> None:
    """Pack ``tree`` into the new raw image ``raw`` of SIZE bytes and make it bootable.

    The blocks have 4 KiB because extlinux can't read smaller ones; the journal keeps power cuts harmless.
    """
    with raw.open("xb") as file:
        file.truncate(SIZE)
    features = "^64bit,^metadata_csum,has_journal,resize_inode"
    journal = ["-J", "size=4"]
    line = ["mkfs.ext4", "-q", "-F", "-b", "4096", "-O", features, *journal, "-L", LABEL, "-m", "0"]
    run([*line, "-E", "lazy_itable_init=0", "-d", str(tree), str(raw)], timeout=120)
    own_mounts = ["unshare", "--mount", "--propagation", "private", "--"]
    install = module_argv("qrmd.testing.images.bootloader", str(raw))
    run([*own_mounts, *install], env=module_environment(), timeout=120)


def convert(raw: Path, qcow2: Path) -> None:
    """Write the same disk as qcow2."""
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(qcow2)], timeout=120)
