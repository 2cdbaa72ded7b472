"""kill -9 around the copying of images, which takes seconds: files grow while nobody looks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from qrmd.testing.datacentre import STORAGE, DataCentre
from qrmd.testing.journal import Journal
from qrmd.testing.strikes import Point, Reached, options, settle, strike

LARGE_MB = 256
"""Enough that a copy takes a good part of a second on any disk."""

COPY = [
    Point("core.copy_image"),
    Point("core.copy_image", "running", "volumes/.image-*.part"),
]


@pytest.fixture(scope="module")
def large(centre: DataCentre, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image without holes."""
    path = tmp_path_factory.mktemp("large") / "large.raw"
    path.write_bytes(os.urandom(2**20) * LARGE_MB)
    spec = {"name": "large", "storage": STORAGE, "path": str(path), "format": "raw"}
    centre.daemon.finish("image.import", spec)
    path.unlink()
    centre.before = centre.outside()
    return "large"


def half(centre: DataCentre) -> Reached:
    """The part has some of its bytes."""

    def look(journal: Journal, workflow: int) -> bool:
        parts = list(centre.storage.glob(".image-*.part"))
        return any(LARGE_MB * 2**18 < taken(path) < LARGE_MB * 2**20 for path in parts)

    return look


def taken(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def published(centre: DataCentre) -> Reached:
    """The copy has its name, and the journal does not know."""
    before = set(centre.storage.glob("image-*"))
    return lambda _journal, _workflow: set(centre.storage.glob("image-*")) != before


def over(journal: Journal, workflow: int) -> bool:
    return journal.state(workflow) == "done"


REACHED: dict[str, Callable[[DataCentre], Reached]] = {
    "intent": lambda centre: COPY[0].reached(centre.roots),
    "begun": lambda centre: COPY[1].reached(centre.roots),
    "half": half,
    "published": published,
    "done": lambda _centre: over,
}


@pytest.mark.parametrize("moment", REACHED)
def test_a_clone_is_whole_after_a_kill(centre: DataCentre, large: str, moment: str) -> None:
    copy = f"copy-{moment}"
    workflow, _ = strike(centre.daemon, "image.clone", REACHED[moment](centre), "image.clone", large, copy, options())
    settle(centre.daemon)
    assert centre.daemon.call("workflow.get", workflow)["state"] == "done"
    check_copy(centre, large, copy)
    centre.daemon.finish("image.remove", copy)
    assert centre.leftovers() == {}
    assert centre.audit()["clean"]


def check_copy(centre: DataCentre, source: str, copy: str) -> None:
    """Byte for byte, once."""
    names = [centre.daemon.call("image.get", each)["volume"] for each in (source, copy)]
    one, two = (centre.storage / name for name in names)
    assert one.stat().st_size == two.stat().st_size
    with one.open("rb") as left, two.open("rb") as right:
        while block := left.read(2**22):
            assert block == right.read(2**22)
    assert [path.name for path in centre.storage.glob(".*.part")] == []


def test_a_cancelled_clone_is_gone_after_a_kill(centre: DataCentre, large: str) -> None:
    workflow, _ = strike(centre.daemon, "image.clone", half(centre), "image.clone", large, "given-up", options())
    centre.daemon.call("workflow.cancel", workflow)
    settle(centre.daemon)
    assert centre.daemon.call("workflow.get", workflow)["state"] in {"undone", "done"}
    if centre.daemon.call("workflow.get", workflow)["state"] == "done":
        centre.daemon.finish("image.remove", "given-up")
    assert centre.leftovers() == {}
    assert centre.audit()["clean"]


@pytest.mark.parametrize("evidence", ["", "volumes/.image-*.part"], ids=["intent", "begun"])
def test_an_import_is_whole_after_a_kill(centre: DataCentre, large: str, tmp_path: Path, evidence: str) -> None:
    path = tmp_path / "more.raw"
    path.write_bytes(os.urandom(2**20) * 64)
    reached = Point("core.import_image", "running", evidence).reached(centre.roots)
    spec = {"name": "more", "storage": STORAGE, "path": str(path), "format": "raw"}
    workflow, _ = strike(centre.daemon, "image.import", reached, "image.import", spec, options())
    settle(centre.daemon)
    assert centre.daemon.call("workflow.get", workflow)["state"] == "done"
    volume = centre.storage / centre.daemon.call("image.get", "more")["volume"]
    assert volume.read_bytes() == path.read_bytes()
    centre.daemon.finish("image.remove", "more")
    assert centre.leftovers() == {}
