"""The engine's ways forward and back, over a real store: what is done, undone, owed, stuck, and what the rows say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from qrmd.clock import now_us
from qrmd.errors import Busy, Conflict, PluginFault, PreconditionFailed
from qrmd.testing.loop import Loop
from qrmd.testing.works import ANNA, Works
from qrmd.workflow.action import Again, Context, Done, Outcome
from qrmd.workflow.plan import OnFailure, Phase, PlanError, Step, arrange
from qrmd.workflow.steering import Turn

PASSWORD = "correct-horse-battery"


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def open_works(tmp_path: Path, loop: Loop) -> Iterator[Callable[[], Works]]:
    """Opens the works in one directory; again after ``close`` it is a restart."""
    opened: list[Works] = []

    def make() -> Works:
        works = Works(tmp_path, loop, loop.deliver)
        works.store.start()
        opened.append(works)
        return works

    yield make
    for each in opened:
        close(each)


def close(works: Works) -> None:
    if works.directory.name == "closed":
        return
    works.engine.drain()
    for gate in works.world.gates.values():
        gate.set()
    works.lanes.stop()
    works.store.stop()
    works.directory = Path("closed")


@pytest.fixture
def works(open_works: Callable[[], Works]) -> Works:
    return open_works()


def ended(works: Works, loop: Loop, workflow: int) -> str:
    """Wait until it has ended or is stuck; its state."""
    loop.run(works.engine.wait(workflow, 20))
    return works.state(workflow)


def run(works: Works, loop: Loop, operation: str, *steps: Any, **given: Any) -> int:
    return loop.run(works.start(operation, *steps, **given))


def steer(works: Works, loop: Loop, turn: Turn, workflow: int) -> None:
    loop.run(works.engine.steer(turn, workflow, ANNA, "because"))


# ------------------------------------------------------------ four moves


def test_an_operation_reserves_plans_freezes_and_runs(works: Works, loop: Loop) -> None:
    workflow = run(works, loop, "thing.on", {"name": "a"}, {"name": "b"}, reason="wanted")
    assert ended(works, loop, workflow) == "done"
    assert works.world.log() == ["do a", "do b"]
    assert works.thing() == "on"
    assert works.rows("SELECT held FROM things WHERE id = 1") == [{"held": -1}]
    events = works.rows("SELECT kind, actor, reason, workflow_id FROM events WHERE subject = 'thing:1' ORDER BY id")
    assert [each["kind"] for each in events] == ["thing.going_on", "thing.switched_on"]
    assert {(each["actor"], each["reason"], each["workflow_id"]) for each in events} == {
        ("user:anna", "wanted", workflow)
    }


def test_a_dry_run_leaves_no_trace_in_any_table(works: Works, loop: Loop) -> None:
    before = works.dump()
    steps = {"steps": [{"name": "a", "owns": ["x"]}]}
    plan = loop.run(works.engine.rehearse("thing.on", 1, steps, ANNA))
    assert [each["title"] for each in plan.as_dict()["steps"]] == ["deed a"]
    assert works.dump() == before
    assert works.world.log() == []


def test_a_subject_made_with_its_workflow_is_never_alone(works: Works, loop: Loop) -> None:
    def create(db: Any) -> int:
        return int(db.insert("INSERT INTO things (state) VALUES ('off')"))

    before = works.dump()
    plan = loop.run(works.engine.rehearse("thing.on", 0, {"steps": [{"name": "a"}]}, ANNA, create))
    assert plan.subject == "thing:5"
    assert works.dump() == before
    with pytest.raises(Conflict):
        loop.run(works.engine.start("thing.on", 0, {"full": True}, actor=ANNA, create=create))
    assert works.dump() == before
    given: dict[str, Any] = {"actor": ANNA, "create": create, "key": "k"}
    first = loop.run(works.engine.start("thing.on", 0, {"steps": [{"name": "a"}]}, **given))
    again = loop.run(works.engine.start("thing.on", 0, {"steps": [{"name": "a"}]}, **given))
    assert (first, ended(works, loop, first)) == (again, "done")
    assert len(works.rows("SELECT id FROM things")) == 5


@pytest.mark.parametrize("steps", [[{"name": "a", "bug": True}], [{"name": "a", "needs": ["nothing"]}]])
def test_a_plan_that_can_not_be_made_releases_its_reservations(
    works: Works, loop: Loop, steps: list[dict[str, Any]]
) -> None:
    with pytest.raises((PlanError, PluginFault)):
        run(works, loop, "thing.on", *steps)
    assert works.state(1) == "undone"
    assert works.rows("SELECT state, held FROM things WHERE id = 1") == [{"state": "off", "held": 0}]
    assert ended(works, loop, run(works, loop, "thing.on", {"name": "b"})) == "done"


def test_a_key_is_good_for_one_operation_of_one_subject(works: Works, loop: Loop) -> None:
    first = run(works, loop, "thing.on", {"name": "a"}, key="k")
    ended(works, loop, first)
    assert run(works, loop, "thing.on", {"name": "a"}, key="k") == first
    with pytest.raises(Conflict, match="used for"):
        run(works, loop, "thing.on", {"name": "a"}, key="k", thing=2)
    assert works.world.log() == ["do a"]


def test_one_live_workflow_per_subject_and_busy_names_the_holder(works: Works, loop: Loop) -> None:
    holder = run(works, loop, "thing.on", {"name": "a", "do": ["later"]}, reason="moving house")
    with pytest.raises(Busy, match=f"thing.on is running .workflow {holder}, by user:anna: moving house"):
        run(works, loop, "thing.on", {"name": "b"})


# ------------------------------------------------------------ failure


def test_a_failed_step_undoes_done_and_half_done_steps_in_reverse(works: Works, loop: Loop) -> None:
    steps = [{"name": "a", "owns": ["a"]}, {"name": "b", "owns": ["b"]}]
    workflow = run(
        works,
        loop,
        "thing.on",
        *steps,
        {"name": "c", "action": "test.once", "do": ["fail"], "owns": ["c"]},
        {"name": "d"},
    )
    assert ended(works, loop, workflow) == "undone"
    assert works.world.log() == ["do a", "do b", "do c", "undo c", "undo b", "undo a"]
    assert works.steps(workflow) == ["undone", "undone", "undone", "pending"]
    assert works.thing() == "off"
    assert works.rows("SELECT held FROM things WHERE id = 1") == [{"held": 0}]
    assert works.rows("SELECT * FROM owned") == []
    kinds = [each["kind"] for each in works.rows("SELECT kind FROM events WHERE workflow_id = ?", workflow)]
    assert kinds == ["thing.going_on", "workflow.undoing", "thing.off"]


@pytest.mark.parametrize("turn", ["refuse", "raise", "nonsense", "unkept"])
def test_whatever_an_action_does_wrong_the_workflow_ends_undone(works: Works, loop: Loop, turn: str) -> None:
    workflow = run(works, loop, "thing.on", {"name": "a"}, {"name": "b", "do": [turn]})
    assert ended(works, loop, workflow) == "undone"
    assert works.world.log() == ["do a", "do b", "undo b", "undo a"]


def test_attempts_are_repeated_and_counted(works: Works, loop: Loop) -> None:
    workflow = run(works, loop, "thing.on", {"name": "a", "do": ["fail"]})
    assert ended(works, loop, workflow) == "done"
    assert works.rows("SELECT attempts, fault FROM steps") == [{"attempts": 2, "fault": "{}"}]


def test_a_plan_that_never_compensates_goes_on_and_sticks_at_the_end(works: Works, loop: Loop) -> None:
    ended(works, loop, run(works, loop, "thing.on", {"name": "x"}))
    steps = [
        {"name": "a", "do": ["refuse"], "provides": ["a"]},
        {"name": "b", "do": ["fail", "fail", "fail"], "disowns": ["q"]},
        {"name": "c", "needs": ["a"]},
        {"name": "d"},
    ]
    workflow = run(works, loop, "thing.off", *steps)
    assert ended(works, loop, workflow) == "stuck"
    assert works.world.log() == ["do x", "do a", "do b", "do d", "do b", "do b", "do b"]
    assert works.steps(workflow) == ["failed", "done", "pending", "done"]
    assert works.thing() == "broken"
    steer(works, loop, Turn.RETRY, workflow)
    assert ended(works, loop, workflow) == "done"
    assert works.world.log()[-2:] == ["do a", "do c"]
    assert works.thing() == "off"


def test_nothing_is_done_before_what_it_needs(works: Works, loop: Loop) -> None:
    ended(works, loop, run(works, loop, "thing.on", {"name": "x"}))
    workflow = run(
        works, loop, "thing.off",
        {"name": "undefine", "needs": ["off"]},
        {"name": "power", "do": ["again", "fail", "again", "fail"], "provides": ["off"], "phase": 5},
    )  # fmt: skip
    assert ended(works, loop, workflow) == "done"
    log = works.world.log()
    assert log.index("do undefine") > max(index for index, line in enumerate(log) if line == "do power")


def test_a_waiting_step_holds_what_follows_and_a_failed_one_does_not(works: Works, loop: Loop) -> None:
    ended(works, loop, run(works, loop, "thing.on", {"name": "x"}))
    workflow = run(
        works, loop, "thing.off",
        {"name": "guest", "do": ["again", "again"], "phase": 5},
        {"name": "broken", "do": ["fail"], "phase": 4},
        {"name": "mail", "phase": 1},
    )  # fmt: skip
    assert ended(works, loop, workflow) == "done"
    assert works.world.log()[1:] == ["do guest"] * 3 + ["do broken", "do mail", "do broken"]


def test_a_step_that_may_come_later_provides_nothing() -> None:
    with pytest.raises(PlanError, match="may come later"):
        arrange([Step("a.b", {}, Phase.DNS, "a", provides=("x",), on_failure=OnFailure.LATER)])


# ------------------------------------------------------------ deadlines


def test_a_deadline_without_calls_is_an_unknown_outcome_and_undone(works: Works, loop: Loop) -> None:
    workflow = run(works, loop, "thing.on", {"name": "a", "action": "test.short", "do": ["hang"]})
    assert ended(works, loop, workflow) == "undone"
    assert works.world.log() == ["do a", "undo a"]
    assert "OutcomeUnknown" in works.rows("SELECT fault FROM workflows")[0]["fault"]


def test_undo_waits_until_the_call_has_ended(works: Works, loop: Loop) -> None:
    workflow = run(works, loop, "thing.on", {"name": "a", "action": "test.short", "do": ["block"]})
    assert ended(works, loop, workflow) == "undone"
    assert works.aborted == ["host:block"]
    assert works.world.log() == ["do a", "ended a", "undo a"]


def test_a_call_that_never_ends_is_stuck_and_never_undone_by_itself(works: Works, loop: Loop) -> None:
    steps = {"name": "a", "action": "test.short", "do": ["deaf"]}
    workflow = run(works, loop, "thing.on", steps)
    assert ended(works, loop, workflow) == "stuck"
    assert works.world.log() == ["do a"]
    assert works.lanes.abandoned == 1
    assert works.thing() == "broken"
    works.world.gate("a").set()
    steer(works, loop, Turn.CANCEL, workflow)
    assert ended(works, loop, workflow) == "undone"
    assert works.thing() == "off"


def test_a_call_queued_behind_a_hung_one_is_withdrawn_and_never_runs(works: Works, loop: Loop) -> None:
    first = run(works, loop, "thing.on", {"name": "a", "do": ["deaf"]})
    second = run(works, loop, "thing.on", {"name": "b", "action": "test.short", "do": ["queue"]}, thing=2)
    assert ended(works, loop, second) == "undone"
    assert works.aborted == []
    works.world.gate("a").set()
    assert ended(works, loop, first) == "done"
    assert "zombie b" not in works.world.log()


def test_a_hung_lane_delays_no_other(works: Works, loop: Loop) -> None:
    hung = run(works, loop, "thing.on", {"name": "a", "do": ["deaf"]})
    other = run(works, loop, "thing.on", {"name": "b"}, thing=2)
    assert ended(works, loop, other) == "done"
    assert works.state(hung) == "running"


# ------------------------------------------------------------ cancel, take-over, human turns


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


# ------------------------------------------------------------ debts and secrets


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


# ------------------------------------------------------------ waiting, waking, plugins that are away


def test_again_is_a_row_with_note_and_wake_up_time(open_works: Callable[[], Works], loop: Loop) -> None:
    works = open_works()
    workflow = run(works, loop, "thing.on", {"name": "a", "do": ["later"]}, {"name": "b"})
    loop.run_until(lambda: works.steps(workflow)[0] == "waiting")
    row = works.rows("SELECT note, wake_at, attempts FROM steps WHERE position = 0")[0]
    assert (row["note"], row["attempts"]) == ("much later", 1)
    assert 3_000_000_000 < row["wake_at"] - now_us() < 3_600_000_000
    close(works)
    again = open_works()
    loop.run(again.engine.recover())
    assert again.world.log() == ["do a"]
    again.engine.wake_subject("thing:1")
    assert ended(again, loop, workflow) == "done"
    assert again.world.log() == ["do a", "do a", "do b"]


def test_many_wake_ups_leave_one_timer(works: Works, loop: Loop) -> None:
    workflow = run(works, loop, "thing.on", {"name": "a", "do": ["later"] * 60})
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


# ------------------------------------------------------------ children


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


def test_an_objection_refuses_before_anything_changes(works: Works, loop: Loop) -> None:
    del works.actions["test.deed"]
    with pytest.raises(PreconditionFailed, match="no plugin offers"):
        run(works, loop, "thing.on", {"name": "a"})
    assert works.thing() == "off"
