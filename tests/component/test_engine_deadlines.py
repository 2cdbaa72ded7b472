"""Deadlines: a step's is stamped at its first attempt and holds whatever it does; so the whole is bounded too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from qrmd.clock import SECOND, now_us
from qrmd.testing.loop import Loop
from qrmd.testing.works import Deed, Works
from tests.component.engine_turns import close, ended, run

BRIEF = 1.0
"""Seconds from the first attempt."""
ENDLESS = 10_000


@pytest.fixture
def brief(works: Works) -> Works:
    """With actions whose deadline is near and whose retries don't end."""
    for name in ("test.brief", "test.other"):
        works.actions[name] = Deed(works.world, name, timeout=BRIEF, retries=ENDLESS)
    return works


def rows(works: Works, workflow: int) -> list[dict[str, Any]]:
    return works.rows("SELECT * FROM steps WHERE workflow_id = ? ORDER BY position", workflow)


def step(name: str, *script: str, action: str = "test.brief", **more: Any) -> dict[str, Any]:
    return {"name": name, "action": action, "do": script, **more}


def test_each_attempt_has_the_deadline_of_the_first(works: Works, loop: Loop) -> None:
    works.actions["test.stubborn"] = Deed(works.world, "test.stubborn", timeout=30.0, retries=ENDLESS)
    workflow = run(works, loop, "thing.on", step("a", *["fail", "again"] * 4, "later", action="test.stubborn"))
    seen: dict[int, set[int]] = {}

    def waits() -> bool:
        (row,) = rows(works, workflow)
        seen.setdefault(row["attempts"], set()).add(row["deadline"])
        return bool(row["note"] == "much later")

    loop.run_until(waits)
    (row,) = rows(works, workflow)
    assert row["attempts"] > 1
    assert set().union(*seen.values()) == {row["deadline"]}
    assert row["deadline"] - row["began_at"] <= 30 * SECOND
    assert row["wake_at"] <= row["deadline"] + SECOND, "it is looked at again when its time is over"


@pytest.mark.parametrize("turn", ["fail", "again", "later", "hang"])
def test_at_its_deadline_a_step_has_failed_whatever_it_does(brief: Works, loop: Loop, turn: str) -> None:
    workflow = run(brief, loop, "thing.on", {"name": "before"}, step("a", *[turn] * ENDLESS))
    assert ended(brief, loop, workflow) == "undone"
    assert brief.thing() == "off"
    assert brief.steps(workflow) == ["undone", "undone"]
    assert brief.world.log().count("do a") < ENDLESS
    assert brief.world.log()[-2:] == ["undo a", "undo before"]
    assert now_us() >= rows(brief, workflow)[1]["began_at"] + BRIEF * SECOND / 2


def test_what_hangs_after_failures_is_cut_off_at_the_first_deadline(works: Works, loop: Loop) -> None:
    works.actions["test.longer"] = Deed(works.world, "test.longer", timeout=5.0, retries=ENDLESS)
    workflow = run(works, loop, "thing.on", step("a", "fail", "fail", *["hang"] * ENDLESS, action="test.longer"))
    first = rows(works, workflow)[0]["deadline"]
    loop.run_until(lambda: works.world.log().count("do a") >= 3)
    assert rows(works, workflow)[0]["deadline"] == first
    assert ended(works, loop, workflow) == "undone"
    assert works.world.log()[-1] == "undo a"
    assert rows(works, workflow)[0]["began_at"] <= first <= now_us()


@pytest.mark.parametrize("turn", ["fail", "again", "later"])
def test_what_goes_one_way_is_not_retried_beyond_it(brief: Works, loop: Loop, turn: str) -> None:
    run_on = run(brief, loop, "thing.on", {"name": "on"})
    assert ended(brief, loop, run_on) == "done"
    workflow = run(brief, loop, "thing.off", step("a", *[turn] * ENDLESS))
    assert ended(brief, loop, workflow) == "stuck"
    assert brief.steps(workflow) in (["failed"], ["waiting"])
    assert brief.thing() == "broken"


def test_a_restart_gives_no_step_another_deadline(open_works: Callable[[], Works], loop: Loop) -> None:
    works = open_works()
    workflow = run(works, loop, "thing.on", {"name": "a", "do": ["fail", "later"]})
    loop.run_until(lambda: works.steps(workflow) == ["waiting"])
    (before,) = rows(works, workflow)
    close(works)
    again = open_works()
    loop.run(again.engine.recover())
    assert again.engine.live[workflow].steps[0].deadline == before["deadline"]
    again.engine.wake_subject("thing:1")
    assert ended(again, loop, workflow) == "done"
    assert rows(again, workflow)[0]["deadline"] == before["deadline"]


def test_a_workflow_ends_within_the_sum_of_its_steps_times(brief: Works, loop: Loop) -> None:
    """Each waits as long as it may, and undoing each takes as many attempts as it may."""
    waits = ["again"] * ENDLESS
    late = [step(name, *waits, on_failure="later", action="test.other") for name in ("a", "b")]
    undo = ["fail", "fail"]
    workflow = run(brief, loop, "thing.on", *late, {"name": "c", "undo": undo}, step("d", *waits, undo=undo))
    assert ended(brief, loop, workflow) == "undone"
    steps = rows(brief, workflow)
    began = [each["began_at"] for each in steps]
    assert began == sorted(began)
    for each, following in zip(steps[:2], began[1:], strict=False):
        assert following >= each["began_at"] + BRIEF * SECOND / 2, "it had all its time"
    log = brief.world.log()
    assert {name: log.count(f"undo {name}") for name in "abcd"} == {"a": 1, "b": 1, "c": 3, "d": 3}
    assert max(began) - min(began) < 3 * BRIEF * SECOND + 60 * SECOND


def test_one_way_plans_try_every_step_and_end_stuck_within_the_sum(brief: Works, loop: Loop) -> None:
    assert ended(brief, loop, run(brief, loop, "thing.on", {"name": "on"})) == "done"
    names = ("a", "b", "c")
    workflow = run(brief, loop, "thing.off", *[step(name, *["again"] * ENDLESS, phase=9) for name in names])
    assert ended(brief, loop, workflow) == "stuck"
    steps = rows(brief, workflow)
    assert all(each["fault"] != "{}" for each in steps)
    assert all(each["deadline"] - each["began_at"] <= BRIEF * SECOND for each in steps)
    assert brief.engine.idle
