"""How busy a real host is, is known to placement and told with the choice."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psutil
import pytest

from qrmd.process import spawn
from qrmd.testing.datacentre import DataCentre
from qrmd.testing.waiting import wait_until

COUNTED = re.compile(r"fits; \d+ MiB stay free; load counts 25%: processors (\d+)% busy, memory (\d+)% used")


@pytest.fixture
def _busy() -> Iterator[None]:
    """One processor at least."""
    process = spawn(["sha256sum", "/dev/zero"])
    yield
    process.kill()


@pytest.mark.usefixtures("_busy")
def test_the_explanation_and_the_plan_show_the_load_of_a_real_host(centre: DataCentre) -> None:
    appliance = centre.add_appliance(networks=())
    one_processor = 100 / len(psutil.cpu_times(percpu=True))

    def explained() -> str:
        (candidate,) = centre.daemon.call("appliance.explain", appliance)["candidates"]
        return str(candidate["reason"])

    def counted() -> re.Match[str] | None:
        found = COUNTED.fullmatch(explained())
        return found if found and int(found[1]) >= 0.8 * one_processor else None

    found = wait_until(counted, timeout=180, interval=0.5, what="the load of a busy processor")
    assert found is not None
    memory = psutil.virtual_memory()
    used = 100 - 100 * (memory.free + memory.buffers + memory.cached) / memory.total
    assert int(found[2]) == pytest.approx(used, abs=15)
    plan = centre.daemon.call("appliance.start", appliance, "", {"dry_run": True})
    assert COUNTED.fullmatch(plan["facts"]["placement"][0]["reason"])
    centre.give_back(appliance)
