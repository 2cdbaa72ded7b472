"""The daemon inside a test, as the plugin authors' guide shows it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

GUIDE = Path(__file__).parents[2] / "docs" / "plugins.md"


def test_the_example_of_the_guide_runs(tmp_path: Path) -> None:
    found = re.search(r"^```python harness\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert found is not None
    names: dict[str, Any] = {}
    exec(compile(found[1], str(GUIDE), "exec"), names)  # noqa: S102 - our own page
    names["test_an_appliance_starts"](tmp_path)
