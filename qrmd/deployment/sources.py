"""Files of the server that may become images and kernels: regular ones, in the directories that the admin named."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from qrmd.errors import InvalidInput
from qrmd.names import shown

BLOCK = 2**20

SYSTEM = tuple(
    Path(each).resolve()
    for each in (
        "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/root/.ssh", "/run", "/sbin",
        "/sys", "/usr", "/var/lib/dpkg", "/var/lib/systemd", "/var/log", "/var/mail", "/var/spool",
    )
)  # fmt: skip
NOT_SYSTEM = (Path("/dev/shm"),)  # noqa: S108 - nothing is written there


def check_source(path: str, directories: Sequence[Path], private: Path) -> Path:
    """The file without symlinks. The daemon reads as root: nobody may make it read what is not meant to be read.

    Outside of ``directories`` the refusal is the same whether something is there or not.

    Args:
        directories: that the admin named.
        private: directory with the daemon's own keys and rows; one named inside of it counts, one around it does not.

    Raises:
        InvalidInput: not absolute, not there, no regular file, or not inside one of ``directories``.
    """
    if not Path(path).is_absolute():
        raise InvalidInput(f"path {shown(path)} must be absolute")
    real = _resolved(path)
    if real is None or not any(_offers(each.resolve(), real, private.resolve()) for each in directories):
        allowed = ", ".join(map(str, directories)) or "no directory"
        raise InvalidInput(
            f"{shown(path, 200)} is not in a directory that files are taken from",
            hint=f"put it into one of: {allowed}; images.import_dirs in qrmd.toml names them",
        )
    try:
        regular = stat.S_ISREG(real.stat().st_mode)
    except OSError as error:
        raise InvalidInput(f"{shown(path, 200)} can't be read: {error.strerror}") from None
    if not regular:
        raise InvalidInput(f"{shown(path, 200)} is not a regular file")
    return real


def _offers(directory: Path, real: Path, private: Path) -> bool:
    """Whether a directory was named for this file: a wide one was not meant to give away the daemon's secrets."""
    inside = directory != private and directory.is_relative_to(private)
    return real.is_relative_to(directory) and (inside or not real.is_relative_to(private))


def _resolved(path: str) -> Path | None:
    """The path without symlinks, whether something is there or not; None for a loop or what can't be a path."""
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError, ValueError):
        return None


@contextmanager
def open_source(path: Path) -> Iterator[int]:
    """A descriptor of a regular file that is no symlink; opening it never waits. Raises InvalidInput."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidInput(f"it can't be read: {error.strerror}", subject=str(path)) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidInput("it is not a regular file", subject=str(path))
        yield descriptor
    finally:
        os.close(descriptor)


def file_digest(path: Path) -> str:
    """SHA-256 of a file in hex. Raises InvalidInput when it can't be read."""
    digest = hashlib.sha256()
    with open_source(path) as descriptor:
        try:
            while block := os.read(descriptor, BLOCK):
                digest.update(block)
        except OSError as error:
            raise InvalidInput(f"it can't be read: {error.strerror}", subject=str(path)) from None
    return digest.hexdigest()


def check_target(location: str, private: Sequence[Path]) -> None:
    """Refuse to keep volumes where files have a meaning of their own: a slip here would be costly.

    Args:
        location: a storage's; one that is no absolute path is none of this check's business.
        private: directories of the daemon itself.

    Raises:
        InvalidInput: it is inside a directory of the system or of the daemon.
    """
    if not location.startswith("/"):
        return
    real = _resolved(location)
    if real is None:
        raise InvalidInput(f"{shown(location, 200)} can't be resolved", hint="is it a loop of symlinks?")
    closed = [each for each in (*SYSTEM, *(each.resolve() for each in private)) if real.is_relative_to(each)]
    allowed = [each for each in NOT_SYSTEM if real.is_relative_to(each)]
    if real == Path("/") or (closed and not allowed):
        raise InvalidInput(
            f"{shown(location, 200)} belongs to {closed[0] if closed else 'the system'}: no place for volumes",
            hint="make a directory of their own for them, such as /srv/volumes",
        )
