"""The driver of deployment type ``simulated``."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from qrmd.api import (
    Attachment,
    Conflict,
    Found,
    InvalidInput,
    NotFound,
    OwnerTag,
    Storage,
    StorageCapabilities,
    StorageUsage,
    VolumeFacts,
    names,
)
from qrmd_simulated.faults import Faults
from qrmd_simulated.uri import parse_pool
from qrmd_simulated.volumes import PAGE, Pages, Volume, Volumes, read_pages

MIB = 2**20
LARGEST_MB = 2**30
OTHER_FORMATS = (b"QFI\xfb", b"KDMV", b"vhdxfile", b"<<< Oracle VM VirtualBox")


class SimulatedStorage:
    """Raw volumes in memory; see ``qrmd.api.StorageDriver`` for the promises. Thread-safe, each call microseconds.

    Args:
        installation: ours are the volumes with this UUID in their owner tag.
        faults: to be played.
        blocking: calls are made in threads.
    """

    deployment_type = "simulated"

    def __init__(self, installation: str, volumes: Volumes, faults: Faults | None = None, *, blocking: bool) -> None:
        self.capabilities = StorageCapabilities(thin_clone=True, shared_between_hosts=True, blocking=blocking)
        self._installation = installation
        self._volumes = volumes
        self._faults = faults or Faults("", blocking=blocking)
        self._lock = threading.Lock()

    def check(self, storage: Storage) -> Sequence[str]:
        """Its location must be one of ours."""
        parse_pool(storage.location)
        return []

    def usage(self, storage: Storage) -> StorageUsage:
        """What the pages in memory leave of the size in its location."""
        pool = parse_pool(storage.location)
        self._faults.before("usage", pool.name)
        with self._lock:
            pages = {id(each): len(each) for each in self._contents(pool.name)}
        return StorageUsage(pool.capacity_mb, max(pool.capacity_mb - sum(pages.values()) * PAGE // MIB, 0))

    def inspect(self, storage: Storage, path: Path, declared_format: str) -> VolumeFacts:  # noqa: ARG002 - protocol
        """Raw is what has no other format's header."""
        try:
            with path.open("rb") as file:
                head = file.read(64)
            size = path.stat().st_size
        except OSError as error:
            raise InvalidInput(f"it can't be read: {error.strerror}", subject=str(path)) from None
        if declared_format != "raw" or head.startswith(OTHER_FORMATS):
            raise InvalidInput("a simulated storage takes raw images only", subject=str(path), hint="qemu-img convert")
        return VolumeFacts(path.name, "raw", _size(-(-size // MIB)))

    def import_file(self, storage: Storage, volume: str, path: Path, fmt: str, tag: OwnerTag) -> VolumeFacts:
        """Read it in."""
        names.check_name(volume, "volume name")
        facts = self.inspect(storage, path, fmt)
        pages = read_pages(path)
        pool = parse_pool(storage.location).name
        with self._lock:
            if self._standing(pool, volume, tag) is None:
                self._volumes.put(pool, self._made(volume, facts.size_mb, tag), pages)
            return _facts(self._volumes.at(pool)[volume])

    def clone(self, storage: Storage, source: str, volume: str, size_mb: int, tag: OwnerTag) -> VolumeFacts:
        """Share the pages, which nobody changes."""
        names.check_name(volume, "volume name")
        pool = parse_pool(storage.location).name
        with self._lock:
            origin = self._ours(pool, source)
            if self._standing(pool, volume, tag) is None:
                self._volumes.clone(pool, self._made(volume, max(_size(size_mb), origin.size_mb), tag), source)
            return _facts(self._volumes.at(pool)[volume])

    def copy(self, storage: Storage, source: str, volume: str, size_mb: int, tag: OwnerTag) -> VolumeFacts:
        """As ``clone``: no volume needs another."""
        return self.clone(storage, source, volume, size_mb, tag)

    def resize(self, storage: Storage, volume: str, size_mb: int) -> VolumeFacts:
        """Grow; the same size again is fine."""
        pool = parse_pool(storage.location).name
        with self._lock:
            found = self._ours(pool, volume)
            if _size(size_mb) < found.size_mb:
                raise InvalidInput(f"it has {found.size_mb} MiB and can't shrink", subject=f"volume:{volume}")
            self._volumes.grow(pool, volume, size_mb)
            return _facts(self._volumes.at(pool)[volume])

    def find(self, storage: Storage, volume: str) -> VolumeFacts | None:
        """Our volume of that name."""
        names.check_name(volume, "volume name")
        with self._lock:
            found = self._volumes.at(parse_pool(storage.location).name).get(volume)
        return _facts(found) if found is not None and found.installation == self._installation else None

    def remove(self, storage: Storage, volume: str) -> None:
        """Forget it; already gone is fine."""
        names.check_name(volume, "volume name")
        pool = parse_pool(storage.location).name
        with self._lock:
            found = self._volumes.at(pool).get(volume)
            if found is None:
                return
            self._check_ours(found)
            self._volumes.remove(pool, volume)

    def export(self, storage: Storage, volume: str, consumer: str) -> Attachment:  # noqa: ARG002 - protocol
        """Under an address that no real machine can reach."""
        pool = parse_pool(storage.location).name
        with self._lock:
            self._ours(pool, volume)
        return Attachment("nbd", volume, "raw", f"{pool}.simulated.invalid:10809")

    def unexport(self, storage: Storage, volume: str, consumer: str) -> None:  # noqa: ARG002 - protocol
        """Nothing to take back."""
        names.check_name(volume, "volume name")

    def owned(self, storage: Storage, installation: str) -> Sequence[Found]:
        """All volumes with the installation's tag."""
        pool = parse_pool(storage.location).name
        place = f"storage:{storage.id}"
        with self._lock:
            return [
                Found("volume", each.name, place, each.subject, "" if each.complete else "half-made")
                for each in self._volumes.at(pool).values()
                if each.installation == installation
            ]

    def _contents(self, pool: str) -> list[Pages]:
        return [self._volumes.pages(pool, name) for name in self._volumes.at(pool)]

    def _made(self, name: str, size_mb: int, tag: OwnerTag) -> Volume:
        if tag.installation != self._installation:
            raise InvalidInput("the owner tag names another installation", subject=f"volume:{name}")
        return Volume(name, size_mb, tag.installation, tag.subject)

    def _standing(self, pool: str, name: str, tag: OwnerTag) -> Volume | None:
        """The volume if it is there, complete and of the same object. Raises Conflict when it is another's."""
        found = self._volumes.at(pool).get(name)
        if found is None:
            return None
        self._check_ours(found)
        if not found.complete:
            return None
        if found.subject != tag.subject:
            raise Conflict("the volume belongs to another object of ours", subject=f"volume:{name}")
        return found

    def _ours(self, pool: str, name: str) -> Volume:
        found = self._volumes.at(pool).get(names.check_name(name, "volume name"))
        if found is None:
            raise NotFound(f"there is no volume {name}", subject=f"storage:{pool}")
        self._check_ours(found)
        if not found.complete:
            raise NotFound(f"volume {name} is half-made", subject=f"storage:{pool}")
        return found

    def _check_ours(self, found: Volume) -> None:
        if found.installation != self._installation:
            raise Conflict("the volume is not ours and is left alone", subject=f"volume:{found.name}")


def _size(size_mb: int) -> int:
    if not 0 < size_mb <= LARGEST_MB:
        raise InvalidInput(f"{size_mb} MiB is no size for a disk", hint=f"1 to {LARGEST_MB}")
    return size_mb


def _facts(volume: Volume) -> VolumeFacts:
    return VolumeFacts(volume.name, "raw", volume.size_mb, complete=volume.complete)
