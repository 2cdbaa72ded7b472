"""What the engine owes on a fenced host, and what becomes of its workflows when that is paid."""

from __future__ import annotations

from qrmd.store.connection import Transaction
from qrmd.testing.loop import Loop
from qrmd.testing.works import Works
from tests.component.engine_turns import PASSWORD, ended, run

OWED = {"name": "a", "place": "host:1", "phase": 2, "secret": True}


async def fence(works: Works) -> None:
    await works.store.write(_fence)


def _fence(db: Transaction) -> None:
    db.execute(
        "INSERT INTO hosts (id, name, uri, virtualization_type, state, cpu_overcommit, memory_overcommit,"
        " reserved_memory_mb) VALUES (1, 'node', 'test://node', 'test', 'fenced', 1, 1, 0)"
    )
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
