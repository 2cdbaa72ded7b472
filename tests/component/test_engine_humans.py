"""The engine when somebody cancels, takes over or decides what is stuck, and what is owed meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qrmd.clock import now_us
from qrmd.errors import Conflict
from qrmd.testing.loop import Loop
from qrmd.testing.works import ANNA, Works
from qrmd.workflow.steering import Turn
from tests.component.engine_turns import PASSWORD, close, ended, run, steer


def test_cancel_undoes_at_the_next_boundary(works: Works, loop: Loop) -> None:
    workflow = run(works, loop, "thing.on", {"name": "a"}, {"name": "b", "do": ["block"]}, {"name": "c"})
    loop.run_until(lambda: "do b" in works.world.log())
    steer(works, loop, Turn.CANCEL, workflow)
    assert works.state(workflow) == "running"
    works.world.gate("b").set()
    assert ended(works, loop, workflow) == "undone"
    assert works.world.log() == ["do a", "do b", "ended b", "undo b", "undo a"]


def test_cancel_during_the_last_step_still_undoes(works: Works, loop: Loop) -> None:
    workflow = run(works, loop, "thing.on", {"name": "a", "do": ["block"]})
    loop.run_until(lambda: "do a" in works.world.log())
    steer(works, loop, Turn.CANCEL, workflow)
    works.world.gate("a").set()
    assert ended(works, loop, workflow) == "undone"
    assert works.thing() == "off"


def test_a_stop_takes_over_a_start_and_its_key_stays_good(works: Works, loop: Loop) -> None:
    start = run(works, loop, "thing.on", {"name": "a", "do": ["later"]})
    loop.run_until(lambda: "do a" in works.world.log())
    plan = loop.run(works.engine.rehearse("thing.off", 1, {}, ANNA))
    assert plan.facts == {"cancels": start}
    assert run(works, loop, "thing.off", key="k") == start
    assert ended(works, loop, start) == "undone"
    assert run(works, loop, "thing.off", key="k") == start
    assert works.thing() == "off"


def test_a_stop_plans_and_takes_over_what_leaves_the_state_alone(works: Works, loop: Loop) -> None:
    assert ended(works, loop, run(works, loop, "thing.on")) == "done"
    look = run(works, loop, "thing.look", {"name": "a", "do": ["later"]})
    loop.run_until(lambda: "do a" in works.world.log())
    plan = loop.run(works.engine.rehearse("thing.off", 1, {"steps": [{"name": "b"}]}, ANNA))
    assert [step.title for step in plan.steps] == ["deed b"]
    assert plan.facts == {"cancels": look}
    assert works.state(look) == "running"
    assert ended(works, loop, run(works, loop, "thing.off", {"name": "b"})) == "done"
    assert works.state(look) == "undone"
    assert works.world.log() == ["do a", "undo a", "do b"]


def test_an_undo_that_keeps_failing_is_stuck_then_retried(works: Works, loop: Loop) -> None:
    steps = [{"name": "a", "undo": ["fail", "fail", "fail"]}, {"name": "b", "do": ["refuse"]}]
    workflow = run(works, loop, "thing.on", *steps)
    assert ended(works, loop, workflow) == "stuck"
    assert works.engine.preview(Turn.RETRY, workflow)["step"] == "deed a"
    with pytest.raises(Conflict):
        steer(works, loop, Turn.CANCEL, workflow)
    steer(works, loop, Turn.RETRY, workflow)
    assert ended(works, loop, workflow) == "undone"
    assert works.thing() == "off"


def test_skipping_the_only_undo_goes_on_backwards(works: Works, loop: Loop) -> None:
    steps = [{"name": "a", "do": ["refuse"], "undo": ["fail"] * 3, "owns": ["a"]}, {"name": "b"}]
    workflow = run(works, loop, "thing.on", *steps)
    assert ended(works, loop, workflow) == "stuck"
    steer(works, loop, Turn.SKIP, workflow)
    assert ended(works, loop, workflow) == "undone"
    assert "do b" not in works.world.log()
    assert works.rows("SELECT external_id FROM owned") == [{"external_id": "1-a"}]


def test_skip_forward_and_abandon(works: Works, loop: Loop) -> None:
    ended(works, loop, run(works, loop, "thing.on", {"name": "x"}))
    workflow = run(works, loop, "thing.off", {"name": "a", "do": ["refuse"]}, {"name": "b", "do": ["refuse"] * 9})
    assert ended(works, loop, workflow) == "stuck"
    steer(works, loop, Turn.SKIP, workflow)
    assert ended(works, loop, workflow) == "stuck"
    assert works.steps(workflow) == ["skipped", "failed"]
    steer(works, loop, Turn.ABANDON, workflow)
    assert works.state(workflow) == "abandoned"
    assert works.thing() == "broken"
    for turn in Turn:
        with pytest.raises(Conflict):
            steer(works, loop, turn, workflow)
    assert ended(works, loop, run(works, loop, "thing.off", {"name": "c"})) == "done"


def test_an_end_that_can_not_be_written_is_stuck_and_not_a_loop(works: Works, loop: Loop) -> None:
    arguments = {"steps": [{"name": "a"}], "wedge": True}
    workflow = loop.run(works.engine.start("thing.on", 1, arguments, actor=ANNA))
    assert ended(works, loop, workflow) == "stuck"
    assert "its end can't be written" in works.rows("SELECT fault FROM workflows")[0]["fault"]
    assert works.world.log() == ["do a"]


def owing(works: Works, loop: Loop, failures: int, name: str = "mail") -> int:
    step = {
        "name": name, "action": "test.once", "do": ["fail"] * failures, "on_failure": "later", "secret": True,
        "owns": [name],
    }  # fmt: skip
    workflow = run(works, loop, "thing.on", {"name": "a"}, step, secrets={"password": PASSWORD})
    assert ended(works, loop, workflow) == "done"
    return workflow


def test_a_debt_is_shown_retried_and_paid_and_its_secret_kept_until_then(works: Works, loop: Loop) -> None:
    workflow = owing(works, loop, 3)
    assert works.steps(workflow) == ["done", "debt"]
    assert len(works.rows("SELECT * FROM secrets")) == 1
    assert works.thing() == "on"
    loop.run_until(lambda: works.steps(workflow) == ["done", "done"])
    loop.run_until(lambda: len(works.engine.debts) == 0)
    assert works.rows("SELECT * FROM secrets") == []
    kinds = [each["kind"] for each in works.rows("SELECT kind FROM events WHERE workflow_id = ?", workflow)]
    assert kinds.count("workflow.debt_made") == 1
    assert kinds[-1] == "workflow.debts_paid"


def test_debts_survive_a_restart(open_works: Callable[[], Works], loop: Loop) -> None:
    works = open_works()
    workflow = owing(works, loop, 2)
    close(works)
    again = open_works()
    loop.run(again.engine.recover())
    loop.run_until(lambda: again.steps(workflow) == ["done", "done"])


def test_a_stop_makes_the_debts_of_the_start_void(works: Works, loop: Loop) -> None:
    workflow = owing(works, loop, 10_000)
    stop = run(works, loop, "thing.off", {"name": "z", "disowns": ["mail"]})
    assert ended(works, loop, stop) == "done"
    assert works.steps(workflow) == ["done", "skipped"]
    assert works.rows("SELECT * FROM secrets") == []
    assert works.rows("SELECT * FROM owned") == []
    assert len(works.engine.debts) == 0
    count = works.world.log().count("do mail")
    later = now_us() + 200_000
    loop.run_until(lambda: now_us() > later)
    assert works.world.log().count("do mail") == count


@pytest.mark.parametrize("turn", ["done", "fail", "raise", "again"])
def test_the_value_of_a_secret_is_nowhere_in_the_database_or_the_log(
    works: Works, loop: Loop, turn: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    step = {"name": "a", "do": [turn] * 2, "secret": True}
    workflow = run(works, loop, "thing.on", step, secrets={"password": PASSWORD})
    ended(works, loop, workflow)
    assert works.rows("SELECT count(*) AS n FROM steps")[0]["n"] == 1
    for path in tmp_path.glob("qrmd.db*"):
        assert PASSWORD.encode() not in path.read_bytes()
    assert PASSWORD not in caplog.text
    assert works.rows("SELECT * FROM secrets") == []
