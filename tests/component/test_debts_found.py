"""What is owed is looked for on each page and by each scrape: by index, however many steps there were."""

from __future__ import annotations

from pathlib import Path

from sqlite_utils import Database

from qrmd.store import migrations
from qrmd.store.connection import Db, open_writer
from qrmd.store.counts import count_rows
from qrmd.store.progress import list_debts


def test_what_is_owed_is_found_by_index(tmp_path: Path) -> None:
    connection = open_writer(tmp_path / "db")
    migrations.core.apply(Database(connection))
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    count_rows(Db(connection))
    list_debts(Db(connection))
    connection.set_trace_callback(None)
    about_steps = [each for each in asked if "FROM steps" in each]
    assert len(about_steps) == 2
    for each in about_steps:
        plan = [row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {each}")]
        assert not [line for line in plan if line in {"SCAN s", "SCAN steps"}], (each, plan)
    connection.close()
