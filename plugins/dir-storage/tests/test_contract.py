"""The storage contract on each kind of file system: with reflink and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qrmd.model import Storage
from qrmd.process import run
from qrmd.testing.contracts.storage import BASE_TAG, INSTALLATION, TAG, MakeImage, StorageContract
from qrmd_dir_storage.driver import DirDriver

REFLINK = {"btrfs", "xfs"}


class Files:
    """Volumes of a directory as qemu-io sees them."""

    def __init__(self, driver: DirDriver, storage: Storage) -> None:
        self._driver = driver
        self._storage = storage
        self._place = Path(storage.location)

    def holds(self, volume: str, byte: int, offset: int, length: int) -> bool:
        said = self._io(volume, f"read -P {byte} {offset} {length}")
        return "verification failed" not in said

    def write(self, volume: str, byte: int, offset: int, length: int) -> None:
        self._io(volume, f"write -P {byte} {offset} {length}")

    def plant_foreign(self, volume: str) -> None:
        (self._place / volume).write_bytes(b"not yours" * 512)

    def plant_half_made(self, volume: str) -> None:
        (self._place / f".{volume}.{INSTALLATION}.{'0' * 32}.part").write_bytes(b"half")

    def content(self, volume: str) -> bytes:
        return (self._place / volume).read_bytes()

    def _io(self, volume: str, command: str) -> str:
        attachment = self._driver.export(self._storage, volume, "resource:1")
        argv = ["qemu-io", "-f", attachment.format, "-c", command, attachment.source]
        return run(argv, timeout=30, check=False).stdout


@pytest.fixture(scope="session", params=["ext4", "btrfs", "xfs", "tmpfs"])
def filesystem(request: pytest.FixtureRequest, mount: Any) -> tuple[str, Path]:
    return request.param, mount(request.param, 400)


@pytest.fixture
def storage(filesystem: tuple[str, Path], tmp_path: Path) -> Storage:
    """A directory of the test's own on the file system."""
    location = filesystem[1] / tmp_path.name
    location.mkdir()
    return Storage(2, "files", "dir", str(location))


@pytest.fixture
def disks(driver: DirDriver, storage: Storage) -> Files:
    return Files(driver, storage)


class TestDirStorage(StorageContract):
    """On each file system."""


def test_the_way_of_cloning_is_the_file_systems(
    driver: DirDriver, storage: Storage, make_image: MakeImage, filesystem: tuple[str, Path]
) -> None:
    driver.import_file(storage, "base", make_image("raw", 64), "raw", BASE_TAG)
    facts = driver.clone(storage, "base", "web", 64, TAG)
    assert facts.format == ("raw" if filesystem[0] in REFLINK else "qcow2")


def test_nothing_at_all_is_left(driver: DirDriver, storage: Storage, make_image: MakeImage) -> None:
    driver.import_file(storage, "base", make_image("qcow2", 8), "qcow2", BASE_TAG)
    driver.clone(storage, "base", "web", 16, TAG)
    driver.copy(storage, "web", "web-2", 16, TAG)
    for name in ("web", "web-2", "base"):
        driver.remove(storage, name)
    assert list(Path(storage.location).iterdir()) == []
