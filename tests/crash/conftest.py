"""A data centre of real parts for the whole module: kills are many, labs are dear. Each test leaves nothing in it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from qrmd.testing.needs import require

require("lab", "libvirt", "dnsmasq", "qemu-img")

from qrmd.testing.datacentre import DataCentre, data_centre  # noqa: E402
from qrmd.testing.strikes import settle  # noqa: E402


@pytest.fixture(scope="module")
def centre(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataCentre]:
    """A daemon over a lab of its own."""
    with data_centre(f"c{os.getpid()}", tmp_path_factory.mktemp("centre")) as made:
        yield made


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
