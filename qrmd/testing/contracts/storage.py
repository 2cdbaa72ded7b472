"""What every storage driver must do, as tests.

Derive ``StorageContract`` in a test module and give it the fixtures named there. A driver that passes serves its
deployment type as the core expects.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import pytest

from qrmd.drivers import OwnerTag, StorageDriver
from qrmd.errors import InvalidInput, NotFound, PreconditionFailed, QrmdError
from qrmd.model import Storage

INSTALLATION = "11111111-1111-4111-8111-111111111111"
"""Whose driver ``driver`` is."""
STRANGER = "22222222-2222-4222-8222-222222222222"
"""Whose driver ``stranger`` is."""

TAG = OwnerTag(INSTALLATION, "appliance:12")
BASE_TAG = OwnerTag(INSTALLATION, "image:3")

MakeImage = Callable[[str, int], Path]
"""(format, MiB) → an image file whose first 64 KiB are all 0x11, the rest a hole."""

HOSTILE_NAMES = (
    "", ".", "..", "../x", "a/b", "/etc/x", "-rf", ".hidden", "a b", "a\nb", "a\0b", "a;b", "a,b", "a:b", "A",
    "a..b", "ä", "a" * 10_000,
)  # fmt: skip


class Disks(Protocol):
    """A look behind the driver's back, for tests."""

    def holds(self, volume: str, byte: int, offset: int, length: int) -> bool:
        """Whether a guest would read only ``byte`` there."""
        ...

    def write(self, volume: str, byte: int, offset: int, length: int) -> None:
        """Write as a guest would."""
        ...

    def plant_foreign(self, volume: str) -> None:
        """Make a volume of that name without any tag of ours."""
        ...

    def plant_half_made(self, volume: str) -> None:
        """Leave what a crash in the middle of making it for INSTALLATION leaves."""
        ...

    def content(self, volume: str) -> bytes:
        """The raw bytes of a planted foreign volume."""
        ...


