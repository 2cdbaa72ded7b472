"""The volumes that are there, in memory and in a journal that survives the death of the process."""

from __future__ import annotations

import json
from base64 import b85decode, b85encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qrmd_simulated.journal import Journal

PAGE = 4096
Pages = Mapping[int, bytes]
"""Content by page; what is left out is zeroes."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A simulated volume. ``installation`` is empty for one that carries no tag."""

    name: str
    size_mb: int
    installation: str
    subject: str
    complete: bool = True


class Volumes:
    """All pools with their volumes. The directory is held by ``World``. Not thread-safe."""

    def __init__(self, directory: Path) -> None:
        """Open what is kept in ``directory``."""
        self._pools: dict[str, dict[str, Volume]] = {}
        self._pages: dict[tuple[str, str], Pages] = {}
        self._journal = Journal(directory / "volumes.journal")
        for entry in json.loads(f"[{','.join(self._journal.lines())}]"):
            self._apply(*entry)
        self._journal.begin(len(self._pages), self._lines())

    def close(self) -> None:
        """Let go of the file."""
        self._journal.close()

    def at(self, pool: str) -> Mapping[str, Volume]:
        """The volumes of a pool by name."""
        return self._pools.get(pool, {})

    def pages(self, pool: str, name: str) -> Pages:
        """What a volume holds."""
        return self._pages.get((pool, name), {})

    def put(self, pool: str, volume: Volume, pages: Pages) -> None:
        """Make a volume with its content, in the place of one of that name."""
        self._do(
            "put", pool, *_fields(volume), {str(number): b85encode(page).decode() for number, page in pages.items()}
        )

    def clone(self, pool: str, volume: Volume, source: str) -> None:
        """Make a volume with the content of another."""
        self._do("clone", pool, *_fields(volume), source)

    def grow(self, pool: str, name: str, size_mb: int) -> None:
        """Make a volume larger."""
        self._do("grow", pool, name, size_mb)

    def remove(self, pool: str, name: str) -> None:
        """Take a volume away."""
        self._do("remove", pool, name)

    def _do(self, *entry: Any) -> None:
        self._journal.append(json.dumps(entry))
        self._apply(*entry)

    def _apply(self, verb: str, pool: str, name: str, *rest: Any) -> None:
        volumes = self._pools.setdefault(pool, {})
        key = (pool, name)
        if verb == "remove":
            volumes.pop(name, None)
            self._pages.pop(key, None)
        elif verb == "grow":
            volumes[name] = replace(volumes[name], size_mb=rest[0])
        else:
            *fields, content = rest
            volumes[name] = Volume(name, *fields)
            if verb == "clone":
                self._pages[key] = self._pages[pool, content]
            else:
                self._pages[key] = {int(number): b85decode(page) for number, page in content.items()}

    def _lines(self) -> Iterable[str]:
        """Volumes with the same content are clones of the first of them."""
        for pool, volumes in self._pools.items():
            first: dict[int, str] = {}
            for name, volume in volumes.items():
                pages = self._pages[pool, name]
                origin = first.setdefault(id(pages), name)
                if origin != name:
                    yield json.dumps(("clone", pool, *_fields(volume), origin))
                    continue
                content = {str(number): b85encode(page).decode() for number, page in pages.items()}
                yield json.dumps(("put", pool, *_fields(volume), content))


def _fields(volume: Volume) -> tuple[Any, ...]:
    return volume.name, volume.size_mb, volume.installation, volume.subject, volume.complete


def read_pages(path: Path) -> dict[int, bytes]:
    """The pages of a file that hold anything."""
    found: dict[int, bytes] = {}
    zeroes = bytes(PAGE)
    with path.open("rb") as file:
        number = 0
        while page := file.read(PAGE):
            if page != zeroes[: len(page)]:
                found[number] = page
            number += 1
    return found
