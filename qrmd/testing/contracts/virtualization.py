"""What every ``VirtualizationDriver`` must do.

A plugin's tests subclass ``VirtualizationContract`` and provide four fixtures:

``driver``
    the driver under test, made for ``INSTALLATION``.
``host``
    a ``qrmd.model.Host`` that it reaches.
``spec_factory``
    ``(name, **changes) -> MachineSpec``: tagged for ``INSTALLATION``, a new UUID at each call, a seed with
    ``meta-data`` and ``user-data``, able to run for a minute without a guest system.
``plant``
    ``(name, installation) -> uuid``: makes a machine on the host without the driver, running, tagged for another
    installation or (None) not tagged at all, and removes it after the test. ``plant.state(uuid)`` tells its state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol
from uuid import uuid4

import pytest

from qrmd.drivers import Found, MachineInfo, MachineSpec, MachineState, OwnerTag, VirtualizationDriver
from qrmd.errors import PreconditionFailed, QrmdError
from qrmd.model import Host
from qrmd.testing.waiting import wait_until

INSTALLATION = "0c0ffee0-0000-4000-8000-000000000001"
OTHER_INSTALLATION = "0ddba110-0000-4000-8000-000000000002"
UNKNOWN = "00000000-0000-4000-8000-00000000dead"
HOSTILE_NAMES = (
    "a'b", 'a"b', "a b", "a\nb", "a;b", "../a", "a/b", "<a>", "&amp;", "$(a)", "a\x00b", "-a", "", "A", "ä",
    "a" * 10_000,
)  # fmt: skip


class SpecFactory(Protocol):
    """Makes specifications."""

    def __call__(self, name: str, **changes: Any) -> MachineSpec:
        """A new one; ``changes`` are fields of ``MachineSpec``."""
        ...


class Plant(Protocol):
    """Makes machines that are not ours."""

    def __call__(self, name: str, installation: str | None) -> str:
        """The UUID of a running machine."""
        ...

    def state(self, uuid: str) -> MachineState:
        """Its state, not asked of the driver."""
        ...


VERBS: Mapping[str, Callable[[VirtualizationDriver, Host, str], object]] = {
    "undefine": lambda driver, host, uuid: driver.undefine(host, uuid),
    "power_on": lambda driver, host, uuid: driver.power_on(host, uuid),
    "shutdown": lambda driver, host, uuid: driver.shutdown(host, uuid),
    "power_off": lambda driver, host, uuid: driver.power_off(host, uuid),
    "reset": lambda driver, host, uuid: driver.reset(host, uuid),
    "resume": lambda driver, host, uuid: driver.resume(host, uuid),
}


class VirtualizationContract:
    """Subclass it with the fixtures of this module's first page."""

    @pytest.fixture(autouse=True)
    def _swept(self, driver: VirtualizationDriver, host: Host) -> Iterator[None]:
        yield
        for machine in driver.machines(host, INSTALLATION):
            driver.power_off(host, machine.uuid)
            driver.undefine(host, machine.uuid)
        assert list(driver.owned(host, INSTALLATION)) == []

    @pytest.fixture
    def spec(self, spec_factory: SpecFactory) -> MachineSpec:
        return spec_factory("web-1")

    def test_host_tells_its_size(self, driver: VirtualizationDriver, host: Host) -> None:
        facts = driver.check(host)
        assert facts.cpus > 0
        assert facts.memory_mb > 0
        assert facts.hostname
        assert facts.version
        assert driver.check(host).problems == facts.problems

    def test_host_tells_its_load(self, driver: VirtualizationDriver, host: Host) -> None:
        if not driver.capabilities.measures_load:
            return  # nobody asks it
        total = driver.check(host).memory_mb
        for load in (driver.load(host), driver.load(host)):  # the second has the first to compare with
            assert 0 <= load.cpu <= 1, "a share of all processors, no percentage"
            assert total / 1000 < load.memory_free_mb <= total, "MiB, of a host that is not full"

    def test_defined_machine_is_off_and_found(
        self, driver: VirtualizationDriver, host: Host, spec: MachineSpec
    ) -> None:
        driver.define(host, spec)
        found = driver.find(host, spec.uuid)
        assert found is not None
        assert (found.uuid, found.name, found.state) == (spec.uuid, spec.name, MachineState.OFF)
        assert (found.subject, found.cpus, found.memory_mb) == (spec.tag.subject, spec.cpus, spec.memory_mb)
        assert list(driver.machines(host, INSTALLATION)) == [found]

    def test_defining_again_changes_nothing(self, driver: VirtualizationDriver, host: Host, spec: MachineSpec) -> None:
        driver.define(host, spec)
        before = (driver.find(host, spec.uuid), _listed(driver, host))
        driver.define(host, spec)
        assert (driver.find(host, spec.uuid), _listed(driver, host)) == before
        driver.power_on(host, spec.uuid)
        driver.define(host, spec)
        assert _state(driver, host, spec) is MachineState.RUNNING

    def test_definition_of_a_stopped_machine_can_change(
        self, driver: VirtualizationDriver, host: Host, spec: MachineSpec
    ) -> None:
        driver.define(host, spec)
        driver.define(host, replace(spec, memory_mb=spec.memory_mb * 2))
        found = driver.find(host, spec.uuid)
        assert found is not None
        assert found.memory_mb == spec.memory_mb * 2

    def test_definition_of_a_running_machine_does_not_change(
        self, driver: VirtualizationDriver, host: Host, spec: MachineSpec
    ) -> None:
        driver.define(host, spec)
        driver.power_on(host, spec.uuid)
        with pytest.raises(PreconditionFailed):
            driver.define(host, replace(spec, memory_mb=spec.memory_mb * 2))
        assert _state(driver, host, spec) is MachineState.RUNNING

    def test_name_of_another_machine_is_refused(
        self, driver: VirtualizationDriver, host: Host, spec: MachineSpec, spec_factory: SpecFactory
    ) -> None:
        driver.define(host, spec)
        twin = spec_factory(spec.name)
        with pytest.raises(PreconditionFailed, match=spec.name):
            driver.define(host, twin)
        driver.undefine(host, twin.uuid)
        assert {item.external_id for item in driver.owned(host, INSTALLATION)} == {spec.uuid}

    def test_power_verbs_are_idempotent(self, driver: VirtualizationDriver, host: Host, spec: MachineSpec) -> None:
        driver.define(host, spec)
        for _ in range(2):
            driver.power_on(host, spec.uuid)
            assert _state(driver, host, spec) is MachineState.RUNNING
        driver.resume(host, spec.uuid)
        driver.reset(host, spec.uuid)
        assert _state(driver, host, spec) is MachineState.RUNNING
        for _ in range(2):
            driver.power_off(host, spec.uuid)
            assert _state(driver, host, spec) is MachineState.OFF
        driver.shutdown(host, spec.uuid)
        assert _state(driver, host, spec) is MachineState.OFF

    def test_shutdown_asks_and_returns(self, driver: VirtualizationDriver, host: Host, spec: MachineSpec) -> None:
        driver.define(host, spec)
        driver.power_on(host, spec.uuid)
        driver.shutdown(host, spec.uuid)
        driver.shutdown(host, spec.uuid)
        assert driver.find(host, spec.uuid) is not None

    def test_unknown_machine_is_fine_where_nothing_is_to_do(self, driver: VirtualizationDriver, host: Host) -> None:
        driver.power_off(host, UNKNOWN)
        driver.undefine(host, UNKNOWN)
        assert driver.find(host, UNKNOWN) is None

    @pytest.mark.parametrize("verb", ["power_on", "reset", "resume"])
    def test_unknown_machine_is_refused_elsewhere(self, driver: VirtualizationDriver, host: Host, verb: str) -> None:
        with pytest.raises(PreconditionFailed, match=UNKNOWN):
            VERBS[verb](driver, host, UNKNOWN)

    def test_running_machine_is_not_removed(self, driver: VirtualizationDriver, host: Host, spec: MachineSpec) -> None:
        driver.define(host, spec)
        driver.power_on(host, spec.uuid)
        before = _listed(driver, host)
        with pytest.raises(PreconditionFailed):
            driver.undefine(host, spec.uuid)
        assert _state(driver, host, spec) is MachineState.RUNNING
        assert _listed(driver, host) == before

    def test_removal_leaves_nothing(self, driver: VirtualizationDriver, host: Host, spec: MachineSpec) -> None:
        driver.define(host, spec)
        driver.power_on(host, spec.uuid)
        driver.power_off(host, spec.uuid)
        listed = driver.owned(host, INSTALLATION)
        assert {(item.external_id, item.place, item.subject) for item in listed} == {
            (spec.uuid, f"host:{host.id}", spec.tag.subject)
        }
        for _ in range(2):
            driver.undefine(host, spec.uuid)
            assert list(driver.owned(host, INSTALLATION)) == []
        assert driver.find(host, spec.uuid) is None

    def test_orphan_is_removed_whatever_its_state(
        self, driver: VirtualizationDriver, host: Host, spec: MachineSpec
    ) -> None:
        driver.define(host, spec)
        driver.power_on(host, spec.uuid)
        for item in driver.owned(host, INSTALLATION):
            driver.remove_found(host, item)
        assert list(driver.owned(host, INSTALLATION)) == []

    @pytest.mark.parametrize("installation", [None, OTHER_INSTALLATION])
    def test_foreign_machine_is_never_listed(
        self, driver: VirtualizationDriver, host: Host, plant: Plant, installation: str | None
    ) -> None:
        uuid = plant("foreign", installation)
        assert driver.find(host, uuid) is None
        assert list(driver.machines(host, INSTALLATION)) == []
        assert list(driver.owned(host, INSTALLATION)) == []

    @pytest.mark.parametrize("installation", [None, OTHER_INSTALLATION])
    @pytest.mark.parametrize("verb", sorted(VERBS))
    def test_foreign_machine_is_never_touched(
        self, driver: VirtualizationDriver, host: Host, plant: Plant, installation: str | None, verb: str
    ) -> None:
        uuid = plant("foreign", installation)
        with pytest.raises(PreconditionFailed, match=uuid):
            VERBS[verb](driver, host, uuid)
        assert plant.state(uuid) is MachineState.RUNNING

    @pytest.mark.parametrize("installation", [None, OTHER_INSTALLATION])
    def test_foreign_machine_is_not_redefined(
        self,
        driver: VirtualizationDriver,
        host: Host,
        plant: Plant,
        spec_factory: SpecFactory,
        installation: str | None,
    ) -> None:
        uuid = plant("foreign", installation)
        for spec in (replace(spec_factory("web-1"), uuid=uuid), spec_factory("foreign")):
            with pytest.raises(PreconditionFailed):
                driver.define(host, spec)
        with pytest.raises(PreconditionFailed):
            driver.remove_found(host, Found("domain", uuid, f"host:{host.id}"))
        assert plant.state(uuid) is MachineState.RUNNING

    def test_machine_for_another_installation_is_refused(
        self, driver: VirtualizationDriver, host: Host, spec: MachineSpec
    ) -> None:
        with pytest.raises(PreconditionFailed):
            driver.define(host, replace(spec, tag=OwnerTag(OTHER_INSTALLATION, spec.tag.subject)))
        assert driver.find(host, spec.uuid) is None

    @pytest.mark.parametrize("name", HOSTILE_NAMES, ids=range(len(HOSTILE_NAMES)))
    def test_hostile_name_is_refused(
        self, driver: VirtualizationDriver, host: Host, spec: MachineSpec, name: str
    ) -> None:
        with pytest.raises(PreconditionFailed):
            driver.define(host, replace(spec, name=name))
        assert list(driver.owned(host, INSTALLATION)) == []

    @pytest.mark.parametrize("uuid", ["", "x", "../../etc/passwd", "00000000-0000-4000-8000-00000000000", "a\n"])
    def test_hostile_uuid_is_refused(
        self, driver: VirtualizationDriver, host: Host, spec: MachineSpec, uuid: str
    ) -> None:
        with pytest.raises(PreconditionFailed):
            driver.define(host, replace(spec, uuid=uuid))
        with pytest.raises(PreconditionFailed):
            driver.undefine(host, uuid)

    def test_console_log_is_text_within_its_limit(
        self, driver: VirtualizationDriver, host: Host, spec: MachineSpec
    ) -> None:
        driver.define(host, spec)
        assert driver.console_log(host, spec.uuid, 1000) == ""
        driver.power_on(host, spec.uuid)
        assert len(driver.console_log(host, spec.uuid, 10).encode()) <= 10 * 3  # a cut character becomes U+FFFD

    def test_changes_are_reported(self, driver: VirtualizationDriver, host: Host, spec: MachineSpec) -> None:
        reports: list[tuple[str, MachineInfo]] = []
        driver.define(host, spec)
        stop = driver.watch(host, lambda name, info: reports.append((name, info)))
        try:
            driver.power_on(host, spec.uuid)
            _wait_for(reports, host, spec, MachineState.RUNNING)
            reports.clear()
            driver.power_off(host, spec.uuid)
            _wait_for(reports, host, spec, MachineState.OFF)
        finally:
            stop()

    def test_nothing_is_reported_of_foreign_machines_or_after_the_end(
        self, driver: VirtualizationDriver, host: Host, plant: Plant, spec: MachineSpec
    ) -> None:
        reports: list[tuple[str, MachineInfo]] = []
        stop = driver.watch(host, lambda name, info: reports.append((name, info)))
        plant("foreign", None)
        driver.define(host, spec)
        driver.power_on(host, spec.uuid)
        _wait_for(reports, host, spec, MachineState.RUNNING)
        assert {info.uuid for _name, info in reports} == {spec.uuid}
        stop()
        count = len(reports)
        driver.power_off(host, spec.uuid)
        assert _state(driver, host, spec) is MachineState.OFF
        assert len(reports) == count

    def test_driver_works_after_abort(self, driver: VirtualizationDriver, host: Host, spec: MachineSpec) -> None:
        driver.define(host, spec)
        driver.abort(host)
        assert _state(driver, host, spec) is MachineState.OFF

    def test_unreachable_host_is_an_error_of_ours(self, driver: VirtualizationDriver, host: Host) -> None:
        nowhere = replace(host, id=host.id + 1, name="nowhere", uri=self.unreachable_uri())
        for call in (driver.check, driver.load, lambda away: driver.find(away, str(uuid4()))):
            with pytest.raises(QrmdError):
                call(nowhere)

    def unreachable_uri(self) -> str:
        """A URI of the driver's kind where nobody answers."""
        raise NotImplementedError


def _state(driver: VirtualizationDriver, host: Host, spec: MachineSpec) -> MachineState | None:
    found = driver.find(host, spec.uuid)
    return found.state if found else None


def _listed(driver: VirtualizationDriver, host: Host) -> set[tuple[str, str]]:
    """What is owned, without the console, which appears with the first start."""
    return {(item.kind, item.external_id) for item in driver.owned(host, INSTALLATION) if item.kind != "console"}


def _wait_for(reports: list[tuple[str, MachineInfo]], host: Host, spec: MachineSpec, state: MachineState) -> None:
    def seen() -> bool:
        return any(name == host.name and info.uuid == spec.uuid and info.state is state for name, info in list(reports))

    wait_until(seen, what=f"a report that {spec.name} is {state}")
