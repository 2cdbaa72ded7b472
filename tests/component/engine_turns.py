"""What tests of the engine do with the works again and again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qrmd.testing.loop import Loop
from qrmd.testing.works import ANNA, Works
from qrmd.workflow.steering import Turn

PASSWORD = "correct-horse-battery"


def close(works: Works) -> None:
    """As the daemon ends; once more changes nothing."""
    if works.directory.name == "closed":
        return
    works.engine.drain()
    for gate in works.world.gates.values():
        gate.set()
    works.lanes.stop()
    works.store.stop()
    works.directory = Path("closed")


def ended(works: Works, loop: Loop, workflow: int) -> str:
    """Wait until it has ended or is stuck; its state."""
    loop.run(works.engine.wait(workflow, 20))
    return works.state(workflow)


def run(works: Works, loop: Loop, operation: str, *steps: Any, **given: Any) -> int:
    """Start an operation of these steps; its id."""
    return loop.run(works.start(operation, *steps, **given))


def steer(works: Works, loop: Loop, turn: Turn, workflow: int) -> None:
    """A human's turn."""
    loop.run(works.engine.steer(turn, workflow, ANNA, "because"))
