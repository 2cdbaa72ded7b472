"""``qrm lab``: a data centre on this machine, to try things out. It needs root and no daemon."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from qrmd.errors import QrmdError
from qrmd.testing.lab.access import check_name

_name = click.option("--name", default="lab", show_default=True, help="Several labs can be up, each with a name.")
_output = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Form of the answer.",
)


@click.group()
def lab() -> None:
    """Bring a whole data centre up on this machine, or down."""


@lab.command()
@_name
@_output
def up(name: str, output: str) -> None:
    """Bring a lab up: network, libvirt with QEMU, mail sink, guest image.

    Nothing of the machine's own network, libvirt or DNS is touched. Running it twice is fine.
    """
    with _faults_told(), _shown_progress() as progress:
        from qrmd.testing.lab import lab as labs  # noqa: PLC0415 - needs the extra qrmd[lab]

        access = labs.up(check_name(name), progress)
    _print(access.as_dict(), output)


@lab.command()
@_name
@_output
def status(name: str, output: str) -> None:
    """Show a lab and its processes; exit status 0 means that it is up."""
    with _faults_told():
        from qrmd.testing.lab import lab as labs  # noqa: PLC0415

        found = labs.status(check_name(name))
    if output == "json":
        click.echo(json.dumps(found.as_dict()))
    else:
        lines = {"name": name, "state": found.state, "processes": "\n".join(found.processes) or "none"}
        _print({**lines, **(found.access.as_dict() if found.access else {})}, output)
    sys.exit(0 if found.state == "up" else 1)


@lab.command()
@_name
@click.option("--all", "every", is_flag=True, help="End all labs of this machine, whatever their names.")
@_output
def down(name: str, output: str, *, every: bool) -> None:
    """End a lab and everything in it. Running it twice is fine, and so is running it after a crash."""
    left = []
    with _faults_told(), _shown_progress() as progress:
        from qrmd.testing.lab import lab as labs  # noqa: PLC0415
        from qrmd.testing.lab.state import list_names  # noqa: PLC0415

        for one in list_names() if every else [check_name(name)]:
            labs.down(one, progress)
            left += [f"{thing.kind} {thing.what}" for thing in labs.sweep(one)]
    _print({"name": "all" if every else name, "state": "down", "leftovers": left}, output)
    sys.exit(1 if left else 0)


@contextmanager
def _shown_progress() -> Iterator[Callable[[str], None]]:
    """A spinner with the current line on a terminal, plain lines elsewhere; always on standard error."""
    console = Console(stderr=True)
    with console.status("") as spinner:

        def tell(line: str) -> None:
            spinner.update(line)
            console.print(line, style="dim", highlight=False)

        yield tell


@contextmanager
def _faults_told() -> Iterator[None]:
    """One line for each fault, and the exit status that goes with it."""
    try:
        yield
    except QrmdError as error:
        for line in str(error).splitlines():
            click.echo(f"qrm: {line}", err=True)
        sys.exit(error.exit_code)
    except ImportError as error:
        click.echo(f"qrm: {error.name} is missing: pip install 'qrmd[lab,libvirt]'", err=True)
        sys.exit(1)


def _print(answer: dict[str, Any], output: str) -> None:
    if output == "json":
        click.echo(json.dumps(answer))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for key, value in answer.items():
        table.add_row(key, ", ".join(value) or "none" if isinstance(value, list) else str(value))
    Console().print(table, highlight=False, soft_wrap=True)
