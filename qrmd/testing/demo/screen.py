"""What a demo shows: headings, progress, tables. On a terminal with colours, elsewhere plain lines."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

WIDTH = 118
_MARKS = {"done": "[green]✓[/]", "undone": "[yellow]↶[/]", "failed": "[red]✗[/]", "debt": "[yellow]…[/]"}


class Screen:
    """Standard output."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        if not self.console.is_terminal:
            self.console.width = WIDTH
        self._begin = time.monotonic()

    def head(self, title: str) -> None:
        """A new part begins."""
        self.console.print(f"\n[bold]{title}[/]")

    def tell(self, line: str) -> None:
        """One line of progress, with the seconds since the start."""
        passed = time.monotonic() - self._begin
        self.console.print(Text(f"{passed:7.1f} s  ", style="dim").append(line, style=""))

    def quote(self, title: str, text: str) -> None:
        """Somebody's words in a frame."""
        self.console.print(Panel(Text(text.strip()), title=title, title_align="left", expand=False))

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """A table; numbers and amounts stand to the right."""
        table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None)
        rows = [tuple(map(str, row)) for row in rows]
        for at, column in enumerate(columns):
            right = bool(rows) and all(_is_number(row[at]) for row in rows)
            table.add_column(column, justify="right" if right else "left", overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        self.console.print(table)

    def step(self, workflow: Mapping[str, Any], step: Mapping[str, Any]) -> None:
        """A step whose state has changed; those that begin or wait are not shown, the end of each is."""
        mark = _MARKS.get(step["state"])
        if mark is None:
            return
        passed = time.monotonic() - self._begin
        line = f"[dim]{passed:7.1f} s[/]  {mark} {step['phase']:<10}"
        self.console.print(line, Text(f"{step['title']}  [{workflow['operation']} {workflow['id']}]"))


def _is_number(text: str) -> bool:
    return text.lstrip("+-").replace(".", "", 1).isdecimal()
