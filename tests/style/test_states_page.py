"""The published diagrams are those of the code."""

from __future__ import annotations

import sys
from pathlib import Path

from qrmd.process import run

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_tables_say() -> None:
    """``docs/states.md`` is generated, never edited."""
    drawn = run([sys.executable, str(ROOT / "tools" / "draw_states.py")], timeout=60)
    assert (ROOT / "docs" / "states.md").read_text(encoding="utf-8") == drawn.stdout
