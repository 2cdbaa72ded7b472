"""Data centres of real parts, one per module."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from qrmd.testing.datacentre import DataCentre
from qrmd.testing.needs import require

_numbers = itertools.count()

IMPATIENT = {"open_seconds": 1, "query_seconds": 2, "change_seconds": 2}
"""Seconds that calls to a silent libvirt may take."""


@pytest.fixture(scope="module")
def make_centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., DataCentre]]:
    """``make_centre(**arguments of DataCentre)``: in a lab of its own, not built yet."""
    require("lab", "libvirt", "dnsmasq", "qemu-img")
    from qrmd.testing.lab import lab  # noqa: PLC0415 - needs the lab's extra

    with ExitStack() as stack:

        def make(**arguments: Any) -> DataCentre:
            name = f"s{os.getpid()}-{next(_numbers)}"
            stack.callback(lab.down, name)
            access = lab.up(name)
            directory: Path = tmp_path_factory.mktemp("centre")
            kvm = {"domain_type": access.domain_type, **IMPATIENT}
            plugins = {"kvm": kvm, **arguments.pop("plugins", {})}
            made = DataCentre(access, directory, plugins=plugins, **arguments)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture(scope="module")
def centre(make_centre: Callable[..., DataCentre]) -> DataCentre:
    """A plain one."""
    made = make_centre()
    made.build()
    return made


@pytest.fixture(autouse=True)
def _as_it_was(request: pytest.FixtureRequest) -> None:
    """What a failed test left is not the next one's fault."""
    if "centre" in request.fixturenames:
        made: DataCentre = request.getfixturevalue("centre")
        made.before = made.outside()
