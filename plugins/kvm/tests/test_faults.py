"""libvirtd dies, falls silent, and the disk runs full: nothing hangs, nothing is lost, all of it is said."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from qrmd.api import (
    Attachment,
    Host,
    MachineDisk,
    MachineInfo,
    MachineState,
    OutcomeUnknown,
    StepFailed,
)
from qrmd.libvirt import Connections
from qrmd.libvirt.wire import Address, Peer, probe
from qrmd.process import run
from qrmd.testing.contracts.virtualization import INSTALLATION
from qrmd.testing.lab import LabAccess, hypervisor, lab
from qrmd.testing.needs import require
from qrmd.testing.waiting import wait_until
from qrmd_kvm.config import Config
from qrmd_kvm.driver import KvmDriver

from .conftest import Specs

OTHER_LAB = "kvm-tests-b"
ROUNDING = 1.5  # seconds above a deadline: two cores, TCG guests and other tests beside us


@pytest.fixture(autouse=True)
def _clean(driver: KvmDriver, host: Host, access: LabAccess) -> Iterator[None]:
    yield
    hypervisor.thaw_libvirtd(access)
    for machine in driver.machines(host, INSTALLATION):
        driver.power_off(host, machine.uuid)
        driver.undefine(host, machine.uuid)
    assert list(driver.owned(host, INSTALLATION)) == []


@pytest.fixture(scope="module")
def other_access() -> Iterator[LabAccess]:
    require("lab", "libvirt")
    yield lab.up(OTHER_LAB)
    lab.down(OTHER_LAB)


class Reports(list[MachineInfo]):
    """What a watch reported."""

    def __call__(self, _host: str, info: MachineInfo) -> None:
        self.append(info)

    def wait_for(self, uuid: str, state: MachineState, reason: str | None = None, timeout: float = 10) -> None:
        def seen() -> bool:
            return any(
                info.uuid == uuid and info.state is state and reason in {None, info.reason} for info in list(self)
            )

        wait_until(seen, timeout=timeout, what=f"a report of {uuid}: {state} {reason or ''}, not {list(self)}")


@contextmanager
def frozen(access: LabAccess) -> Iterator[None]:
    hypervisor.freeze_libvirtd(access)
    try:
        yield
    finally:
        hypervisor.thaw_libvirtd(access)


def end_within(seconds: float, call: Callable[[], object], *errors: type[Exception]) -> Exception:
    began = time.monotonic()
    with pytest.raises(errors) as caught:
        call()
    assert time.monotonic() - began < seconds + ROUNDING
    return caught.value


class TestKilled:
    def test_machines_are_found_again_and_events_flow_again(
        self, driver: KvmDriver, host: Host, access: LabAccess, spec_factory: Specs
    ) -> None:
        reports = Reports()
        first, second = spec_factory("web-1"), spec_factory("web-2")
        for spec in (first, second):
            driver.define(host, spec)
            driver.power_on(host, spec.uuid)
        stop = driver.watch(host, reports)
        try:
            hypervisor.kill_libvirtd(access)
            end_within(2, lambda: driver.find(host, first.uuid), StepFailed)
            hypervisor.restart_libvirtd(access)
            wait_until(
                lambda: _state(driver, host, first.uuid) is MachineState.RUNNING, what="the machine, found again"
            )
            assert {machine.uuid for machine in driver.machines(host, INSTALLATION)} == {first.uuid, second.uuid}

            def off_is_reported() -> bool:
                driver.power_on(host, first.uuid)
                driver.power_off(host, first.uuid)
                return any(info.uuid == first.uuid and info.state is MachineState.OFF for info in list(reports))

            wait_until(off_is_reported, timeout=20, interval=0.3, what="events after the restart")
        finally:
            stop()

    def test_what_happened_meanwhile_is_reported(
        self, driver: KvmDriver, host: Host, access: LabAccess, spec_factory: Specs
    ) -> None:
        reports = Reports()
        spec = spec_factory("web-1")
        driver.define(host, spec)
        driver.power_on(host, spec.uuid)
        stop = driver.watch(host, reports)
        try:
            hypervisor.kill_libvirtd(access)
            _kill_guest(spec.uuid)
            hypervisor.restart_libvirtd(access)
            reports.wait_for(spec.uuid, MachineState.OFF, timeout=20)
        finally:
            stop()

    def test_calls_in_flight_end(self, driver: KvmDriver, host: Host, access: LabAccess, spec_factory: Specs) -> None:
        spec = spec_factory("web-1")
        driver.define(host, spec)
        ends: list[Exception] = []

        def start_and_stop_for_ever() -> None:
            try:
                while True:
                    driver.power_on(host, spec.uuid)
                    driver.power_off(host, spec.uuid)
            except StepFailed as error:
                ends.append(error)

        thread = threading.Thread(target=start_and_stop_for_ever)
        thread.start()
        wait_until(lambda: _state(driver, host, spec.uuid) is MachineState.RUNNING, what="a first start")
        hypervisor.kill_libvirtd(access)
        thread.join(20)
        assert len(ends) == 1
        hypervisor.restart_libvirtd(access)
        driver.power_off(host, spec.uuid)
        assert _state(driver, host, spec.uuid) is MachineState.OFF


class TestMute:
    """libvirtd is stopped: it accepts connections and never answers."""

    def test_no_call_hangs_on_an_open_connection(
        self, driver: KvmDriver, host: Host, access: LabAccess, config: Config, spec_factory: Specs
    ) -> None:
        spec = spec_factory("web-1")
        driver.define(host, spec)
        with frozen(access):
            error = end_within(config.query_seconds, lambda: driver.find(host, spec.uuid), OutcomeUnknown)
            assert str(config.query_seconds) in str(error)
            assert host.name in str(error)
        assert _state(driver, host, spec.uuid) is MachineState.OFF

    @pytest.mark.parametrize("verb", ["power_on", "power_off", "undefine", "resume", "reset", "shutdown", "find"])
    def test_no_call_hangs_on_a_new_connection(
        self, driver: KvmDriver, host: Host, access: LabAccess, config: Config, verb: str
    ) -> None:
        uuid = "00000000-0000-4000-8000-00000000dead"
        with frozen(access):
            error = end_within(config.open_seconds, lambda: getattr(driver, verb)(host, uuid), StepFailed)
            assert "does not answer" in str(error)
            assert host.name in str(error)

    def test_no_other_call_hangs_on_a_new_connection(
        self, driver: KvmDriver, host: Host, access: LabAccess, config: Config, spec_factory: Specs
    ) -> None:
        spec = spec_factory("web-1")
        with frozen(access):
            for call in (
                lambda: driver.check(host),
                lambda: driver.load(host),
                lambda: driver.define(host, spec),
                lambda: driver.machines(host, INSTALLATION),
                lambda: driver.owned(host, INSTALLATION),
                lambda: driver.console_log(host, spec.uuid, 10),
            ):
                end_within(config.open_seconds, call, StepFailed)

    def test_silence_between_handshake_and_opening_is_bounded(
        self, host: Host, access: LabAccess, config: Config
    ) -> None:
        def probe_then_freeze(address: Address, seconds: float) -> Peer:
            peer = probe(address, seconds)
            hypervisor.freeze_libvirtd(access)
            return peer

        connections = Connections(config.open_seconds, probe_then_freeze)
        error = end_within(config.open_seconds, lambda: connections.open(host), StepFailed)
        assert "did not open" in str(error)
        hypervisor.thaw_libvirtd(access)
        driver = KvmDriver(INSTALLATION, config)
        assert driver.load(host).memory_free_mb > 0
        driver.close()

    def test_abort_ends_a_hung_call_at_once(self, host: Host, access: LabAccess, config: Config) -> None:
        driver = KvmDriver(INSTALLATION, replace(config, query_seconds=600))
        driver.load(host)
        ended = threading.Event()
        errors: list[Exception] = []

        def look() -> None:
            try:
                driver.load(host)
            except StepFailed as error:
                errors.append(error)
            ended.set()

        with frozen(access):
            threading.Thread(target=look, daemon=True).start()
            assert not ended.wait(0.5)
            began = time.monotonic()
            driver.abort(host)
            assert ended.wait(ROUNDING)
            assert time.monotonic() - began < ROUNDING
        assert isinstance(errors[0], OutcomeUnknown)
        assert driver.load(host).memory_free_mb > 0
        driver.close()

    def test_another_host_is_not_delayed(
        self,
        driver: KvmDriver,
        host: Host,
        access: LabAccess,
        other_access: LabAccess,
        config: Config,
        spec_factory: Specs,
    ) -> None:
        other = replace(host, id=8, name="b", uri=other_access.libvirt_uri)
        spec = spec_factory("web-1")
        driver.define(other, spec)
        hung = threading.Thread(target=lambda: end_within(60, lambda: driver.load(host), StepFailed))
        with frozen(access):
            hung.start()
            slowest = 0.0
            while hung.is_alive():
                began = time.monotonic()
                driver.find(other, spec.uuid)
                slowest = max(slowest, time.monotonic() - began)
            assert slowest < config.open_seconds / 2
        driver.undefine(other, spec.uuid)
        assert list(driver.owned(other, INSTALLATION)) == []

    def test_watch_comes_back(self, driver: KvmDriver, host: Host, access: LabAccess, spec_factory: Specs) -> None:
        spec = spec_factory("web-1")
        driver.define(host, spec)
        reports = Reports()
        with frozen(access):
            stop = driver.watch(host, reports)
        try:
            reports.wait_for(spec.uuid, MachineState.OFF, timeout=20)
            driver.power_on(host, spec.uuid)
            reports.wait_for(spec.uuid, MachineState.RUNNING)
        finally:
            stop()

    def test_connections_do_not_pile_up(self, driver: KvmDriver, host: Host, access: LabAccess) -> None:
        driver.load(host)
        before = _descriptors()
        with frozen(access):
            for _ in range(3):
                with pytest.raises(StepFailed):
                    driver.load(host)
        driver.load(host)
        assert _descriptors() <= before


class TestDiskFull:
    @pytest.fixture
    def small_disk(self, access: LabAccess) -> Iterator[Path]:
        """A file system of 24 MiB, seen by the lab's hypervisor too."""
        place = access.state_dir / "lib" / "small"
        place.mkdir()
        libvirtd = hypervisor.find_libvirtd(access)
        assert libvirtd is not None
        inside = ["nsenter", f"--mount=/proc/{libvirtd.pid}/ns/mnt", "--"]
        mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
        run([*inside, *mount], timeout=10)
        yield Path(f"/proc/{libvirtd.pid}/root{place}")
        run([*inside, "umount", "-l", str(place)], timeout=10)
        place.rmdir()

    def test_guest_is_paused_and_goes_on(
        self, driver: KvmDriver, host: Host, access: LabAccess, spec_factory: Specs, small_disk: Path
    ) -> None:
        overlay, ballast = small_disk / "disk.qcow2", small_disk / "ballast"
        backing = ["-b", str(access.micro_image), "-F", "qcow2"]
        run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(overlay)], timeout=10)
        ballast.write_bytes(b"\0" * (small_disk_free(small_disk) - 256 * 1024))
        place = access.state_dir / "lib" / "small" / "disk.qcow2"
        disk = MachineDisk(Attachment("file", str(place), "qcow2"), "vda")
        seed = {"meta-data": "instance-id: 1\nlocal-hostname: web-1\n", "user-data": "#cloud-config\n"}
        spec = spec_factory("web-1", disks=(disk,), memory_mb=256, seed=seed)
        reports = Reports()
        driver.define(host, spec)
        stop = driver.watch(host, reports)
        try:
            driver.power_on(host, spec.uuid)
            reports.wait_for(spec.uuid, MachineState.PAUSED, "ioerror-enospc", timeout=60)
            found = driver.find(host, spec.uuid)
            assert found is not None
            assert (found.state, found.reason) == (MachineState.PAUSED, "ioerror-enospc")
            ballast.unlink()
            reports.clear()
            driver.resume(host, spec.uuid)
            reports.wait_for(spec.uuid, MachineState.RUNNING)
            wait_until(
                lambda: "web-1 is ready" in driver.console_log(host, spec.uuid, 65536), timeout=60, what="the guest"
            )
            assert _state(driver, host, spec.uuid) is MachineState.RUNNING
        finally:
            stop()
            driver.power_off(host, spec.uuid)


def small_disk_free(place: Path) -> int:
    status = os.statvfs(place)
    return status.f_bavail * status.f_frsize


def _state(driver: KvmDriver, host: Host, uuid: str) -> MachineState | None:
    try:
        found = driver.find(host, uuid)
    except StepFailed:
        return None
    return found.state if found else None


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _kill_guest(uuid: str) -> None:
    """As a crash of the hypervisor process would."""
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            argv = (directory / "cmdline").read_bytes()
        except OSError:
            continue
        if b"qemu-system" in argv and uuid.encode() in argv:
            os.kill(int(directory.name), signal.SIGKILL)
