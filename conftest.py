"""Which tests may run side by side: those of one file, or of one plugin, share labs and stay together."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent
SLOWEST = ("tests/system", "tests/crash", "plugins/kvm")
"""Begun first, so that no worker is left alone with one of them at the end."""


def group_of(path: Path) -> str:
    """Name of the group of tests in a file."""
    relative = path.relative_to(ROOT)
    return "/".join(relative.parts[:2]) if relative.parts[0] == "plugins" else str(relative)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each test its group, and put slow groups first; without pytest-xdist only the order changes."""
    items.sort(key=lambda item: not group_of(item.path).startswith(SLOWEST))
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            item.add_marker(pytest.mark.xdist_group(group_of(item.path)))
