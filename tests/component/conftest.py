"""Fixtures of tests that install plugins: a loop instead of a reactor, real entry points, real store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from qrmd.testing.daemon import Daemon, Setting
from qrmd.testing.distributions import write_distribution
from qrmd.testing.loop import Loop
from qrmd.testing.sites import populate
from qrmd.testing.works import Works
from qrmd.testing.workshop import Workshop
from tests.component.engine_turns import close

NUMBERS = count()

HEAD = """
from dataclasses import dataclass
from enum import StrEnum
from qrmd.api import *
from qrmd.api import drivers, hookimpl, now_us

@dataclass(frozen=True)
class Config:
    greeting: str = "hello"

MIGRATIONS = Migrations("{name}")

class Base:
    manifest = Manifest("{name}", "A {name}", "For tests.", "test", requires={requires!r})
    config_type = Config
    migrations = None

    def __init__(self, services):
        self.services = services
"""


@pytest.fixture
def loop() -> Loop:
    """Turns time and runs what threads deliver."""
    return Loop()


@pytest.fixture
def faults(tmp_path: Path) -> Path:
    """The file that tells the plugin ``simulated`` what goes wrong; nothing does yet."""
    path = tmp_path / "faults.json"
    path.write_text("[]", encoding="utf-8")
    return path


@pytest.fixture
def faulty_daemon(tmp_path: Path, faults: Path) -> Iterator[Daemon]:
    """A populated daemon whose simulated hosts and storages obey ``faults``."""
    with Daemon(Setting(tmp_path, plugins={"simulated": {"faults": str(faults)}})) as made:
        populate(made, tmp_path)
        yield made


@pytest.fixture
def open_works(tmp_path: Path, loop: Loop) -> Iterator[Callable[[], Works]]:
    """Opens the engine's works in one directory; again after ``close`` it is a restart."""
    opened: list[Works] = []

    def make() -> Works:
        works = Works(tmp_path, loop, loop.deliver)
        works.store.start()
        opened.append(works)
        return works

    yield make
    for each in opened:
        close(each)


@pytest.fixture
def works(open_works: Callable[[], Works]) -> Works:
    """The engine with a world of deeds."""
    return open_works()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """``install(name, body, requires=…)`` writes a distribution; returns the import name of its package."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def write(name: str, body: str, *, requires: tuple[str, ...] = ()) -> str:
        package = f"qrmd_test_{next(NUMBERS)}"
        write_distribution(site, name, package, HEAD.format(name=name, requires=requires) + body)
        return package

    return write


@pytest.fixture
def shop(tmp_path: Path, loop: Loop) -> Iterator[Workshop]:
    """The daemon's plugin parts, started."""
    made = Workshop(tmp_path, loop, loop.deliver)
    loop.run(made.start())
    yield made
    loop.run(made.stop())
