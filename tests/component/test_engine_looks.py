"""Steps that only look: no intent is written before them, and nothing is lost by that."""

from __future__ import annotations

from typing import Any

import pytest

from qrmd.testing.loop import Loop
from qrmd.testing.works import Works
from tests.component.engine_turns import ended, run

LOOK = {"name": "look", "action": "test.look", "provides": ["said"]}
ROW = "SELECT state, attempts, began_at, deadline, ended_at, result FROM steps WHERE workflow_id = ? ORDER BY position"


def writes(works: Works, loop: Loop, *steps: Any) -> int:
    """How many writes an operation of these steps takes."""
    before = works.store.counters.members
    assert ended(works, loop, run(works, loop, "thing.on", *steps)) == "done"
    return works.store.counters.members - before


def test_one_that_ends_well_at_once_costs_no_write(works: Works, loop: Loop) -> None:
    few = writes(works, loop, {"name": "a"})
    assert ended(works, loop, run(works, loop, "thing.off")) == "done"
    assert writes(works, loop, {"name": "a"}, LOOK) == few


def test_its_row_tells_the_same_as_of_any_step(works: Works, loop: Loop) -> None:
    workflow = run(works, loop, "thing.on", {"name": "a"}, {**LOOK, "result": {"said": "hello"}}, {"name": "b"})
    assert ended(works, loop, workflow) == "done"
    rows = works.rows(ROW, workflow)
    assert [row["state"] for row in rows] == ["done"] * 3
    assert [row["attempts"] for row in rows] == [1] * 3
    assert all(0 < row["began_at"] <= row["ended_at"] for row in rows)
    assert rows[1]["result"] == '{"said":"hello"}'


def test_while_it_looks_its_row_is_pending(works: Works, loop: Loop) -> None:
    workflow = run(works, loop, "thing.on", {"name": "a"}, {**LOOK, "see": ["block"]})
    loop.run_until(lambda: works.world.log() == ["do a", "see look"])
    assert works.steps(workflow) == ["running", "pending"]
    works.world.gate("look").set()
    assert ended(works, loop, workflow) == "done"


def test_one_that_must_look_again_says_so(works: Works, loop: Loop) -> None:
    workflow = run(works, loop, "thing.on", {"name": "a"}, {**LOOK, "see": ["later"]})
    loop.run_until(lambda: works.steps(workflow) == ["done", "waiting"])
    row = works.rows(ROW, workflow)[1]
    assert row["attempts"] == 1
    assert 0 < row["began_at"] < row["deadline"]


@pytest.mark.parametrize(("turns", "state", "attempts"), [(["fail"], "done", 2), (["fail"] * 9, "undone", 1)])
def test_one_that_fails_is_tried_again_and_then_all_is_undone(
    works: Works, loop: Loop, turns: list[str], state: str, attempts: int
) -> None:
    workflow = run(works, loop, "thing.on", {"name": "a"}, {**LOOK, "see": turns})
    assert ended(works, loop, workflow) == state
    row = works.rows(ROW, workflow)[1]
    assert (row["state"], row["attempts"]) == (state, attempts)
    assert works.world.log().count("see look") == 2
    assert works.world.log().count("undo a") == (state == "undone")


def test_one_that_owns_something_says_so_first(works: Works, loop: Loop) -> None:
    workflow = run(works, loop, "thing.on", {**LOOK, "owns": ["x"], "see": ["block"], "phase": 2}, {"name": "a"})
    loop.run_until(lambda: works.world.log() == ["do a", "see look"])
    assert works.rows("SELECT external_id FROM owned") == [{"external_id": "1-x"}]
    works.world.gate("look").set()
    assert ended(works, loop, workflow) == "done"
