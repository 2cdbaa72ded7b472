"""Volumes, owner tags and half-made parts as files of one directory.

For a volume ``web-1`` there are

* ``web-1``: the content;
* ``.web-1.owner``: the owner tag, a JSON object. A file without it is not ours;
* ``.web-1.<installation>.<attempt>.part``: half-made; whose it is stands in the name.

A volume is published by linking its finished part to its name (which never overwrites), then the tag, then
dropping the part; it is removed in the opposite order. So a name is ours if it has our tag or is the same
file as a part of ours, at every instant at which we may be killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self

from qrmd.api import Conflict, InvalidInput, NotFound, StepFailed, names

_VOLUME = re.compile(r"[a-z0-9][a-z0-9.-]{0,99}")
_PART = re.compile(r"\.(?P<volume>[a-z0-9][a-z0-9.-]*)\.(?P<installation>[a-z0-9-]+)\.[0-9a-f]{32}\.part")
_OWNER = re.compile(r"\.(?P<volume>[a-z0-9][a-z0-9.-]*)\.owner")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAX_TAG = 4096


class Standing(Enum):
    """What a name in the directory is to us."""

    ABSENT = "absent"
    OURS = "ours"
    HALF = "half-made"  #: parts only, or a publication or removal that was cut off
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Tag:
    """Content of an owner file."""

    installation: str
    subject: str
    format: str


def check_volume(name: str) -> str:
    """The name, if it can't leave the directory or meet our own files."""
    if not _VOLUME.fullmatch(name) or ".." in name:
        raise InvalidInput(f"volume name {names.shown(name)} is not allowed", hint="use a-z, 0-9, '-' and '.'")
    return name


