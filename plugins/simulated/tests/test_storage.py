"""Simulated storage keeps the same contract as a real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qrmd.api import OwnerTag, Storage
from qrmd.testing.contracts.storage import BASE_TAG, INSTALLATION, STRANGER, TAG, MakeImage, StorageContract
from qrmd_simulated.storage import SimulatedStorage
from qrmd_simulated.volumes import PAGE, Volume, Volumes

POOL = "fast"


@pytest.fixture
def volumes(tmp_path: Path) -> Iterator[Volumes]:
    volumes = Volumes(tmp_path)
    yield volumes
    volumes.close()


@pytest.fixture
def driver(volumes: Volumes) -> SimulatedStorage:
    return SimulatedStorage(INSTALLATION, volumes, blocking=False)


@pytest.fixture
def stranger(volumes: Volumes) -> SimulatedStorage:
    return SimulatedStorage(STRANGER, volumes, blocking=False)


@pytest.fixture
def storage() -> Storage:
    return Storage(2, "fast", "simulated", f"simulated://{POOL}?capacity_mb=1000000")


@pytest.fixture
def make_image(tmp_path: Path) -> MakeImage:
    def make(fmt: str, size_mb: int) -> Path:
        path = tmp_path / f"image-{size_mb}.{fmt}"
        with path.open("wb") as file:
            file.write(b"\x11" * 65536 if fmt == "raw" else b"QFI\xfb")
            file.truncate(size_mb << 20)
        return path

    return make


class Memory:
    """Pages as a guest would read and write them."""

    def __init__(self, volumes: Volumes) -> None:
        self._volumes = volumes

    def holds(self, volume: str, byte: int, offset: int, length: int) -> bool:
        assert offset + length <= self._volumes.at(POOL)[volume].size_mb << 20
        pages = self._volumes.pages(POOL, volume)
        numbers = range(offset // PAGE, -(-(offset + length) // PAGE))
        return all(pages.get(number, bytes(PAGE)) == bytes([byte]) * PAGE for number in numbers)

    def write(self, volume: str, byte: int, offset: int, length: int) -> None:
        numbers = range(offset // PAGE, (offset + length) // PAGE)
        pages = dict(self._volumes.pages(POOL, volume)) | dict.fromkeys(numbers, bytes([byte]) * PAGE)
        self._volumes.put(POOL, self._volumes.at(POOL)[volume], pages)

    def plant_foreign(self, volume: str) -> None:
        self._volumes.put(POOL, Volume(volume, 1, "", ""), {0: b"not yours"})

    def plant_half_made(self, volume: str) -> None:
        self._volumes.put(POOL, Volume(volume, 1, INSTALLATION, "appliance:12", complete=False), {})

    def content(self, volume: str) -> bytes:
        return self._volumes.pages(POOL, volume)[0]


@pytest.fixture
def disks(volumes: Volumes) -> Memory:
    return Memory(volumes)


class TestSimulatedStorage(StorageContract):
    @pytest.fixture
    def fmt(self) -> str:
        return "raw"


def test_volumes_survive_the_process(
    driver: SimulatedStorage, storage: Storage, make_image: MakeImage, volumes: Volumes, tmp_path: Path
) -> None:
    driver.import_file(storage, "base", make_image("raw", 8), "raw", BASE_TAG)
    driver.clone(storage, "base", "web", 16, TAG)
    driver.clone(storage, "base", "gone", 16, TAG)
    driver.remove(storage, "gone")
    before = driver.owned(storage, INSTALLATION)
    for _ in range(2):  # replayed from what was appended, then from what that was compacted to
        again = Volumes(tmp_path)
        assert SimulatedStorage(INSTALLATION, again, blocking=False).owned(storage, INSTALLATION) == before
        assert again.pages(POOL, "web") == again.pages(POOL, "base") == volumes.pages(POOL, "base")
        again.close()


def test_a_tag_of_another_installation_is_refused(
    driver: SimulatedStorage, storage: Storage, make_image: MakeImage
) -> None:
    with pytest.raises(Exception, match="another installation"):
        driver.import_file(storage, "base", make_image("raw", 8), "raw", OwnerTag(STRANGER, "image:1"))
