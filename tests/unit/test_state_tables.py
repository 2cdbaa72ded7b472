"""The tables of states: nothing in flight is without a way to fail and a way to recover, and kinds follow edges."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrmd.deployment.lifecycle import Lifecycle
from qrmd.errors import Conflict
from qrmd.plugins.registries import Registries
from qrmd.states import MACHINES, is_allowed
from qrmd.store import migrations
from qrmd.store.capacity import Capacity
from qrmd.store.connection import Transaction
from qrmd.store.database import Store
from qrmd.store.transitions import move, transition
from qrmd.vault import Vault
from qrmd.workflow.kinds import WorkflowKind

IN_FLIGHT = [
    *(("appliance", each) for each in ("starting", "stopping", "restarting", "updating", "migrating")),
    *(("appliance", each) for each in ("failing_over", "removing")),
    *(("image", each) for each in ("cloning", "removing")),
    ("resource", "booting"),
]
KINDS = Lifecycle(Capacity(), Registries(), "x").kinds()


@pytest.mark.parametrize(("kind", "state"), IN_FLIGHT)
def test_what_is_in_flight_can_fail_and_recover(kind: str, state: str) -> None:
    assert is_allowed(kind, state, "error")
    _, edges = MACHINES[kind]
    assert [edge for edge in edges if edge.source == "error"]


@pytest.mark.parametrize("kind", MACHINES)
def test_every_state_can_be_reached_and_every_edge_has_a_reason(kind: str) -> None:
    states, edges = MACHINES[kind]
    reached = {edge.target for edge in edges} | {next(iter(states))}
    if kind == "appliance":
        reached.add(states("stopped"))
    assert set(states) == reached
    assert all(edge.reason for edge in edges)
    assert len({(edge.source, edge.target) for edge in edges}) == len(edges)


@pytest.mark.parametrize("kind", KINDS, ids=lambda each: each.operation)
def test_each_operation_goes_along_edges(kind: WorkflowKind) -> None:
    journey, machine = kind.journey, kind.subject_kind
    assert journey.during is not None, "operations on its own objects move them"
    for source in journey.source:
        assert is_allowed(machine, source, journey.during), (source, journey.during)
    for target in filter(None, (journey.done, journey.undone, journey.stuck)):
        assert is_allowed(machine, journey.during, target), (journey.during, target)
    assert journey.stuck is not None
    assert is_allowed(machine, journey.stuck, journey.during), "a stuck step can be retried"
    assert (journey.undone is None) is not kind.compensates


def test_a_transition_is_compare_and_swap_with_its_event(tmp_path: Path) -> None:
    store = Store(tmp_path / "db", Vault(tmp_path / "key"), lambda function: function())
    store.write_now(lambda db: migrations.core.apply(db.toolkit))

    def work(db: Transaction) -> None:
        ident = db.insert("INSERT INTO plugins (name, state) VALUES ('p', 'installed')")
        assert transition(db, "plugin", ident, "enabled", actor="user:anna", reason="why") == "installed"
        for source, target in ((None, "installed_"), ("installed", "started"), (None, "enabled")):
            with pytest.raises(Conflict):
                move(db, "plugin", ident, target, source=source)
        row = db.row("SELECT kind, actor, reason, data FROM events ORDER BY id DESC")
        assert row is not None
        assert tuple(row) == ("plugin.enabled", "user:anna", "why", '{"from":"installed","to":"enabled"}')

    store.write_now(work)
    store.stop()
