"""Makes a disk image bootable: ``python -m qrmd.testing.images.bootloader DISK``.

Run it in a mount namespace of its own: extlinux can only work on a mounted file system. The mount, and with
it the loop device, vanishes with the namespace, whatever happens to the program.
"""

from __future__ import annotations

import sys
import tempfile

from qrmd.process import run


def install(disk: str) -> None:
    """Mount a whole-disk ext4 image and write extlinux into it."""
    with tempfile.TemporaryDirectory(prefix="qrmd-micro-") as directory:
        run(["mount", "-o", "loop", disk, directory], timeout=30)
        try:
            run(["extlinux", "--install", f"{directory}/boot"], timeout=30)
        finally:
            run(["umount", directory], timeout=30)


if __name__ == "__main__":
    install(sys.argv[1])
