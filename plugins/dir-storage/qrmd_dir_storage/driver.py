"""The blocking driver of deployment type ``dir``: each storage is a directory, each volume a file in it."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from qrmd.api import (
    Attachment,
    Conflict,
    Found,
    InvalidInput,
    OwnerTag,
    Storage,
    StorageCapabilities,
    StorageUsage,
    VolumeFacts,
)
from qrmd.api import process as processes
from qrmd_dir_storage import chain, content, qemu
from qrmd_dir_storage.config import Config
from qrmd_dir_storage.directory import Directory, Standing, Tag, check_volume, not_ours, open_regular
from qrmd_dir_storage.header import MIB, check_image

Fill = Callable[[Directory, str, int], str]
"""Writes the content of a part (directory, its name, its descriptor); returns its format."""


class DirDriver:
    """Files in a directory; see ``qrmd.api.StorageDriver`` for the promises.

    Args:
        installation: ours are the files with this UUID in their owner tag.
        config: limits.
    """

    deployment_type = "dir"
    capabilities = StorageCapabilities(thin_clone=True, formats=("raw", "qcow2"))

    def __init__(self, installation: str, config: Config) -> None:
        self.installation = installation
        self._config = config
        self._sources: Counter[tuple[str, str]] = Counter()
        self._leaving: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._guards = tuple(threading.Lock() for _ in range(64))

    def check(self, storage: Storage) -> Sequence[str]:
        """What is missing before the directory can be used."""
        path = Path(storage.location)
        problems = [f"{name} is not installed; apt-get install qemu-utils" for name in qemu.missing_programs()]
        if not path.is_absolute():
            problems.append(f"{path} is not an absolute path")
        elif not path.is_dir():
            problems.append(f"{path} is not a directory; create or mount it")
        elif not os.access(path, os.W_OK | os.X_OK):
            problems.append(f"{path} can't be written")
        return problems

    def usage(self, storage: Storage) -> StorageUsage:
        """Space of the file system that holds the directory."""
        with self._directory(storage) as directory:
            space = os.fstatvfs(directory.descriptor)
        total, free = (blocks * space.f_frsize // MIB for blocks in (space.f_blocks, space.f_bavail))
        return StorageUsage(total_mb=total, free_mb=free)

    def inspect(self, storage: Storage, path: Path, declared_format: str) -> VolumeFacts:  # noqa: ARG002 - protocol
        """Header check of a file about to be imported."""
        with open_regular(path) as descriptor:
            size = self._check(descriptor, declared_format)
            taken = content.allocated(descriptor)
        return VolumeFacts(path.name, declared_format, content.megabytes(size), content.megabytes(taken))

    def import_file(self, storage: Storage, volume: str, path: Path, fmt: str, tag: OwnerTag) -> VolumeFacts:
        """Copy a file in; its header is checked before, and again in what was copied."""

        def fill(directory: Directory, _part: str, target: int) -> str:
            with open_regular(path) as source:
                self._check(source, fmt)
                _fill(directory, source, target)
            self._check(target, fmt)
            return fmt

        return self._make(storage, volume, tag, fill)

    def clone(self, storage: Storage, source: str, volume: str, size_mb: int, tag: OwnerTag) -> VolumeFacts:
        """Reflink where the file system can, else a qcow2 over the source, which is protected then."""
        check_volume(source)
        self._check_size(size_mb)

        def fill(directory: Directory, part: str, target: int) -> str:
            fmt = directory.ours(source).format
            with directory.open(source) as descriptor:
                shared = content.reflink(descriptor, target)
                size = max(chain.guest_size(descriptor, fmt), size_mb * MIB)
            if shared:
                self._grow(directory, part, target, fmt, size)
                return fmt
            content.check_space(directory.descriptor, MIB)
            qemu.create_overlay(self._config, directory.path, part, source, fmt, size)
            return "qcow2"

        with self._used_as_source(storage, source):
            return self._make(storage, volume, tag, fill)

    def copy(self, storage: Storage, source: str, volume: str, size_mb: int, tag: OwnerTag) -> VolumeFacts:
        """Full copy; a chain of qcow2 files becomes one."""
        check_volume(source)
        self._check_size(size_mb)

        def fill(directory: Directory, part: str, target: int) -> str:
            fmt = directory.ours(source).format
            with directory.open(source) as descriptor:
                size = max(chain.guest_size(descriptor, fmt), size_mb * MIB)
                if fmt == "qcow2" and chain.read_header(descriptor).backing:
                    self._flatten(directory, source, part, target)
                else:
                    _fill(directory, descriptor, target)
            self._grow(directory, part, target, fmt, size)
            return fmt

        with self._used_as_source(storage, source):
            return self._make(storage, volume, tag, fill)

    def resize(self, storage: Storage, volume: str, size_mb: int) -> VolumeFacts:
        """Grow; the same size again is fine."""
        check_volume(volume)
        self._check_size(size_mb)
        with self._directory(storage) as directory:
            fmt = directory.ours(volume).format
            with directory.open(volume) as descriptor:
                size = chain.guest_size(descriptor, fmt)
                if content.megabytes(size) > size_mb:
                    raise InvalidInput(
                        f"it has {content.megabytes(size)} MiB and can't shrink to {size_mb} MiB",
                        subject=f"volume:{volume}",
                    )
                if size < size_mb * MIB:
                    qemu.resize(self._config, directory.path, volume, fmt, size_mb * MIB)
                os.fsync(descriptor)
            return _facts(directory, volume)

    def find(self, storage: Storage, volume: str) -> VolumeFacts | None:
        """Our volume of that name; a file that is not ours is none."""
        check_volume(volume)
        with self._directory(storage) as directory:
            standing = directory.standing(volume)
            if standing is Standing.OURS:
                return _facts(directory, volume)
        return VolumeFacts(volume, "raw", 0, complete=False) if standing is Standing.HALF else None

    def remove(self, storage: Storage, volume: str) -> None:
        """Remove it with its tag and parts. Refused while other volumes lie over it."""
        check_volume(volume)
        with self._directory(storage) as directory, self._removing(storage, volume), self._guard(volume):
            standing = directory.standing(volume)
            if standing is Standing.FOREIGN and not directory.parts(volume):
                raise not_ours(volume)
            if standing is Standing.OURS:
                _refuse_if_needed(directory, volume)
            directory.withdraw(volume)

    def export(self, storage: Storage, volume: str, consumer: str) -> Attachment:  # noqa: ARG002 - protocol
        """The file itself: whoever reaches the directory may open it."""
        check_volume(volume)
        with self._directory(storage) as directory:
            tag = directory.ours(volume)
        return Attachment("file", str(Path(storage.location) / volume), tag.format)

    def unexport(self, storage: Storage, volume: str, consumer: str) -> None:  # noqa: ARG002 - protocol
        """Nothing to take back from a file."""
        check_volume(volume)

    def owned(self, storage: Storage, installation: str) -> Sequence[Found]:
        """Volumes with the installation's tag and half-made parts."""
        place = f"storage:{storage.id}"
        found = []
        with Directory(Path(storage.location), installation) as directory:
            for volume in sorted(directory.volumes()):
                tag = directory.tag(volume)
                subject = tag.subject if tag and tag.installation == installation else ""
                complete = directory.standing(volume) is Standing.OURS
                detail = str(directory.path / volume) if complete else f"half-made in {directory.path}"
                found.append(Found("volume", volume, place, subject, detail))
        return found

    def _directory(self, storage: Storage) -> Directory:
        return Directory(Path(storage.location), self.installation)

    def _make(self, storage: Storage, volume: str, tag: OwnerTag, fill: Fill) -> VolumeFacts:
        check_volume(volume)
        if tag.installation != self.installation:
            raise InvalidInput("the owner tag names another installation", subject=f"volume:{volume}")
        with self._directory(storage) as directory:
            with self._guard(volume):
                standing = directory.standing(volume)
                if standing is Standing.FOREIGN:
                    raise not_ours(volume)
                directory.sweep(volume)
                if standing is Standing.OURS:
                    return _same(directory, volume, tag)
                part, descriptor = directory.part(volume)
            try:
                fmt = fill(directory, part, descriptor)
                with self._guard(volume):
                    directory.publish(part, descriptor, volume, Tag(tag.installation, tag.subject, fmt))
            finally:
                os.close(descriptor)
                with self._guard(volume):
                    directory.abandon(part, volume)
            return _facts(directory, volume)

    def _check(self, descriptor: int, fmt: str) -> int:
        head, tail, size = content.ends(descriptor)
        return check_image(head, tail, size, fmt, self._config.max_size_mb)

    def _check_size(self, size_mb: int) -> None:
        if not 0 < size_mb <= self._config.max_size_mb:
            raise InvalidInput(f"{size_mb} MiB is no size for a disk", hint=f"1 to {self._config.max_size_mb}")

    def _grow(self, directory: Directory, part: str, descriptor: int, fmt: str, size: int) -> None:
        if chain.guest_size(descriptor, fmt) >= size:
            return
        if fmt == "raw":
            os.ftruncate(descriptor, size)
        else:
            qemu.resize(self._config, directory.path, part, fmt, size)

    def _flatten(self, directory: Directory, source: str, part: str, target: int) -> None:
        needed = chain.allocated(directory, source)
        content.check_space(directory.descriptor, needed)
        try:
            qemu.flatten(self._config, directory.path, source, part)
        except processes.ProcessFailed as error:
            if "No space left" not in error.stderr:
                raise
            raise content.ran_full(directory.descriptor, needed - content.allocated(target)) from error

    def _guard(self, volume: str) -> threading.Lock:
        return self._guards[hash(volume) % len(self._guards)]

    @contextmanager
    def _used_as_source(self, storage: Storage, source: str) -> Iterator[None]:
        key = (storage.location, source)
        with self._lock:
            if self._leaving[key]:
                raise Conflict("the volume is being removed", subject=f"volume:{source}")
            self._sources[key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._sources[key] -= 1

    @contextmanager
    def _removing(self, storage: Storage, volume: str) -> Iterator[None]:
        key = (storage.location, volume)
        with self._lock:
            if self._sources[key]:
                raise Conflict("the volume is being cloned", subject=f"volume:{volume}", hint="try again")
            self._leaving[key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._leaving[key] -= 1


def _refuse_if_needed(directory: Directory, volume: str) -> None:
    needing = sorted(chain.dependents(directory, volume))
    if needing:
        shown = ", ".join(needing[:10]) + (" …" if len(needing) > 10 else "")
        raise Conflict(
            f"{len(needing)} volumes lie over it: {shown}",
            subject=f"volume:{volume}",
            hint="remove them first",
            dependents=needing,
        )


def _fill(directory: Directory, source: int, target: int) -> None:
    if content.reflink(source, target):
        return
    needed = content.allocated(source)
    content.check_space(directory.descriptor, needed)
    try:
        content.copy_sparse(source, target)
        os.fsync(target)
    except OSError as error:
        if error.errno not in content.FULL:
            raise
        left = needed - content.allocated(target)
        raise content.ran_full(directory.descriptor, left) from error


def _same(directory: Directory, volume: str, tag: OwnerTag) -> VolumeFacts:
    if directory.ours(volume).subject != tag.subject:
        raise Conflict("the volume belongs to another object of ours", subject=f"volume:{volume}")
    return _facts(directory, volume)


def _facts(directory: Directory, volume: str) -> VolumeFacts:
    fmt = directory.ours(volume).format
    with directory.open(volume) as descriptor:
        size, taken = chain.guest_size(descriptor, fmt), content.allocated(descriptor)
    return VolumeFacts(volume, fmt, content.megabytes(size), content.megabytes(taken))
