"""The engine's ways forward and back, over a real store: what is done, undone, and what the rows say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qrmd.errors import Busy, Conflict, PluginFault, PreconditionFailed
from qrmd.store.connection import Transaction
from qrmd.testing.loop import Loop
from qrmd.testing.works import ANNA, Works
from qrmd.workflow.plan import OnFailure, Phase, PlanError, Step, arrange
from qrmd.workflow.steering import Turn
from tests.component.engine_turns import ended, run, steer


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


def test_a_plan_says_what_becomes_of_it_when_a_step_fails(works: Works, loop: Loop) -> None:
    steps = {"steps": [{"name": "a"}, {"name": "b", "on_failure": "later"}]}

    def told(operation: str) -> list[str]:
        plan = loop.run(works.engine.rehearse(operation, 1, steps, ANNA))
        return [each["on_failure"] for each in plan.as_dict()["steps"]]

    assert told("thing.on") == ["undo", "later"]
    assert ended(works, loop, run(works, loop, "thing.on")) == "done"
    assert told("thing.off") == ["retry", "later"]


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


def test_an_objection_refuses_before_anything_changes(works: Works, loop: Loop) -> None:
    del works.actions["test.deed"]
    with pytest.raises(PreconditionFailed, match="no plugin offers"):
        run(works, loop, "thing.on", {"name": "a"})
    assert works.thing() == "off"


def test_the_intent_of_the_first_step_is_written_with_the_plan_when_its_turn_is_now(works: Works, loop: Loop) -> None:
    writes = works.store.counters.members
    workflow = run(works, loop, "thing.on", {"name": "a", "owns": ["a"], "do": ["later"]})
    rows = works.rows("SELECT attempts, began_at > 0 AS began, deadline > began_at AS limited FROM steps")
    assert rows == [{"attempts": 1, "began": 1, "limited": 1}]
    assert works.rows("SELECT external_id FROM owned") == [{"external_id": "1-a"}]
    loop.run_until(lambda: works.steps(workflow) == ["waiting"])
    assert works.store.counters.members - writes == 3, "its beginning, its plan with the intent, its waiting"


def test_who_waits_for_a_turn_has_no_deadline_yet(works: Works, loop: Loop) -> None:
    for number in range(8):
        given = {"steps": [{"name": f"busy {number}", "do": ["block"]}]}
        loop.run(works.engine.start("thing.on", 0, given, actor=ANNA, create=_insert_thing))
    late = run(works, loop, "thing.on", {"name": "late", "owns": ["late"]})
    row = works.rows("SELECT state, attempts, deadline FROM steps WHERE workflow_id = ?", late)
    assert row == [{"state": "pending", "attempts": 0, "deadline": 0}]
    assert works.rows("SELECT 1 FROM owned") == []
    for number in range(8):
        works.world.gate(f"busy {number}").set()
    assert ended(works, loop, late) == "done"


def test_a_plan_that_can_not_be_kept_gives_its_turn_back(works: Works, loop: Loop) -> None:
    kind = works.kinds["thing.on"]
    works.kinds["thing.on"] = replace(kind, facts=lambda _view: {"no": object()})
    for _ in range(9):
        with pytest.raises(PluginFault, match="could not be planned"):
            run(works, loop, "thing.on", {"name": "a"})
    works.kinds["thing.on"] = kind
    assert works.engine.idle
    assert ended(works, loop, run(works, loop, "thing.on", {"name": "b"})) == "done"


def _insert_thing(db: Transaction) -> int:
    return db.insert("INSERT INTO things (state) VALUES ('off')")


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


def test_a_step_names_a_host_by_its_id() -> None:
    with pytest.raises(PlanError, match="host:node-1"):
        arrange([Step("a.b", {}, Phase.DNS, "a", place="host:node-1")])


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
