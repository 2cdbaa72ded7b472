"""The pages about the interface name every verb there is, as it is."""

from __future__ import annotations

import sys
from pathlib import Path

from qrmd.daemon import core_verbs
from qrmd.process import run

ROOT = Path(__file__).parents[2]


def test_the_pages_are_what_the_verbs_say() -> None:
    """The lists in ``docs/api.md`` and ``docs/cli.md`` are generated, never edited."""
    told = run([sys.executable, str(ROOT / "tools" / "list_verbs.py"), "--check"], timeout=120, check=False)
    assert told.returncode == 0, told.stdout + told.stderr


def test_every_verb_of_the_core_stands_on_both_pages() -> None:
    """The tool itself forgets none."""
    api, cli = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("api.md", "cli.md"))
    for each in core_verbs():
        noun, _, word = each.name.rpartition(".")
        assert f"| `{each.name}(" in api, each.name
        line = next((row for row in cli.splitlines() if row.startswith(f"| `qrm {noun.replace('.', ' ')} …`")), "")
        assert f"`{word.replace('_', '-')}`" in line, each.name