class Directory:
    """An open directory seen by one installation. Symbolic links are never followed below it."""

    def __init__(self, path: Path, installation: str) -> None:
        self.path = path
        self.installation = installation
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StepFailed(
                f"the directory {path} can't be opened: {error.strerror}", hint="is it there and mounted?"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.descriptor)

    def standing(self, volume: str) -> Standing:
        """What the name is to us now."""
        status = self._status(volume)
        tagged = self._exists(_owner(volume))
        if tagged:
            tag = self.tag(volume)
            if tag is None or tag.installation != self.installation:
                return Standing.FOREIGN
            if status is None:
                return Standing.HALF
            return Standing.OURS if stat.S_ISREG(status.st_mode) else Standing.FOREIGN
        parts = self.parts(volume)
        if status is not None:
            return Standing.HALF if self._is_one_of(status, parts) else Standing.FOREIGN
        return Standing.HALF if parts else Standing.ABSENT

    def tag(self, volume: str) -> Tag | None:
        """The owner tag of the volume, whoever's it is; None if there is none or it can't be read."""
        try:
            with self.open(_owner(volume)) as descriptor:
                value = json.loads(os.read(descriptor, _MAX_TAG))
            return Tag(str(value["installation"]), str(value["subject"]), str(value["format"]))
        except (NotFound, Conflict, ValueError, KeyError, TypeError):
            return None

    def ours(self, volume: str) -> Tag:
        """The tag of a complete volume of ours.

        Raises:
            NotFound: there is none.
            Conflict: the file is not ours.
        """
        standing = self.standing(volume)
        if standing is Standing.FOREIGN:
            raise not_ours(volume)
        tag = self.tag(volume)
        if standing is not Standing.OURS or tag is None:
            raise NotFound("there is no such volume, or it is half-made", subject=f"volume:{volume}")
        return tag

    def names(self) -> list[str]:
        """All file names in the directory."""
        # btrfs shows a directory as it was when it was opened, so it is opened anew
        fresh = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.descriptor)
        try:
            return os.listdir(fresh)  # noqa: PTH208 - pathlib knows no descriptors
        finally:
            os.close(fresh)

    def volumes(self) -> set[str]:
        """Names of volumes that carry our tag, those included of which only half-made parts are there."""
        found: set[str] = set()
        for name in self.names():
            if match := _PART.fullmatch(name):
                if match["installation"] == self.installation:
                    found.add(match["volume"])
            elif match := _OWNER.fullmatch(name):
                tag = self.tag(match["volume"])
                if tag is not None and tag.installation == self.installation:
                    found.add(match["volume"])
        return found

    def parts(self, volume: str) -> list[str]:
        """Names of our half-made files for the volume."""
        prefix = f".{volume}.{self.installation}."
        return [name for name in self.names() if name.startswith(prefix) and _PART.fullmatch(name)]

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[int]:
        """A descriptor for reading a regular file of the directory."""
        with open_regular(name, self.descriptor) as descriptor:
            yield descriptor

    def part(self, volume: str) -> tuple[str, int]:
        """A new empty part for the volume: its name and a descriptor."""
        name = self._part_name(volume)
        return name, self._create(name)

    def abandon(self, part: str, volume: str) -> None:
        """Drop a part, published or not, and the name it may have got without a tag."""
        status, linked = self._status(part), self._status(volume)
        if status and linked and os.path.samestat(status, linked) and not self._exists(_owner(volume)):
            self._unlink(volume)
        self._unlink(part)

    def publish(self, part: str, descriptor: int, volume: str, tag: Tag) -> None:
        """Give a finished part its name and its tag, durably. Never overwrites.

        Raises:
            Conflict: a file of that name appeared meanwhile.
            StepFailed: the part was swept meanwhile, by a removal or by another attempt.
        """
        os.fsync(descriptor)
        status = self._status(part)
        if status is None or not os.path.samestat(status, os.fstat(descriptor)):
            raise StepFailed("another attempt took over", subject=f"volume:{volume}")
        label = self._part_name(volume)
        descriptor = self._create(label)
        try:
            os.write(descriptor, json.dumps(asdict(tag)).encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            self._link(part, volume)
            os.fsync(self.descriptor)
            self._link(label, _owner(volume))
            os.fsync(self.descriptor)
        except FileExistsError as error:
            raise Conflict("the name was taken meanwhile", subject=f"volume:{volume}") from error
        finally:
            self._unlink(label)
        self._unlink(part)

    def withdraw(self, volume: str) -> None:
        """Remove a volume of ours, its tag and all its parts; fine if there is nothing."""
        if self.standing(volume) is Standing.OURS:
            part = self._part_name(volume)
            self._link(volume, part)
            os.fsync(self.descriptor)
            self._unlink(_owner(volume))
            os.fsync(self.descriptor)
        self.sweep(volume)

    def sweep(self, volume: str) -> None:
        """Remove what was cut off in the middle; a complete or foreign volume of that name stays."""
        parts = self.parts(volume)
        if self.standing(volume) is Standing.HALF:
            status = self._status(volume)
            if status is None and self._exists(_owner(volume)):
                self._unlink(_owner(volume))
            elif status is not None and self._is_one_of(status, parts):
                self._unlink(volume)
                os.fsync(self.descriptor)
        for part in parts:
            self._unlink(part)
        os.fsync(self.descriptor)

    def _is_one_of(self, status: os.stat_result, parts: list[str]) -> bool:
        others = (self._status(part) for part in parts)
        return any(os.path.samestat(status, other) for other in others if other is not None)

    def _part_name(self, volume: str) -> str:
        return f".{volume}.{self.installation}.{uuid.uuid4().hex}.part"

    def _create(self, name: str) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags, 0o600, dir_fd=self.descriptor)

    def _status(self, name: str) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _exists(self, name: str) -> bool:
        return self._status(name) is not None

    def _link(self, name: str, target: str) -> None:
        os.link(name, target, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor, follow_symlinks=False)

    def _unlink(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)


@contextlib.contextmanager
def open_regular(name: str | Path, directory: int | None = None) -> Iterator[int]:
    """A descriptor for reading a regular file; a link, pipe or device is refused and never waited for."""
    try:
        descriptor = os.open(name, _READ, dir_fd=directory)
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {names.shown(str(name))}") from error
    except OSError as error:
        raise Conflict(
            f"{names.shown(str(name))} can't be read as a plain file: {error.strerror}",
            hint="name the file itself, no link",
        ) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Conflict(f"{names.shown(str(name))} is not a plain file")
        yield descriptor
    finally:
        os.close(descriptor)


def not_ours(volume: str) -> Conflict:
    """The refusal to touch a file that does not carry our tag."""
    return Conflict(
        "the file there does not carry the owner tag of this installation",
        subject=f"volume:{volume}",
        hint="move it away by hand, or use another name",
    )


def _owner(volume: str) -> str:
    return f".{volume}.owner"
