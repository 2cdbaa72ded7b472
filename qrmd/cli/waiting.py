"""Waiting for a workflow, showing its steps as they happen."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import click

from qrmd.cli.connection import Connection
from qrmd.cli.output import printable

UNDONE = 6
STUCK = 7
TIMED_OUT = 75
_ENDED = {"done": 0, "undone": UNDONE, "stuck": STUCK, "abandoned": STUCK}
_MARKS = {
    "done": "✔", "running": "▶", "waiting": "…", "debt": "!", "owed": "!", "failed": "✘", "undone": "↶", "undoing": "↶",
    "skipped": "»", "pending": "·",
}  # fmt: skip


def wait(connection: Connection, workflow: int, timeout: float) -> tuple[dict[str, Any], int]:
    """The workflow as it ended, and the exit status that says so. The steps are shown on standard error."""
    latest = time.monotonic() + timeout
    show = _live() if sys.stderr.isatty() else _lines()
    try:
        while True:
            told = connection.call("workflow.get", workflow)
            show(told)
            if told["state"] in _ENDED:
                return told, _ENDED[told["state"]]
            left = latest - time.monotonic()
            if left <= 0:
                click.echo(f"workflow {workflow} is still {told['state']}; it goes on", err=True)
                return told, TIMED_OUT
            connection.call("workflow.wait", workflow, max(1, min(1, int(left))))
    finally:
        show({})


def describe(step: dict[str, Any]) -> str:
    """One line."""
    state = step.get("state", "")
    fault = step.get("fault") or {}
    why = fault.get("message", "") if isinstance(fault, dict) else str(fault)
    why = why or step.get("note", "")
    return printable(f"{_MARKS.get(state, '?')} {step.get('title', '')} [{state}]" + (f": {why}" if why else ""))


def _lines() -> Callable[[dict[str, Any]], None]:
    """For a file or pipe: a line whenever a step changes its state."""
    seen: dict[int, str] = {}

    def show(told: dict[str, Any]) -> None:
        for number, step in enumerate(told.get("steps", ())):
            state = step.get("state", "")
            if state not in {seen.get(number), "pending"}:
                click.echo(describe(step), err=True)
            seen[number] = state

    return show


def _live() -> Callable[[dict[str, Any]], None]:
    """For a terminal: all steps, redrawn in place."""
    from rich.console import Console  # noqa: PLC0415 - slow to import, only for a terminal
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    live = Live(console=Console(stderr=True), auto_refresh=False)
    live.start()

    def show(told: dict[str, Any]) -> None:
        if told:
            live.update(Text("\n".join(map(describe, told.get("steps", ())))), refresh=True)
        else:
            live.stop()

    return show
