"""What the engine owes on a fenced host, and what becomes of its workflows when that is paid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from qrmd.clock import now_us
from qrmd.store import fences
from qrmd.store.connection import Transaction
from qrmd.testing.loop import Loop
from qrmd.testing.works import QUICK, Works
from tests.component.engine_turns import PASSWORD, close, ended, run

T = TypeVar("T")
OWED = {"name": "a", "place": "host:1", "phase": 2, "secret": True}


async def write(works: Works, function: Callable[..., T], *args: object) -> T:
    return await works.store.write(function, *args)


async def fence(works: Works) -> None:
    await works.store.write(_put_host, "fenced")
    await works.store.write(_switch_on)


def _put_host(db: Transaction, state: str) -> None:
    db.execute(
        "INSERT INTO hosts (id, name, uri, virtualization_type, state, cpu_overcommit, memory_overcommit,"
        " reserved_memory_mb) VALUES (1, 'node', 'test://node', 'test', ?, 1, 1, 0)"
        " ON CONFLICT (id) DO UPDATE SET state = excluded.state",
        (state,),
    )


def _switch_on(db: Transaction) -> None:
    db.execute("UPDATE things SET state = 'on'")


def test_a_subject_that_waits_for_what_is_owed_arrives_when_it_is_paid(works: Works, loop: Loop) -> None:
    loop.run(fence(works))
    workflow = run(works, loop, "thing.clear", OWED, {"name": "b"}, secrets={"password": PASSWORD})
    assert ended(works, loop, workflow) == "done"
    assert works.steps(workflow) == ["owed", "done"]
    assert works.thing() == "owing"
    assert len(works.rows("SELECT * FROM secrets")) == 1
    assert loop.run(works.engine.fences.pay("host:1")) == ["deed a"]
    assert works.world.log() == ["do b", "do a"]
    assert works.steps(workflow) == ["done", "done"]
    assert works.thing() == "off"
    assert works.rows("SELECT * FROM secrets") == []


def test_what_is_paid_while_the_workflow_goes_on_is_not_owed_at_its_end(works: Works, loop: Loop) -> None:
    loop.run(fence(works))
    waits = {"name": "b", "do": ["later"]}
    workflow = run(works, loop, "thing.clear", OWED, waits, secrets={"password": PASSWORD})
    loop.run_until(lambda: works.steps(workflow) == ["owed", "waiting"])
    assert loop.run(works.engine.fences.pay("host:1")) == ["deed a"]
    works.engine.wake(workflow)
    assert ended(works, loop, workflow) == "done"
    assert works.steps(workflow) == ["done", "done"]
    assert works.thing() == "off"
    assert works.rows("SELECT * FROM secrets") == []


def make_debt(works: Works, loop: Loop, operation: str) -> int:
    """A workflow that has ended and owes ``a`` at a host, which is fenced after that; the next try would go well."""
    loop.run(write(works, _put_host, "up"))
    late = {**OWED, "action": "test.once", "do": ["fail"], "on_failure": "later", "disowns": ["x"]}
    workflow = run(works, loop, operation, late, {"name": "b"}, secrets={"password": PASSWORD})
    assert ended(works, loop, workflow) == "done"
    assert "debt" in works.steps(workflow)
    loop.run(write(works, _put_host, "fenced"))
    return workflow


def tries(works: Works) -> int:
    return works.world.log().count("do a")


def let_pass(loop: Loop, microseconds: int = 300_000) -> None:
    """Several of the longest pauses between two tries."""
    later = now_us() + microseconds
    loop.run_until(lambda: now_us() > later)


def test_a_debt_of_what_takes_away_is_owed_once_its_host_is_fenced(works: Works, loop: Loop) -> None:
    loop.run(write(works, _switch_on))
    workflow = make_debt(works, loop, "thing.clear")
    works.engine.debts.pay_now("host:1")
    loop.run_until(lambda: len(works.engine.debts) == 0)
    assert works.steps(workflow).count("owed") == 1
    let_pass(loop)
    assert tries(works) == 1
    assert works.thing() == "owing"
    assert loop.run(works.engine.fences.pay("host:1")) == ["deed a"]
    assert tries(works) == 2
    assert works.steps(workflow) == ["done", "done"]
    assert works.thing() == "off"
    assert works.rows("SELECT * FROM secrets") == []


def test_a_debt_of_what_makes_waits_until_its_host_is_back(works: Works, loop: Loop) -> None:
    workflow = make_debt(works, loop, "thing.on")
    let_pass(loop)
    assert (tries(works), works.steps(workflow).count("debt")) == (1, 1)
    assert loop.run(works.engine.fences.pay("host:1")) == [], "it was never undone, and is not to be"
    loop.run(write(works, _put_host, "up"))
    works.engine.debts.pay_now("host:1")
    loop.run_until(lambda: works.steps(workflow) == ["done", "done"])
    assert tries(works) == 2


def test_a_debt_whose_row_can_not_be_read_is_not_looked_at_again_and_again(
    tmp_path: Path, loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    works = Works(tmp_path, loop, loop.deliver, pacing=replace(QUICK, first_pause=9.0, longest_pause=9.0))
    works.store.start()
    make_debt(works, loop, "thing.on")
    loop.run(write(works, _hide_hosts))
    works.engine.debts.pay_now()
    loop.run_until(lambda: "no such table: hosts" in caplog.text)
    let_pass(loop)
    assert sum("no such table: hosts" in each.getMessage() for each in caplog.records) == 1
    close(works)


def _hide_hosts(db: Transaction) -> None:
    db.execute("PRAGMA legacy_alter_table = ON")
    db.execute("ALTER TABLE hosts RENAME TO away")


@pytest.mark.parametrize("operation", ["thing.on", "thing.off"])
def test_a_debt_at_a_host_that_is_scrapped_is_never_tried_again(works: Works, loop: Loop, operation: str) -> None:
    if operation == "thing.off":
        loop.run(write(works, _switch_on))
    workflow = make_debt(works, loop, operation)
    assert loop.run(write(works, fences.write_off, "host:1")) == 1
    loop.run(write(works, _put_host, "removed"))
    loop.run_until(lambda: len(works.engine.debts) == 0)
    let_pass(loop)
    assert tries(works) == 1
    assert sorted(works.steps(workflow)) == ["done", "skipped"]
    assert works.rows("SELECT * FROM secrets") == []
    loop.run(works.engine.recover())
    assert len(works.engine.debts) == 0


def test_a_try_under_way_when_its_host_is_scrapped_revives_no_debt(works: Works, loop: Loop) -> None:
    loop.run(write(works, _put_host, "up"))
    late = {**OWED, "action": "test.once", "do": ["fail", "block", "fail"], "on_failure": "later"}
    workflow = run(works, loop, "thing.on", late, secrets={"password": PASSWORD})
    assert ended(works, loop, workflow) == "done"
    loop.run_until(lambda: tries(works) == 2)
    loop.run(write(works, fences.write_off, "host:1"))
    works.world.cut.set()
    works.world.gate("a").set()
    loop.run_until(lambda: len(works.engine.debts) == 0)
    assert works.steps(workflow) == ["skipped"]
    assert tries(works) == 2