class StorageContract:
    """Needs fixtures ``driver``, ``stranger``, ``storage``, ``make_image`` and ``disks``."""

    @pytest.fixture(params=["raw", "qcow2"])
    def fmt(self, request: pytest.FixtureRequest, driver: StorageDriver) -> str:
        """A format that the driver knows."""
        fmt = str(request.param)
        if fmt not in driver.capabilities.formats:
            pytest.skip(f"{driver.deployment_type} has no {fmt} volumes")
        return fmt

    @pytest.fixture
    def base(self, driver: StorageDriver, storage: Storage, make_image: MakeImage, fmt: str) -> str:
        """An imported image of 8 MiB."""
        driver.import_file(storage, "base", make_image(fmt, 8), fmt, BASE_TAG)
        return "base"

    # ---------------------------------------------------------------- looking

    def test_check_finds_nothing_missing(self, driver: StorageDriver, storage: Storage) -> None:
        assert list(driver.check(storage)) == []

    def test_usage_is_in_megabytes(self, driver: StorageDriver, storage: Storage) -> None:
        usage = driver.usage(storage)
        assert 0 < usage.free_mb <= usage.total_mb < 1 << 40

    def test_inspect_says_format_and_size(
        self, driver: StorageDriver, storage: Storage, make_image: MakeImage, fmt: str
    ) -> None:
        facts = driver.inspect(storage, make_image(fmt, 8), fmt)
        assert (facts.format, facts.size_mb) == (fmt, 8)

    def test_inspect_refuses_another_format_than_declared(
        self, driver: StorageDriver, storage: Storage, make_image: MakeImage
    ) -> None:
        with pytest.raises(InvalidInput):
            driver.inspect(storage, make_image("qcow2", 8), "raw")
        with pytest.raises(InvalidInput):
            driver.inspect(storage, make_image("raw", 8), "qcow2")

    def test_an_unknown_volume_is_not_found(self, driver: StorageDriver, storage: Storage) -> None:
        assert driver.find(storage, "nothing") is None
        with pytest.raises(NotFound):
            driver.export(storage, "nothing", "resource:1")
        with pytest.raises(NotFound):
            driver.resize(storage, "nothing", 8)
        with pytest.raises(NotFound):
            driver.clone(storage, "nothing", "web", 8, TAG)
        assert driver.find(storage, "web") is None

    # ---------------------------------------------------------------- making

    def test_import_is_complete_and_tagged(
        self, driver: StorageDriver, storage: Storage, disks: Disks, base: str, fmt: str
    ) -> None:
        facts = driver.find(storage, base)
        assert facts is not None
        assert (facts.name, facts.format, facts.size_mb, facts.complete) == (base, fmt, 8, True)
        assert disks.holds(base, 0x11, 0, 65536)
        [found] = driver.owned(storage, INSTALLATION)
        assert (found.external_id, found.subject, found.place) == (base, "image:3", f"storage:{storage.id}")

    def test_import_of_something_else_leaves_nothing(
        self, driver: StorageDriver, storage: Storage, make_image: MakeImage
    ) -> None:
        with pytest.raises(InvalidInput):
            driver.import_file(storage, "base", make_image("qcow2", 8), "raw", BASE_TAG)
        assert driver.find(storage, "base") is None
        assert list(driver.owned(storage, INSTALLATION)) == []

    def test_import_again_changes_nothing(
        self, driver: StorageDriver, storage: Storage, make_image: MakeImage, disks: Disks, base: str, fmt: str
    ) -> None:
        disks.write(base, 0x22, 0, 4096)
        driver.import_file(storage, base, make_image(fmt, 8), fmt, BASE_TAG)
        assert disks.holds(base, 0x22, 0, 4096)

    @pytest.mark.parametrize("verb", ["clone", "copy"])
    def test_a_copy_is_grown_and_independent(
        self, driver: StorageDriver, storage: Storage, disks: Disks, base: str, verb: str
    ) -> None:
        facts = getattr(driver, verb)(storage, base, "web", 16, TAG)
        assert (facts.name, facts.size_mb, facts.complete) == ("web", 16, True)
        assert driver.find(storage, "web") == facts
        assert disks.holds("web", 0x11, 0, 65536)
        assert disks.holds("web", 0x00, 15 << 20, 65536)
        disks.write("web", 0x22, 0, 8192)
        disks.write("web", 0x33, 12 << 20, 4096)
        assert disks.holds("web", 0x22, 0, 8192)
        assert disks.holds("web", 0x33, 12 << 20, 4096)
        assert disks.holds(base, 0x11, 0, 65536)

    @pytest.mark.parametrize("verb", ["clone", "copy"])
    def test_a_copy_is_never_smaller_than_its_source(
        self, driver: StorageDriver, storage: Storage, base: str, verb: str
    ) -> None:
        assert getattr(driver, verb)(storage, base, "web", 1, TAG).size_mb == 8

    @pytest.mark.parametrize("verb", ["clone", "copy"])
    def test_again_is_the_same(
        self, driver: StorageDriver, storage: Storage, disks: Disks, base: str, verb: str
    ) -> None:
        make = getattr(driver, verb)
        make(storage, base, "web", 16, TAG)
        disks.write("web", 0x22, 0, 4096)
        make(storage, base, "web", 16, TAG)
        assert disks.holds("web", 0x22, 0, 4096)

    @pytest.mark.parametrize("verb", ["clone", "copy"])
    def test_a_name_of_another_object_is_refused(
        self, driver: StorageDriver, storage: Storage, base: str, verb: str
    ) -> None:
        driver.copy(storage, base, "web", 8, TAG)
        with pytest.raises(PreconditionFailed):
            getattr(driver, verb)(storage, base, "web", 8, OwnerTag(INSTALLATION, "appliance:13"))

    def test_a_full_copy_outlives_its_source(
        self, driver: StorageDriver, storage: Storage, disks: Disks, base: str
    ) -> None:
        driver.clone(storage, base, "middle", 8, TAG)
        driver.copy(storage, "middle", "web", 8, TAG)
        driver.remove(storage, "middle")
        driver.remove(storage, base)
        assert disks.holds("web", 0x11, 0, 65536)

    def test_a_source_that_clones_need_stays(
        self, driver: StorageDriver, storage: Storage, disks: Disks, base: str
    ) -> None:
        """Either the clone does not depend on its source, or the source can't be removed."""
        driver.clone(storage, base, "web", 8, TAG)
        refusal = None
        try:
            driver.remove(storage, base)
        except PreconditionFailed as error:
            refusal = error.message
        gone = driver.find(storage, base) is None
        assert gone == (refusal is None)
        assert gone or "web" in str(refusal)
        assert disks.holds("web", 0x11, 0, 65536)

    def test_concurrent_clones(self, driver: StorageDriver, storage: Storage, disks: Disks, base: str) -> None:
        names = [f"web-{number}" for number in range(12)]
        with ThreadPoolExecutor(6) as pool:
            facts = list(pool.map(lambda name: driver.clone(storage, base, name, 16, TAG), names))
        assert [(one.name, one.size_mb) for one in facts] == [(name, 16) for name in names]
        assert {found.external_id for found in driver.owned(storage, INSTALLATION)} == {base, *names}
        disks.write(names[0], 0x22, 0, 4096)
        assert disks.holds(names[1], 0x11, 0, 65536)

    def test_one_clone_asked_for_by_two(self, driver: StorageDriver, storage: Storage, base: str) -> None:
        """An abandoned attempt may still run beside its successor: one volume, no debris."""

        def clone(_number: int) -> bool:
            try:
                return driver.clone(storage, base, "web", 16, TAG).complete
            except QrmdError:
                return False

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(clone, range(8)))
        assert driver.clone(storage, base, "web", 16, TAG).size_mb == 16
        driver.remove(storage, "web")
        assert [found.external_id for found in driver.owned(storage, INSTALLATION)] == [base]

    # ---------------------------------------------------------------- growing

    def test_growing(self, driver: StorageDriver, storage: Storage, disks: Disks, base: str) -> None:
        assert driver.resize(storage, base, 20).size_mb == 20
        assert driver.resize(storage, base, 20).size_mb == 20
        assert disks.holds(base, 0x11, 0, 65536)
        assert disks.holds(base, 0x00, 19 << 20, 65536)

    @pytest.mark.parametrize("size_mb", [7, 0, -1, 1 << 50])
    def test_shrinking_and_absurd_sizes_are_refused(
        self, driver: StorageDriver, storage: Storage, base: str, size_mb: int
    ) -> None:
        with pytest.raises(InvalidInput):
            driver.resize(storage, base, size_mb)
        facts = driver.find(storage, base)
        assert facts is not None
        assert facts.size_mb == 8

    # ---------------------------------------------------------------- giving and taking

    def test_export_and_unexport_again(self, driver: StorageDriver, storage: Storage, base: str, fmt: str) -> None:
        first = driver.export(storage, base, "resource:7")
        assert first == driver.export(storage, base, "resource:7")
        assert first.format == fmt
        driver.unexport(storage, base, "resource:7")
        driver.unexport(storage, base, "resource:7")
        driver.unexport(storage, "nothing", "resource:7")

    def test_remove_leaves_nothing(self, driver: StorageDriver, storage: Storage, base: str) -> None:
        driver.clone(storage, base, "web", 16, TAG)
        for name in ("web", "web", base, base, "nothing"):
            driver.remove(storage, name)
            assert driver.find(storage, name) is None
        assert list(driver.owned(storage, INSTALLATION)) == []

    # ---------------------------------------------------------------- crashes

    def test_a_half_made_volume_is_never_complete(self, driver: StorageDriver, storage: Storage, disks: Disks) -> None:
        disks.plant_half_made("web")
        facts = driver.find(storage, "web")
        assert facts is None or not facts.complete
        with pytest.raises(NotFound):
            driver.export(storage, "web", "resource:7")
        assert [found.external_id for found in driver.owned(storage, INSTALLATION)] == ["web"]

    def test_a_half_made_volume_is_swept(self, driver: StorageDriver, storage: Storage, disks: Disks) -> None:
        disks.plant_half_made("web")
        driver.remove(storage, "web")
        assert driver.find(storage, "web") is None
        assert list(driver.owned(storage, INSTALLATION)) == []

    @pytest.mark.parametrize("verb", ["clone", "copy"])
    def test_a_half_made_volume_is_made_again(
        self, driver: StorageDriver, storage: Storage, disks: Disks, base: str, verb: str
    ) -> None:
        disks.plant_half_made("web")
        assert getattr(driver, verb)(storage, base, "web", 16, TAG).complete
        assert disks.holds("web", 0x11, 0, 65536)
        driver.remove(storage, "web")
        assert [found.external_id for found in driver.owned(storage, INSTALLATION)] == [base]

    # ---------------------------------------------------------------- what is not ours

    def test_a_volume_without_a_tag_is_never_touched(
        self, driver: StorageDriver, storage: Storage, disks: Disks, base: str, make_image: MakeImage, fmt: str
    ) -> None:
        disks.plant_foreign("precious")
        before = disks.content("precious")
        image = make_image(fmt, 8)
        attempts: tuple[Callable[[], object], ...] = (
            lambda: driver.remove(storage, "precious"),
            lambda: driver.resize(storage, "precious", 64),
            lambda: driver.clone(storage, base, "precious", 8, TAG),
            lambda: driver.copy(storage, base, "precious", 8, TAG),
            lambda: driver.clone(storage, "precious", "web", 8, TAG),
            lambda: driver.export(storage, "precious", "resource:7"),
            lambda: driver.import_file(storage, "precious", image, fmt, TAG),
        )
        for attempt in attempts:
            with pytest.raises(PreconditionFailed):
                attempt()
        assert disks.content("precious") == before
        assert [found.external_id for found in driver.owned(storage, INSTALLATION)] == [base]

    def test_a_volume_of_another_installation_is_never_touched(
        self, driver: StorageDriver, stranger: StorageDriver, storage: Storage, disks: Disks, base: str
    ) -> None:
        attempts: tuple[Callable[[], object], ...] = (
            lambda: stranger.remove(storage, base),
            lambda: stranger.resize(storage, base, 64),
            lambda: stranger.clone(storage, base, "web", 8, OwnerTag(STRANGER, "appliance:1")),
            lambda: stranger.export(storage, base, "resource:7"),
        )
        for attempt in attempts:
            with pytest.raises(PreconditionFailed):
                attempt()
        assert stranger.find(storage, base) is None
        assert list(stranger.owned(storage, STRANGER)) == []
        facts = driver.find(storage, base)
        assert facts is not None
        assert facts.size_mb == 8
        assert disks.holds(base, 0x11, 0, 65536)

    @pytest.mark.parametrize("name", HOSTILE_NAMES, ids=lambda name: ascii(name)[:12])
    def test_hostile_names_are_refused(
        self, driver: StorageDriver, storage: Storage, make_image: MakeImage, name: str
    ) -> None:
        image = make_image("raw", 1)
        attempts: tuple[Callable[[], object], ...] = (
            lambda: driver.find(storage, name),
            lambda: driver.remove(storage, name),
            lambda: driver.resize(storage, name, 8),
            lambda: driver.export(storage, name, "resource:7"),
            lambda: driver.unexport(storage, name, "resource:7"),
            lambda: driver.clone(storage, name, "web", 8, TAG),
            lambda: driver.copy(storage, "web", name, 8, TAG),
            lambda: driver.import_file(storage, name, image, "raw", TAG),
        )
        for attempt in attempts:
            with pytest.raises(InvalidInput):
                attempt()
        assert list(driver.owned(storage, INSTALLATION)) == []
