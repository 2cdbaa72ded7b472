"""The published diagrams are those of the code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_tables_say() -> None:
    """``docs/states.md`` is generated, never edited."""
    drawn = subprocess.run(  # noqa: TID251 - a tool of the repository, run as its author would
        [sys.executable, ROOT / "tools" / "draw_states.py"], capture_output=True, check=True, text=True
    )
    assert (ROOT / "docs" / "states.md").read_text(encoding="utf-8") == drawn.stdout
