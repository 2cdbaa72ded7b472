"""``python -m tests.bench [--quick] [NAME…]``: prints a table, writes ``bench.json``."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from qrmd.clock import now_us, to_iso
from tests.bench.figure import Figure
from tests.bench.need import Unavailable

NAMES = ("appliances", "calls", "lists", "restart", "real")
COLUMNS = ("", "", "ours", "floor / peer", "ratio", "aim", "", "")


@click.command()
@click.option("--quick", is_flag=True, help="a tenth of the work: shows orders of magnitude")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), default=Path("bench.json"))
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
def main(names: tuple[str, ...], output: Path, *, quick: bool) -> None:
    """Measure. NAME: appliances, calls, lists, restart, real (needs a lab); none: all."""
    console = Console(stderr=True)
    figures: list[Figure] = []
    missing: dict[str, str] = {}
    for name in names or NAMES:
        measure: Callable[..., Iterator[Figure]] = import_module(f"tests.bench.{name}").measure
        with console.status(f"measuring {name}"):
            try:
                for figure in measure(quick=quick):
                    figures.append(figure)
                    console.print(_told(figure))
            except Unavailable as error:
                missing[name] = str(error)
                console.print(f"[yellow]{name} was not measured: {error}")
    output.write_text(json.dumps(report(figures, missing, quick=quick), indent=1) + "\n", encoding="utf-8")
    Console(width=None if sys.stdout.isatty() else 170).print(table(figures))
    click.echo(f"written to {output}")
    sys.exit(1 if missing else 0)


def report(figures: list[Figure], missing: dict[str, str], *, quick: bool) -> dict[str, Any]:
    """What ``bench.json`` holds."""
    return {
        "time": to_iso(now_us()),
        "quick": quick,
        "machine": {"processors": os.cpu_count(), "load": os.getloadavg()[0], "python": platform.python_version()},
        "figures": [each.as_dict() for each in figures],
        "not_measured": missing,
    }


def table(figures: list[Figure]) -> Table:
    """For people."""
    shown = Table(*COLUMNS, title="qrmd", title_justify="left")
    for column in shown.columns[:7]:
        column.no_wrap = True
    for column in shown.columns[2:6]:
        column.justify = "right"
    last = ""
    for each in figures:
        if each.group != last and last:
            shown.add_section()
        shown.add_row("" if each.group == last else each.group, *_cells(each))
        last = each.group
    return shown


def _cells(figure: Figure) -> tuple[str, ...]:
    peer = "" if figure.peer is None else _number(figure.peer, figure.unit)
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    colour = {True: "green", False: "red", None: "default"}[figure.reached]
    aim = ""
    if figure.aim is not None:
        sign = "≥" if figure.unit == "/s" else "≤"
        aim = f"{sign} " + (f"{figure.aim:.2f} ×" if figure.aim_is_ratio else _number(figure.aim, figure.unit))
    value, verdict = f"[{colour}]{_number(figure.value, figure.unit)}", f"[{colour}]{figure.verdict}"
    return figure.name, value, peer, ratio, aim, verdict, figure.note


def _number(value: float, unit: str) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}{'' if unit == '/s' else ' '}{unit}"


def _told(figure: Figure) -> str:
    cells = _cells(figure)
    return f"  {figure.group}: {cells[0]}: {cells[1]}[/]" + (f" (peer {cells[2]})" if cells[2] else "")


if __name__ == "__main__":
    main()
