"""The bytes of volumes: reflink, sparse copy, space."""

from __future__ import annotations

import errno
import fcntl
import os

from qrmd.api import NoCapacity, StepFailed
from qrmd_dir_storage.header import HEAD, MIB, TAIL

_FICLONE = 0x40049409
_CHUNK = 4 * MIB
_NO_REFLINK = frozenset({errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM})
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def reflink(source: int, target: int) -> bool:
    """Make ``target`` (an empty file, by descriptor) share all extents of ``source``.

    Returns:
        False when the file system can't; nothing has changed then.
    """
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in _NO_REFLINK:
            return False
        raise
    return True


def copy_sparse(source: int, target: int) -> None:
    """Copy all data of ``source``; holes stay holes."""
    size = os.fstat(source).st_size
    position = 0
    while position < size:
        try:
            start = os.lseek(source, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                break
            raise
        position = os.lseek(source, start, os.SEEK_HOLE)
        _copy_range(source, target, start, position)
    os.ftruncate(target, size)


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        chunk = os.pread(source, min(_CHUNK, end - start), start)
        if not chunk:
            raise StepFailed("the file became shorter while it was copied", hint="try again")
        view = memoryview(chunk)
        while view:
            written = os.pwrite(target, view, start)
            view = view[written:]
            start += written


def allocated(descriptor: int) -> int:
    """Bytes that the file takes now."""
    return os.fstat(descriptor).st_blocks * 512


def check_space(directory: int, needed: int) -> None:
    """Raises NoCapacity, naming the MiB missing, when ``needed`` more bytes don't fit."""
    missing = needed - free(directory)
    if missing > 0:
        missing_mb = megabytes(missing)
        raise NoCapacity(
            f"{missing_mb} MiB are missing: {megabytes(needed)} MiB are needed",
            hint="free space or use another storage",
            missing_mb=missing_mb,
        )


def ran_full(directory: int, left: int) -> StepFailed:
    """The error for a disk that ran full with ``left`` bytes still to write."""
    missing_mb = max(1, megabytes(left - free(directory)))
    return StepFailed(
        f"the storage ran full: {missing_mb} MiB are missing",
        hint="free space or use another storage",
        missing_mb=missing_mb,
    )


def free(directory: int) -> int:
    """Bytes that we may still write there."""
    space = os.fstatvfs(directory)
    return space.f_bavail * space.f_frsize


def megabytes(size: int) -> int:
    """Bytes in MiB, rounded up."""
    return -(-size // MIB)


def ends(descriptor: int) -> tuple[bytes, bytes, int]:
    """The head, the tail and the length of a file, as ``header.check_image`` wants them."""
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, HEAD, 0), os.pread(descriptor, TAIL, max(0, size - TAIL)), size
