"""The load that a host reports is the kernel's."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from qrmd.api import Host
from qrmd.process import Process, spawn
from qrmd.testing.waiting import wait_until
from qrmd_kvm.driver import KvmDriver
from qrmd_kvm.facts import SHORTEST_SPAN, LoadMeter

TOLERANCE = 0.1
"""Of a share: the kernel is asked a moment before or after."""


@pytest.fixture
def burner() -> Iterator[Process]:
    """Keeps one processor busy."""
    process = spawn(["sha256sum", "/dev/zero"])
    yield process
    process.kill()


def used_seconds(process: Process) -> float:
    return float(psutil.Process(process.pid).cpu_times().user)


def times() -> tuple[float, float]:
    """Seconds of all processors: all, idle ones."""
    seen = psutil.cpu_times()
    idle = seen.idle + seen.iowait
    return seen.user + seen.nice + seen.system + seen.irq + seen.softirq + idle, idle


def test_processors_are_as_busy_as_the_kernel_says(driver: KvmDriver, host: Host, burner: Process) -> None:
    driver.load(host)
    total, idle = times()
    wait_until(lambda: used_seconds(burner) > 3, timeout=120, what="a busy processor")
    reported = driver.load(host).cpu
    later_total, later_idle = times()
    assert reported == pytest.approx(1 - (later_idle - idle) / (later_total - total), abs=TOLERANCE)


def test_free_memory_is_what_the_kernel_says(driver: KvmDriver, host: Host) -> None:
    seen = psutil.virtual_memory()
    free_mb = (seen.free + seen.buffers + seen.cached) / 2**20
    assert driver.load(host).memory_free_mb == pytest.approx(free_mb, abs=TOLERANCE * seen.total / 2**20)


class Kernel:
    """A host's counters as libvirt tells them, in seconds of the test; memory is half free."""

    now = busy = idle = 0.0

    def live(self, seconds: float, share: float) -> None:
        """So much time went by, so busy."""
        self.now += seconds
        self.busy += seconds * share
        self.idle += seconds * (1 - share)

    def boot(self) -> None:
        self.busy = self.idle = 0.0

    def getCPUStats(self, _which: int) -> dict[str, int]:  # noqa: N802 - libvirt's name
        half = int(self.busy * 1e9 / 2)
        return {"user": half, "kernel": half, "idle": int(self.idle * 1e9), "iowait": 0}

    def getMemoryStats(self, _which: int) -> dict[str, int]:  # noqa: N802 - libvirt's name
        return {"total": 2**21, "free": 2**18, "buffers": 2**18, "cached": 2**19}


def test_the_meter_sees_what_was_between_two_looks() -> None:
    kernel = Kernel()
    meter = LoadMeter(lambda: kernel.now)

    def cpu() -> float:
        return round(meter.read(kernel, "a").cpu, 3)

    kernel.live(100, 0.5)
    assert cpu() == 0.5, "since the boot"
    kernel.live(10, 0.8)
    assert cpu() == 0.8
    assert meter.read(kernel, "b").cpu == pytest.approx(58 / 110), "another host"
    kernel.live(SHORTEST_SPAN / 2, 0)
    assert cpu() == 0.8, "a moment is too short to be measured"
    kernel.live(SHORTEST_SPAN / 2, 0)
    assert cpu() == 0, "and is not lost"
    kernel.boot()
    kernel.live(20, 0.25)
    assert cpu() == 0.25, "since it was booted anew"
    assert meter.read(kernel, "a").memory_free_mb == 1024
