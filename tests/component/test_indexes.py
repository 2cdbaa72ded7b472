"""What is looked for on each page and by each scrape is found by index, however much there was before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from qrmd.store import adoption, claims, migrations, plugins
from qrmd.store.connection import Db, open_writer
from qrmd.store.counts import count_rows
from qrmd.store.progress import list_debts, owed_at

SCANS = {"SCAN s", "SCAN steps", "SCAN a", "SCAN i", "SCAN w", "SCAN workflows", "SCAN events"}
"""Of all steps, appliances, images, workflows or events there ever were."""


@pytest.mark.parametrize(
    ("look", "table"),
    [
        (count_rows, "FROM steps"),
        (list_debts, "FROM steps"),
        (lambda db: owed_at(db, "host:1"), "FROM steps"),
        (lambda db: claims.of_workflow(db, 1), "JOIN appliances"),
        (lambda db: claims.on(db, "host:1"), "JOIN appliances"),
        (lambda db: plugins.live_steps(db, "kvm"), "FROM steps"),
        (lambda db: plugins.live_steps(db, "kvm"), "FROM workflows"),
        (lambda db: adoption.slots(db, 1), "FROM steps"),
    ],
    ids=[
        "number of debts",
        "debts",
        "what is owed at a host",
        "what a workflow holds",
        "who holds a host",
        "what needs a plugin",
        "what is being planned",
        "what the last start published",
    ],
)
def test_it_is_found_by_index(look: Callable[[Db], Any], table: str, tmp_path: Path) -> None:
    connection = open_writer(tmp_path / "db")
    migrations.core.apply(Database(connection))
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    look(Db(connection))
    connection.set_trace_callback(None)
    told = [each for each in asked if table in each]
    assert len(told) == 1
    plan = [row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {told[0]}")]
    assert plan
    assert not SCANS & set(plan), plan
    connection.close()
