"""The slowest files of tests begin first, so that no worker is left alone with one of them at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent
SLOWEST = ("tests/system", "tests/crash", "plugins/kvm")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files are dealt out whole (``--dist loadfile``), in this order."""
    items.sort(key=lambda item: not str(item.path.relative_to(ROOT)).startswith(SLOWEST))
