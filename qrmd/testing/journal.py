"""The daemon's journal, watched from another process. Nothing that the daemon says of itself is needed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from qrmd.store.connection import Db, open_reader

T = TypeVar("T")

GLANCE = 0.0002
"""Seconds between two looks: a step's rows are written by a disk that takes longer."""


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step as its row says."""

    position: int
    action: str
    state: str
    attempts: int
    note: str


class Journal:
    """Looks at workflows and steps over a connection that can't write."""

    def __init__(self, path: Path) -> None:
        self.db = Db(open_reader(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.db.connection.close()

    def newest(self) -> int:
        """Id of the newest workflow, 0 when there is none."""
        return int(self.db.value("SELECT max(id) FROM workflows") or 0)

    def find(self, operation: str, after: int) -> int:
        """Id of the first workflow of this operation after ``after``; 0 when there is none yet."""
        sql = "SELECT min(id) FROM workflows WHERE operation = ? AND id > ?"
        return int(self.db.value(sql, (operation, after)) or 0)

    def state(self, workflow: int) -> str:
        """State of a workflow, empty when there is no such."""
        return str(self.db.value("SELECT state FROM workflows WHERE id = ?", (workflow,)) or "")

    def steps(self, workflow: int) -> list[StepRow]:
        """Its steps in order."""
        rows = self.db.rows(
            "SELECT position, action, state, attempts, note FROM steps WHERE workflow_id = ? ORDER BY position",
            (workflow,),
        )
        return [StepRow(*row) for row in rows]

    def step_state(self, workflow: int, action: str) -> str:
        """State of the step with this action, empty before there is one."""
        sql = "SELECT state FROM steps WHERE workflow_id = ? AND action = ?"
        return str(self.db.value(sql, (workflow, action)) or "")

    def live(self) -> list[int]:
        """Ids of workflows that have not ended."""
        sql = "SELECT id FROM workflows WHERE state NOT IN ('done', 'undone', 'abandoned') ORDER BY id"
        return [row["id"] for row in self.db.rows(sql)]

    def stuck(self) -> list[str]:
        """Workflows that wait for a human, described."""
        rows = self.db.rows("SELECT id FROM workflows WHERE state = 'stuck'")
        return [self.describe(row["id"]) for row in rows]

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table: what has not changed is the same."""
        names = [row[0] for row in self.db.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: [tuple(row) for row in self.db.rows(f"SELECT * FROM {name}")] for name in names}  # noqa: S608

    def observed(self) -> bool:
        """Whether all plugins have been shown all events."""
        row = self.db.row("SELECT coalesce(min(event_id), 0) >= (SELECT max(id) FROM events) FROM cursors")
        return row is None or bool(row[0])

    def describe(self, workflow: int) -> str:
        """State and steps, for people."""
        steps = ", ".join(f"{each.action}={each.state}" for each in self.steps(workflow))
        return f"workflow {workflow} {self.state(workflow)}: {steps}"


def watch(condition: Callable[[], T], timeout: float, what: str) -> T:
    """The first true value that ``condition`` returns, looked at as often as the machine can.

    Raises:
        TimeoutError: it stayed false for ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"watched {timeout:g} s in vain for {what}")
        time.sleep(GLANCE)
    return value
