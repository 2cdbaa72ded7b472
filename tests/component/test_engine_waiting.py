"""The engine while it waits: for time, for plugins, for children."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from qrmd.clock import now_us
from qrmd.testing.loop import Loop
from qrmd.testing.works import Deed, Works
from qrmd.workflow.action import Again, Context, Done, Outcome
from tests.component.engine_turns import close, ended, run


def patient(works: Works) -> Works:
    """With an action that may wait for two hours."""
    works.actions["test.patient"] = Deed(works.world, "test.patient", timeout=7200.0)
    return works


def test_again_is_a_row_with_note_and_wake_up_time(open_works: Callable[[], Works], loop: Loop) -> None:
    works = patient(open_works())
    workflow = run(works, loop, "thing.on", {"name": "a", "action": "test.patient", "do": ["later"]}, {"name": "b"})
    loop.run_until(lambda: works.steps(workflow)[0] == "waiting")
    row = works.rows("SELECT note, wake_at, attempts FROM steps WHERE position = 0")[0]
    assert (row["note"], row["attempts"]) == ("much later", 1)
    assert 3_000_000_000 < row["wake_at"] - now_us() < 3_600_000_000
    close(works)
    again = patient(open_works())
    loop.run(again.engine.recover())
    assert again.world.log() == ["do a"]
    again.engine.wake_subject("thing:1")
    assert ended(again, loop, workflow) == "done"
    assert again.world.log() == ["do a", "do a", "do b"]


def test_what_a_step_publishes_is_the_same_before_and_after_a_restart(works: Works, loop: Loop) -> None:
    step = {"name": "a", "provides": ["moment"], "result": {"moment": (1, 2)}}
    workflow = run(works, loop, "thing.on", step, {"name": "b", "needs": ["moment"], "do": ["later"]})
    loop.run_until(lambda: works.steps(workflow) == ["done", "waiting"])
    kept = works.rows("SELECT result FROM steps WHERE position = 0")[0]["result"]
    assert works.engine.live[workflow].slots == json.loads(kept) == {"moment": [1, 2]}


def test_many_wake_ups_leave_one_timer(works: Works, loop: Loop) -> None:
    workflow = run(patient(works), loop, "thing.on", {"name": "a", "action": "test.patient", "do": ["later"] * 60})
    for _ in range(50):
        works.engine.wake(workflow)
        loop.turn()
    loop.run_until(lambda: works.engine.idle)
    assert sum(each.time > loop.seconds() + 60 for each in loop.getDelayedCalls()) == 1


def test_a_step_waits_for_its_plugin_and_then_begins_with_its_intent(works: Works, loop: Loop) -> None:
    deed = works.actions["test.deed"]
    workflow = run(
        works, loop, "thing.on", {"name": "a", "action": "test.once", "do": ["again"]}, {"name": "b", "owns": ["b"]}
    )
    del works.actions["test.deed"]
    loop.run_until(lambda: "waiting for plugin" in works.rows("SELECT note FROM steps WHERE position = 1")[0]["note"])
    assert works.steps(workflow) == ["done", "pending"]
    works.actions["test.deed"] = deed
    assert ended(works, loop, workflow) == "done"
    assert works.rows("SELECT external_id FROM owned") == [{"external_id": "1-b"}]


def test_a_graceful_stop_begins_nothing_more(open_works: Callable[[], Works], loop: Loop) -> None:
    works = open_works()
    workflow = run(works, loop, "thing.on", {"name": "a", "do": ["block"]}, {"name": "b"})
    loop.run_until(lambda: "do a" in works.world.log())
    works.engine.drain()
    works.world.gate("a").set()
    loop.run_until(lambda: works.engine.idle)
    assert works.steps(workflow) == ["done", "pending"]
    close(works)
    again = open_works()
    loop.run(again.engine.recover())
    assert ended(again, loop, workflow) == "done"


class Mother:
    """Starts a child on another thing and waits for it."""

    name, timeout, retries = "test.mother", 20.0, 0

    def __init__(self, works: Works) -> None:
        self.works = works

    async def do(self, ctx: Context, args: Mapping[str, Any]) -> Outcome:
        child = await ctx.operation("thing.on", {"thing": 2, "arguments": {"steps": args["child"]}})
        self.works.world.note(f"child {child}")
        return Done() if self.works.state(child) == "done" else Again(3600, "waiting for the child")

    async def undo(self, ctx: Context, args: Mapping[str, Any]) -> Outcome:  # noqa: ARG002 - an action's signature
        return Done()


def test_a_child_is_found_again_by_its_key_and_its_end_wakes_the_parent(
    open_works: Callable[[], Works], loop: Loop
) -> None:
    works = open_works()
    works.actions["test.mother"] = Mother(works)
    parent = run(
        works, loop, "thing.on", {"name": "m", "action": "test.mother", "child": [{"name": "c", "do": ["later"]}]}
    )
    loop.run_until(lambda: "do c" in works.world.log())
    loop.run_until(lambda: works.steps(parent) == ["waiting"])
    close(works)
    again = open_works()
    again.actions["test.mother"] = Mother(again)
    loop.run(again.engine.recover())
    again.engine.wake_subject("thing:2")
    assert ended(again, loop, parent) == "done"
    rows = again.rows("SELECT id, parent FROM workflows WHERE subject = 'thing:2'")
    assert [each["parent"] for each in rows] == [parent]
    assert {line for line in again.world.log() if line.startswith("child")} == {f"child {rows[0]['id']}"}
