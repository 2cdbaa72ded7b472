"""What runs already lacks a plugin: who only looks at the plugin does not wait for its planners."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qrmd.operations.adoption import GLANCE, SURVEY_SECONDS
from qrmd.testing.harness import Harness
from qrmd.testing.loop import Loop

APPLIANCES = 2 * GLANCE + 5
SLOTH = """
import time
from pathlib import Path

class Hang:
    name, timeout, retries = "sloth.hang", 60.0, 0
    async def do(self, ctx, args):
        return Done()
    async def undo(self, ctx, args):
        return Done()

class Plugin(Base):
    seconds = 0.0

    @hookimpl
    def register_actions(self):
        return [Hang()]

    @hookimpl
    def appliance_start(self, view):
        awake = time.monotonic() + Plugin.seconds
        while time.monotonic() < awake:
            pass
        name = view.appliance.name
        return [Step("sloth.hang", {}, Phase.MONITOR, f"hang at {name}", owns=(Owned("sloth", name, "tree"),))]
"""


@pytest.fixture
def house(tmp_path: Path, loop: Loop) -> Iterator[Harness]:
    made = Harness(tmp_path, loop, ["simulated"])
    made.start()
    made.call("host.add", {"name": "h1", "uri": "simulated://h1?cpus=64&memory_mb=65536", "type": "simulated-vm"})
    made.call("storage.add", {"name": "pool", "location": "simulated://pool?capacity_mb=9000", "type": "simulated"})
    (tmp_path / "disk.raw").write_bytes(bytes(2**20))
    image = {"name": "small", "storage": "pool", "path": str(tmp_path / "disk.raw"), "format": "raw"}
    made.finish(made.call("image.import", image))
    for number in range(APPLIANCES):
        made.call("appliance.add", {"name": f"web-{number}", "image": "small", "memory_mb": 64})
    for workflow in [made.call("appliance.start", f"web-{number}") for number in range(APPLIANCES)]:
        made.finish(workflow)
    yield made
    made.stop()


def test_a_survey_ends_when_its_time_is_over(house: Harness, install: Callable[..., str]) -> None:
    package = install("sloth", SLOTH)
    house.call("plugin.list")
    house.call("plugin.enable", "sloth")
    found = house.call("plugin.start", "sloth")["lacking"]
    assert found["number"] == found["looked_at"] >= GLANCE
    slow = __import__(package).Plugin
    slow.seconds = 1.2 * SURVEY_SECONDS / GLANCE
    found = house.call("plugin.get", "sloth")["lacking"]
    assert (found["number"], found["looked_at"]) == (GLANCE, GLANCE), "one glance took all the time there is"
    assert len(found["appliances"]) == GLANCE
    slow.seconds = 0.0
    assert len(house.call("plugin.reconcile", "sloth", {"dry_run": True})["plans"]) == APPLIANCES
    begun = house.call("plugin.reconcile", "sloth")["workflows"]
    assert [house.finish(each)["state"] for each in begun] == ["done"] * APPLIANCES
    assert house.call("plugin.get", "sloth")["lacking"] == {}
