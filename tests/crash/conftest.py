"""A data centre of real parts for the whole module: kills are many, labs are dear. Each test leaves nothing in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from qrmd.testing.needs import require

require("lab", "libvirt", "dnsmasq", "qemu-img")

from qrmd.testing.datacentre import DataCentre  # noqa: E402
from qrmd.testing.lab import lab  # noqa: E402
from qrmd.testing.strikes import settle  # noqa: E402


@pytest.fixture(scope="module")
def centre(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataCentre]:
    """A daemon over a lab of its own."""
    name = f"c{os.getpid()}"
    directory: Path = tmp_path_factory.mktemp("centre")
    try:
        made = DataCentre(lab.up(name), directory)
        try:
            made.build()
            yield made
        finally:
            made.close()
    finally:
        lab.down(name)


@pytest.fixture(autouse=True)
def _nothing_left(centre: DataCentre) -> Iterator[None]:
    """Neither by the daemon's own audit nor by looking; what a failed test left is not the next one's fault."""
    if not centre.daemon.alive:
        centre.daemon.start()
    centre.before = centre.outside()
    yield
    assert centre.daemon.alive
    settle(centre.daemon)
    found = centre.audit()
    assert found["clean"], found
    assert centre.leftovers() == {}
