"""Small file systems of their own, to be filled in tests (root only)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qrmd.process import run

FILLER = ".filler"


@contextmanager
def small_filesystem(directory: Path, megabytes: int, kind: str = "ext4") -> Iterator[Path]:
    """A mounted file system of so many MiB, gone afterwards.

    Args:
        directory: where its file and its mount point are made.
        kind: ``ext4`` (in a file) or ``tmpfs``.
    """
    place = directory / "mounted"
    place.mkdir(parents=True)
    if kind == "tmpfs":
        run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)], timeout=20)
    else:
        file = directory / "filesystem"
        with file.open("wb") as opened:
            os.posix_fallocate(opened.fileno(), 0, megabytes * 2**20)
        run(["mkfs.ext4", "-q", "-F", "-m", "0", str(file)], timeout=60)
        run(["mount", "-o", "loop", str(file), str(place)], timeout=20)
    try:
        yield place
    finally:
        run(["umount", "--lazy", str(place)], timeout=20, check=False)


def fill(place: Path, leave_mb: int = 0) -> None:
    """Take all space of the file system at ``place`` but so many MiB."""
    with (place / FILLER).open("ab") as filler:
        while (left := _free(place) - leave_mb * 2**20) > 0:
            size = os.fstat(filler.fileno()).st_size
            step = min(left, 2**26)
            try:
                os.posix_fallocate(filler.fileno(), size, step)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                _write_rest(filler.fileno(), step)
                return


def free_again(place: Path) -> None:
    """Give back what ``fill`` took."""
    (place / FILLER).unlink(missing_ok=True)


def _write_rest(descriptor: int, step: int) -> None:
    """The last blocks, one by one: metadata took its part of what was said to be free."""
    position = os.fstat(descriptor).st_size
    try:
        for _ in range(step // 4096 + 1):
            position += os.pwrite(descriptor, bytes(4096), position)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


def _free(place: Path) -> int:
    facts = os.statvfs(place)
    return facts.f_bavail * facts.f_frsize
