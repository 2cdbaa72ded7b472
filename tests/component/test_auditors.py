"""Two plugins that look at one place: each answers for what it found there, and for nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qrmd.testing.daemon import Daemon, Setting
from qrmd.testing.distributions import write_distribution
from qrmd.testing.sites import populate

PLANTS = ("fern", "moss")

PLANT = '''
from dataclasses import dataclass
from pathlib import Path

from qrmd.api import Found, Manifest, hookimpl

@dataclass(frozen=True)
class Config:
    outside: str = ""

class Plants:
    plugin = "{name}"

    def __init__(self, outside):
        self.outside = outside

    def places(self):
        return ["garden", "host:1"]

    def owned(self, place):
        return [Found("{name}", each.name, place, "appliance:1") for each in (self.outside / place).glob("{name}-*")]

    def remove_found(self, found):
        """Another plugin's thing is not seen, so it counts as gone already."""
        if found.kind == "{name}":
            (self.outside / found.place / found.external_id).unlink(missing_ok=True)

class Plugin:
    manifest = Manifest("{name}", "{name}", "Plants of one sort", "example")
    config_type, migrations = Config, None

    def __init__(self, services):
        self.outside = Path(services.config.outside)

    @hookimpl
    def register_auditors(self):
        return [Plants(self.outside)]
'''


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    for place in ("garden", "host:1"):
        (path / place).mkdir(parents=True)
    return path


@pytest.fixture
def daemon(tmp_path: Path, outside: Path) -> Iterator[Daemon]:
    """Both plugins run, and each has an orphan in the garden; one has another on the host."""
    for name in PLANTS:
        write_distribution(tmp_path / "site", name, f"qrmd_{name}", PLANT.replace("{name}", name))
        (outside / "garden" / f"{name}-1").touch()
    (outside / "host:1/moss-2").touch()
    setting = Setting(tmp_path, plugins={name: {"outside": str(outside)} for name in PLANTS}, site=tmp_path / "site")
    with Daemon(setting) as made:
        populate(made, tmp_path)
        made.call("plugin.list")
        made.run_plugins(*PLANTS)
        yield made


def orphans(report: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Plugin, place and name outside."""
    return {(each["plugin"], each["place"], each["external_id"]) for each in report["orphaned"]}


def test_who_found_it_removes_it(daemon: Daemon, outside: Path) -> None:
    found = orphans(daemon.call("audit.leftovers"))
    assert found == {("fern", "garden", "fern-1"), ("moss", "garden", "moss-1"), ("moss", "host:1", "moss-2")}
    acted = daemon.call("audit.leftovers", {"action": "remove", "only": ["moss-1", "moss-2"]})
    assert {(each["plugin"], each["external_id"], each["done"]) for each in acted["acted"]} == {
        ("moss", "moss-1", "remove"), ("moss", "moss-2", "remove"),
    }  # fmt: skip
    assert orphans(acted) == {("fern", "garden", "fern-1")}
    assert sorted(path.name for path in outside.rglob("*-*")) == ["fern-1"]
    assert daemon.call("audit.leftovers", {"action": "remove"})["clean"]
    assert list(outside.rglob("*-*")) == []


def test_who_found_it_answers_for_what_is_adopted(daemon: Daemon) -> None:
    assert daemon.call("audit.leftovers", {"action": "adopt"})["clean"]
    owned = {name: daemon.call("plugin.get", name)["owned"] for name in PLANTS}
    assert {name: sorted(each["external_id"] for each in things) for name, things in owned.items()} == {
        "fern": ["fern-1"], "moss": ["moss-1", "moss-2"],
    }  # fmt: skip
    assert daemon.call("audit.leftovers")["clean"], "each is looked for by its own plugin"
