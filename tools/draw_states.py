"""Writes ``docs/states.md`` from the transition tables: ``python tools/draw_states.py > docs/states.md``."""

from __future__ import annotations

import re
import sys
from enum import StrEnum
from pathlib import Path

import qrmd.states
from qrmd.states import MACHINES, Edge

HEAD = """# States

Generated from `qrmd/states.py` by `tools/draw_states.py`; a test compares them.
"""
_MEANING = re.compile(r'    [A-Z_]+ = "(?P<state>[a-z_]+)"  #: (?P<meaning>.+)')


def draw() -> str:
    """The whole page."""
    return HEAD + "".join(_section(kind, states, edges) for kind, (states, edges) in MACHINES.items())


def _section(kind: str, states: type[StrEnum], edges: tuple[Edge, ...]) -> str:
    meanings = _meanings(states)
    lines = [f"\n## {kind.capitalize()}\n", "```mermaid", "stateDiagram-v2"]
    lines += [f"    {edge.source.value} --> {edge.target.value}: {_plain(edge.reason)}" for edge in edges]
    lines += ["```\n", "| state | meaning |", "|---|---|"]
    lines += [f"| `{state.value}` | {meanings[state.value]} |" for state in states]
    return "\n".join(lines) + "\n"


def _meanings(states: type[StrEnum]) -> dict[str, str]:
    """The comment beside each member."""
    source = Path(qrmd.states.__file__).read_text(encoding="utf-8")
    _, _, body = source.partition(f"class {states.__name__}(")
    return {match["state"]: match["meaning"] for match in _MEANING.finditer(body.partition("\nclass ")[0])}


def _plain(reason: str) -> str:
    """Mermaid ends a label at a colon or semicolon."""
    return reason.replace(":", " -").replace(";", ",")


if __name__ == "__main__":
    sys.stdout.write(draw())
