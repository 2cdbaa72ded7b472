"""File systems and image files for the tests of directory storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qrmd.model import Storage
from qrmd.process import run
from qrmd.testing.needs import require
from qrmd_dir_storage.config import Config
from qrmd_dir_storage.driver import DirDriver

pytest.register_assert_rewrite("qrmd.testing.contracts.storage")

from qrmd.testing.contracts.storage import INSTALLATION, STRANGER, MakeImage  # noqa: E402 - rewritten first

CONFIG = Config(max_size_mb=1 << 20, qemu_img_seconds=60)

MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-m", "0"],
    "blocks": ["mkfs.ext4", "-q", "-F", "-m", "0", "-b", "1024", "-O", "^extent,^64bit,^metadata_csum,^has_journal"],
    "btrfs": ["mkfs.btrfs", "-q", "-f"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
}

Mount = Callable[[str, int], Path]


@pytest.fixture(scope="session")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """Make and mount a file system of a kind and size (MiB); all are unmounted in the end."""
    require("filesystems", "qemu-img")
    mounted: list[Path] = []

    def make(kind: str, size_mb: int) -> Path:
        place = tmp_path_factory.mktemp(kind)
        target = place / "mounted"
        target.mkdir()
        if kind == "tmpfs":
            run(["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=700", "tmpfs", str(target)], timeout=20)
        else:
            device = place / "device"
            with device.open("wb") as file:
                file.truncate(size_mb << 20)
            run([*MAKE[kind], str(device)], timeout=60)
            run(["mount", "-o", "loop", str(device), str(target)], timeout=20)
        mounted.append(target)
        return target

    yield make
    for target in mounted:
        run(["umount", str(target)], timeout=20)


@pytest.fixture
def driver() -> DirDriver:
    return DirDriver(INSTALLATION, CONFIG)


@pytest.fixture
def stranger() -> DirDriver:
    return DirDriver(STRANGER, CONFIG)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """A directory on whatever file system temporary files are on."""
    location = tmp_path / "volumes"
    location.mkdir()
    return Storage(2, "files", "dir", str(location))


@pytest.fixture
def make_image(tmp_path: Path) -> MakeImage:
    """Image files beside the storage."""

    def make(fmt: str, size_mb: int) -> Path:
        raw = tmp_path / f"image-{size_mb}.raw"
        with raw.open("wb") as file:
            file.write(b"\x11" * 65536)
            file.truncate(size_mb << 20)
        if fmt == "raw":
            return raw
        image = raw.with_suffix(f".{fmt}")
        run(["qemu-img", "convert", "-f", "raw", "-O", fmt, str(raw), str(image)], timeout=30)
        return image

    return make
