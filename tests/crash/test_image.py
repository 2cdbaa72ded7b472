"""kill -9 around the copying of images, which takes seconds: files grow while nobody looks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qrmd.testing.datacentre import IMAGE, STORAGE, DataCentre
from qrmd.testing.journal import Journal
from qrmd.testing.strikes import ATTEMPTS, Point, Reached, options, settle, strike, uncovered

LARGE_MB = 256
"""Enough that a copy takes a good part of a second on any disk."""

COPY = [
    Point("core.copy_image"),
    Point("core.copy_image", "running", "volumes/.image-*.part"),
    Point("core.copy_image", "running", "volumes/image-*"),
]
RESIZE = [
    Point("core.resize_image"),
    Point("core.resize_image", "running", "volumes/image-*"),
]
REMOVE = [
    Point("core.remove_disk"),
    Point("core.remove_disk", "running", "volumes/.image-*.owner"),
    Point("core.remove_disk", "running", "volumes/image-*"),
]
IMPORT = [
    Point("core.import_image"),
    Point("core.import_image", "running", "volumes/.image-*.part"),
    Point("core.import_image", "running", "volumes/image-*"),
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


def over(journal: Journal, workflow: int) -> bool:
    return journal.state(workflow) == "done"


END = Point("")


def name(point: Point) -> str:
    return point.name if point.action else "just-done"


def strike_image(centre: DataCentre, verb: str, reached: Reached | Point, *arguments: object) -> bool:
    """Strike an operation on an image, which must end as done; returns whether it was met there."""
    point = reached if isinstance(reached, Point) else None
    looks = over if point is END else reached.reached(centre.roots) if isinstance(reached, Point) else reached
    workflow, said = strike(centre.daemon, verb, looks, verb, *arguments, options())
    settle(centre.daemon)
    assert centre.daemon.call("workflow.get", workflow)["state"] == "done"
    return point is END or (point.was_hit(said) if point else "=running" in said)


def test_each_step_has_its_moments(centre: DataCentre, large: str) -> None:
    daemon = centre.daemon
    for points, verb, arguments in (
        (COPY, "image.clone", (large, "copy")),
        (RESIZE, "image.resize", (large, LARGE_MB + 1)),
        (REMOVE, "image.remove", (large,)),
    ):
        plan = daemon.call(verb, *arguments, {"dry_run": True})
        actions = [each["action"] for each in plan["steps"]]
        assert actions
        assert uncovered(actions, points) == []


@pytest.mark.parametrize("point", [*COPY, None, END], ids=lambda point: name(point) if point else "half")
def test_a_clone_is_whole_after_a_kill(centre: DataCentre, large: str, point: Point | None) -> None:
    for _ in range(ATTEMPTS):
        hit = strike_image(centre, "image.clone", point or half(centre), large, "copy")
        check_copy(centre, large, "copy")
        centre.daemon.finish("image.remove", "copy")
        if hit:
            return
    raise AssertionError(f"the moment was missed {ATTEMPTS} times")


@pytest.mark.parametrize("point", [*RESIZE, END], ids=name)
def test_an_image_has_its_new_size_after_a_kill(centre: DataCentre, large: str, point: Point) -> None:
    daemon, hit = centre.daemon, False
    daemon.finish("image.clone", large, "growing")
    size = LARGE_MB
    while not hit:
        size += 1
        assert size <= LARGE_MB + ATTEMPTS, "the moment was missed too often"
        hit = strike_image(centre, "image.resize", point, "growing", size)
        found = daemon.call("image.get", "growing")
        assert (found["size_mb"], found["state"]) == (size, "idle")
        assert (centre.storage / found["volume"]).stat().st_size == size * 2**20
    daemon.finish("image.remove", "growing")


@pytest.mark.parametrize("point", [*REMOVE, END], ids=name)
def test_an_image_is_gone_after_a_kill(centre: DataCentre, point: Point) -> None:
    for _ in range(ATTEMPTS):
        centre.daemon.finish("image.clone", IMAGE, "leaving")
        if strike_image(centre, "image.remove", point, "leaving"):
            return
    raise AssertionError(f"the moment was missed {ATTEMPTS} times")


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


@pytest.mark.parametrize("point", [*IMPORT, END], ids=name)
def test_an_import_is_whole_after_a_kill(centre: DataCentre, tmp_path: Path, point: Point) -> None:
    path = tmp_path / "more.raw"
    path.write_bytes(os.urandom(2**20) * 64)
    spec = {"name": "more", "storage": STORAGE, "path": str(path), "format": "raw"}
    for _ in range(ATTEMPTS):
        hit = strike_image(centre, "image.import", point, spec)
        volume = centre.storage / centre.daemon.call("image.get", "more")["volume"]
        assert volume.read_bytes() == path.read_bytes()
        centre.daemon.finish("image.remove", "more")
        if hit:
            return
    raise AssertionError(f"the moment was missed {ATTEMPTS} times")
