"""Answers as table, JSON, YAML or CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from typing import Any

import click

FORMATS = ("table", "json", "yaml", "csv")


def show(value: Any, form: str) -> None:
    """Write an answer to standard output."""
    if form == "json":
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
    elif form == "yaml":
        import yaml  # noqa: PLC0415 - slow to import, rarely needed

        click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), nl=False)
    elif form == "csv":
        _csv(_rows(value))
    elif value is not True:
        _table(value)


def _rows(value: Any) -> list[dict[str, Any]]:
    items = value if isinstance(value, list) else [value]
    return [each if isinstance(each, dict) else {"value": each} for each in items]


def _csv(rows: list[dict[str, Any]]) -> None:
    writer = csv.DictWriter(sys.stdout, _columns(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: cell(each) for name, each in row.items()} for row in rows)


def _table(value: Any) -> None:
    if isinstance(value, list):
        _grid(_rows(value))
    elif isinstance(value, dict):
        width = max((len(name) for name in value), default=0)
        for name, each in value.items():
            lines = _block(each).split("\n")
            click.echo(f"{name:<{width}}  " + f"\n{'':<{width + 2}}".join(lines))
    else:
        click.echo(cell(value))


def _grid(rows: list[dict[str, Any]]) -> None:
    columns = _columns(rows)
    if not sys.stdout.isatty():
        _plain_grid(columns, rows)
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import, only for a terminal
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell(row.get(name)))) for name in columns))
    Console().print(table)


def _plain_grid(columns: list[str], rows: list[dict[str, Any]]) -> None:
    lines = [columns, *([printable(cell(row.get(name))) for name in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip())


def _columns(rows: Iterable[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _block(value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        return "\n".join("  ".join(f"{name}={printable(cell(each))}" for name, each in row.items()) for row in value)
    return "\n".join(printable(line) for line in cell(value).split("\n"))


def cell(value: Any) -> str:
    """One value as text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def printable(text: str) -> str:
    """Without what could drive a terminal."""
    return text if text.isprintable() else "".join(each if each.isprintable() else "\ufffd" for each in text)
